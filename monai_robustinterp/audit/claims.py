"""What the counts give for the certificates of a record: claim, radii, label, rerun."""

from __future__ import annotations

from typing import Any

from monai_robustinterp.audit import sentences
from monai_robustinterp.audit.binomial import clopper_pearson_lower
from monai_robustinterp.audit.case import Case
from monai_robustinterp.audit.expect import (
    ABOVE,
    BELOW,
    NEAR,
    Judged,
    Leaf,
    Number,
    Same,
    bound_above,
    follows,
    guarantee,
    near,
)
from monai_robustinterp.audit.radii import (
    FIRST_ORDER,
    best_squared_radius,
    neyman_pearson_radius,
    renyi_epsilon,
    renyi_radius,
)
from monai_robustinterp.audit.real import MP, Real, phi_inverse
from monai_robustinterp.audit.rerun import FreshRun

_LEVELS = ("plug-in", "population")
_ROUNDED = MP.mpf(10) ** -9  # of a radius over sigma near 0, where levels that are lowered for round-off show
_ROUND_OFF = MP.mpf(10) ** -13  # of an epsilon near a tie, where a sum of terms of order 1 cancels


def claim(case: Case) -> dict[str, Any]:
    """Expectation of ``claim``."""
    l_max = case.number("claim", "l_max", "l2")
    return {
        "level": Same("population"),
        "sentence": Same(_of_the_map(case)),
        "beta": Same(case.record["claim"]["beta"]),
        "eta": Same(case.eta),
        "confidence": near(1 - MP.mpf(case.eta)),
        "per": Same("image"),
        "top_k": Same(case.votes.top_k),
        "overlap": Same(case.overlap),
        "overlap_by_chance": near(MP.mpf(case.votes.top_k) ** 2 / len(case.votes.counts)),
        "swap_count": Same(case.swaps),
        "allowed_wrong_bounds": Same(case.wrong),
        "n_cells": Same(len(case.votes.counts)),
        "n_pixels": Same(case.n_pixels),
        "l_max": _in_units(Same(_largest(case)), MP.mpf(l_max), case.n_pixels),
        "l_max_in_noise": follows(MP.mpf(l_max) / case.sigma),
        "ceiling": _ceiling(case, MP.mpf(l_max)),
        "unit": Same(sentences.UNIT),
        "assumptions": Same(sentences.assumptions(case.votes.spec)),
    }


def _of_the_map(case: Case) -> str:
    return sentences.of_the_map(
        case.number("claim", "l_max", "l2"),
        eta=case.eta,
        top_k=case.votes.top_k,
        overlap=case.overlap,
        n_cells=len(case.votes.counts),
    )


def _ceiling(case: Case, l_max: Real) -> dict[str, Leaf]:
    """The radius of a map that ignores the image (T12), and the share of it that this one has."""
    found = MP.mpf(case.number("claim", "ceiling", "l2"))
    blind = case.blind()
    m, k = blind.votes.n_samples, blind.votes.top_k
    least = neyman_pearson_radius([blind.lower[m]] * k, [blind.upper[0]], case.sigma)
    if blind.votes.pair_counts is None:
        leaf: Leaf = Number(least, least * ABOVE, least * BELOW + case.sigma * _ROUNDED)
    else:
        leaf = Judged(_pairs_problem(blind, found), found)
    return {"l2": leaf, "share": near(l_max / found if found > 0 else MP.mpf(0))}


def _largest(case: Case) -> float:
    """The largest recorded population radius; each of them is compared itself."""
    return max(case.number("radii", position, "l2") for position in range(2, 5))


def _in_units(leaf: Leaf, l2: Real, n_pixels: int) -> dict[str, Leaf]:
    """A radius and what follows from the recorded one."""
    rms = l2 / MP.sqrt(n_pixels)
    return {"l2": leaf, "rms": follows(rms), "rms_gray_levels": follows(255 * rms), "l_inf": follows(rms)}


def radii(case: Case) -> list[dict[str, Leaf]]:
    """Expectation of ``radii``: two families at both levels, and pairs of cells where they were counted."""
    k, m = case.votes.top_k, case.votes.n_samples
    inside, outside = case.ordered[k - case.swaps : k], case.ordered[k : k + case.swaps]
    weakest, strongest = case.ordered[k - case.used : k], case.ordered[k : k + case.used]
    edges = (
        ([MP.mpf(x) / m for x in inside], [MP.mpf(x) / m for x in outside]),
        ([case.lower[x] for x in weakest], [case.upper[x] for x in strongest]),
    )
    entries: list[dict[str, Leaf]] = []
    for level, edge in zip(_LEVELS, edges):
        entries.append(_renyi(case, level, *edge, position=len(entries)))
        entries.append(_neyman_pearson(case, level, *edge, position=len(entries)))
    if case.votes.pair_counts is not None:
        l2 = MP.mpf(case.number("radii", len(entries), "l2"))
        leaf = Judged(_pairs_problem(case, l2), l2)
        entries.append(_entry(case, "population", "discordant-pairs", leaf, len(entries)))
    return entries


def _pairs_problem(case: Case, l2: Real) -> str:
    if l2 == 0:
        return "the counts give a radius" if case.pairs().holds(_ROUNDED) else ""
    if not case.pairs().holds(l2 / case.sigma * (1 - ABOVE)):
        return "below this radius the counts do not exclude a swap"
    wider = case.pairs().holds(l2 / case.sigma * (1 + BELOW) + _ROUNDED)
    return "the counts give a radius that is larger by more than 1e-6 of itself" if wider else ""


def _entry(case: Case, level: str, family: str, leaf: Leaf, position: int) -> dict[str, Leaf]:
    l2 = case.number("radii", position, "l2")
    unbounded = isinstance(leaf, Number) and MP.isinf(leaf.value)
    sentence = sentences.PLUG_IN if level == "plug-in" else sentences.population(l2, case.eta)
    return {
        "level": Same(level),
        "family": Same(family),
        **_in_units(leaf, MP.inf if unbounded else MP.mpf(l2), case.n_pixels),
        "sentence": Same(sentence),
    }


def _neyman_pearson(
    case: Case, level: str, inside: list[Real], outside: list[Real], *, position: int
) -> dict[str, Leaf]:
    l2 = neyman_pearson_radius(inside, outside, case.sigma)
    leaf = near(l2) if level == "plug-in" else Number(l2, l2 * ABOVE, l2 * BELOW + case.sigma * _ROUNDED)
    return _entry(case, level, "neyman-pearson", leaf, position)


def _renyi(case: Case, level: str, inside: list[Real], outside: list[Real], *, position: int) -> dict[str, Leaf]:
    k = case.votes.top_k
    a, b = [q / k for q in inside], [q / k for q in outside]
    alpha = MP.mpf(case.number("radii", position, "alpha"))
    if not alpha > 1:
        order: Leaf = Judged("the file has no Renyi order above 1")
        return _entry(case, level, "renyi", order, position) | {"epsilon": order, "alpha": order}
    epsilon = renyi_epsilon(a, b, alpha)
    l2 = renyi_radius(epsilon, alpha, case.sigma)
    if MP.isinf(epsilon):
        found, leaf = MP.inf, near(l2)
    else:
        found = MP.mpf(case.number("radii", position, "epsilon"))
        from_found = renyi_radius(found, alpha, case.sigma)
        leaf = near(from_found) if level == "plug-in" else guarantee(l2, least=from_found)
    divergence = Number(
        epsilon,
        _ROUND_OFF + epsilon * NEAR if level == "plug-in" else epsilon * ABOVE,
        _ROUND_OFF + epsilon * (NEAR if level == "plug-in" else BELOW),
    )
    return _entry(case, level, "renyi", leaf, position) | {
        "epsilon": near(epsilon) if MP.isinf(epsilon) else divergence,
        "alpha": Judged(_order_problem(found, alpha, a, b), alpha),
    }


def _order_problem(epsilon: Real, alpha: Real, inside: list[Real], outside: list[Real]) -> str:
    if epsilon == 0 or MP.isinf(epsilon):
        first = abs(alpha - FIRST_ORDER) < MP.mpf(10) ** -12
        return "" if first else "the file says another order than the first of the search, and all give the same radius"
    best = best_squared_radius(inside, outside)
    if epsilon / alpha * (1 + 2 * BELOW) + _ROUND_OFF < best:
        return "another order of a coarse grid gives a radius that is larger by more than 1e-6 of itself"
    return ""


def label(case: Case) -> dict[str, Leaf]:
    """Expectation of ``label``."""
    votes = case.votes
    lower = clopper_pearson_lower(votes.agreeing_copies, votes.n_samples, MP.mpf(case.eta) / votes.looks)
    recorded = min(case.number("label", "share_lower"), 1.0)
    l2 = case.number("label", "l2")
    return {
        "decision": Same(votes.decision),
        "agreeing_copies": Same(votes.agreeing_copies),
        "n_samples": Same(votes.n_samples),
        "sigma": Same(votes.spec["sigma"]),
        "eta": Same(case.eta),
        "share_lower": guarantee(lower),
        "l2": guarantee(_label_radius(lower, case), least=_label_radius(MP.mpf(recorded), case)),
        "sentence": Same(sentences.of_the_label(l2, eta=case.eta, decision=votes.decision)),
    }


def _label_radius(share: Real, case: Case) -> Real:
    return case.sigma * phi_inverse(share) if share > 0.5 else MP.mpf(0)


def label_and_map(case: Case) -> dict[str, Leaf]:
    """Expectation of ``label_and_map``: label and map from one run, each at eta."""
    eta = min(2 * case.eta, 1.0)
    l2 = min(case.number("label", "l2"), case.number("claim", "l_max", "l2")) if eta < 1 else 0.0
    return {"l2": Same(l2), "eta": Same(eta), "sentence": Same(sentences.of_both(l2, eta=eta))}


def status(case: Case) -> str:
    """What the recorded radii say of decision and map together."""
    if not case.number("claim", "l_max", "l2") > 0:
        return "abstain"
    if not case.number("label", "l2") > 0:
        return "map only"
    return "certified" if case.number("label_and_map", "l2") > 0 else "no confidence"


def sentence(case: Case) -> str:
    """The status with its numbers."""
    both = sentences.of_both(case.number("label_and_map", "l2"), eta=min(2 * case.eta, 1.0))
    return sentences.of_the_record(status(case), of_the_map=_of_the_map(case), both=both)


def all_claims(case: Case) -> dict[str, Leaf]:
    """Expectation of ``all_claims``: one eta each for map, decision, second run, all regions, and a curve (T16)."""
    parts = 3 + bool(case.votes.regions) + (case.wrong > 0)
    eta = case.number("all_claims", "eta")
    return {
        "eta": bound_above(min(MP.mpf(1), parts * MP.mpf(case.eta))),
        "confidence": near(1 - MP.mpf(eta)),
        "sentence": Same(sentences.of_all_claims(eta, curve=case.wrong > 0)),
    }


def rerun(case: Case) -> dict[str, Leaf]:
    """Expectation of ``rerun``: a fresh run of as many copies that may fail with the same eta."""
    votes = case.votes
    l2 = case.number("rerun", "l2")
    radius, threshold = _rerun_problems(case, MP.mpf(l2))
    return {
        "l2": Judged(radius, MP.mpf(l2)),
        "eta": Same(case.eta),
        "eta_rerun": Same(case.eta),
        "overlap": Same(case.overlap),
        "fresh_samples": Same(votes.n_samples),
        "threshold": Judged(threshold),
        "sentence": Same(
            sentences.of_a_rerun(
                l2, overlap=case.overlap, top_k=votes.top_k, fresh_samples=votes.n_samples, eta=case.eta
            )
        ),
    }


def _rerun_problems(case: Case, l2: Real) -> tuple[str, str]:
    """What is wrong with the recorded radius and with the recorded threshold."""
    entry = case.record.get("rerun")
    threshold = entry.get("threshold") if isinstance(entry, dict) else None
    if 2 * case.eta >= 1:
        claims = l2 > 0 or threshold is not None
        return ("two etas of 1 leave no confidence, and the file has a claim" if claims else ""), ""
    eta = MP.mpf(case.eta)
    if l2 == 0:
        run = _fresh_run(case, _ROUNDED)
        missed = "the file abstains, and the counts give a radius" if run.possible(eta, near=run.balanced()) else ""
        return missed, "" if threshold is None else "the file has a threshold without a radius"
    if type(threshold) is not int or not 0 <= threshold < case.votes.n_samples:
        return "", "the file has no count below the number of copies"
    chance = _fresh_run(case, l2 / case.sigma).failure(threshold)
    if chance > eta * (1 + ABOVE):
        return f"at this radius and threshold the counts give a failure of {MP.nstr(chance, 10)}, above eta", ""
    wider = _fresh_run(case, l2 / case.sigma * (1 + BELOW) + _ROUNDED)
    if wider.possible(eta, near=threshold):
        return "the counts give a radius that is larger by more than 1e-6 of itself", ""
    return "", ""


def _fresh_run(case: Case, shift: Real) -> FreshRun:
    return FreshRun.at(
        shift,
        inside=case.inside_quantiles,
        outside=case.outside_quantiles,
        needed=case.used,
        n_samples=case.votes.n_samples,
    )
