"""What the hits of a region give: the betting bounds on its share of the votes (docs/theory/label_region.md, T15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_robustinterp.audit import sentences
from monai_robustinterp.audit.case import Case
from monai_robustinterp.audit.expect import Judged, Leaf, Same, follows, four_digits, guarantee, near
from monai_robustinterp.audit.real import MP, Real, phi, phi_inverse

ALARM_RADIUS = 0.5
"""In standard deviations of the noise: the alarm is told of the lungs up to there."""

LUNGS = "lungs ("
"""Beginning of the name of the region of the lung fields."""

_SLACK = MP.mpf(3) * MP.mpf(10) ** -6  # of the logarithm of the wealth, which is rounded against the claim
_LEAST = MP.mpf(2) ** -60  # where the search for a bound ends


def log_wealth(mean: Real, hits: Sequence[int], eta: Real) -> Real:
    """Logarithm of K(mean): what the mixed bets have won against the guess that the expected share is at most ``mean``.

    Args:
        mean: the guess, in (0, 1].
        hits: entry j is the number of copies that cast j of their k votes in the region.
        eta: failure probability, which fixes the bets.
    """
    top_k, copies = len(hits) - 1, sum(hits)
    odds = MP.log(1 / eta)
    bet = 2 * MP.sqrt(2 * odds / copies)
    bets = [bet]
    while bets[-1] < copies / odds:
        bets.append(2 * bets[-1])
    wealth = MP.mpf(0)
    for bet in bets:
        stake = min(bet, 1 / mean)
        product = MP.mpf(1)
        for count, number in enumerate(hits):
            if number:
                product *= (1 + stake * (MP.mpf(count) / top_k - mean)) ** number
        wealth += product
    return MP.log(wealth / len(bets)) if wealth > 0 else -MP.inf


def regions(case: Case) -> list[dict[str, Any]]:
    """Expectation of ``regions``: all regions together at eta, each side at half of a region's part."""
    return [_region(case, position) for position in range(len(case.votes.regions))]


def _region(case: Case, position: int) -> dict[str, Any]:
    region, votes = case.votes.regions[position], case.votes
    l2 = case.number("claim", "l_max", "l2")
    hits = sum(count * number for count, number in enumerate(region.hits))
    lower, upper = (MP.mpf(case.number("regions", position, f"share_{side}")) for side in ("lower", "upper"))
    at_least, at_most = (case.number("regions", position, name) for name in ("at_least", "at_most"))
    quantiles = [phi_inverse(min(share, MP.mpf(1))) for share in (lower, upper)]
    expected = {
        "name": Same(region.name),
        "n_cells": Same(sum(region.cells)),
        "seen": Same(region.seen),
        "observed": near(MP.mpf(hits) / (votes.n_samples * votes.top_k)),
        "share_lower": Judged(_problem_below(case, region.hits, lower), lower),
        "share_upper": Judged(_problem_above(case, region.hits, upper), upper),
        "eta": Same(case.eta),
        "l2": Same(l2),
        "at_least": four_digits(phi(quantiles[0] - l2 / case.sigma), at_least),
        "at_most": four_digits(phi(quantiles[1] + l2 / case.sigma), at_most, upwards=True),
        "radius_above_half": _radius(case, position, "radius_above_half", quantiles[0]),
        "radius_below_half": _radius(case, position, "radius_below_half", -quantiles[1]),
    }
    sentence = sentences.of_a_region(
        at_least,
        at_most,
        above_half=case.number("regions", position, "radius_above_half", "l2"),
        below_half=case.number("regions", position, "radius_below_half", "l2"),
        eta=case.eta,
        l2=l2,
    )
    if region.name.startswith(LUNGS):
        alarm = case.number("regions", position, "radius_below_half", "in_noise") >= ALARM_RADIUS
        radius = ALARM_RADIUS * votes.spec["sigma"]
        expected |= {"alarm": Same(alarm), "alarm_radius": {"l2": Same(radius), "in_noise": Same(ALARM_RADIUS)}}
        sentence = sentences.with_alarm(sentence, alarm=alarm, l2=radius, in_noise=ALARM_RADIUS)
    return expected | {"sentence": Same(sentence)}


def _radius(case: Case, position: int, name: str, quantile: Real) -> dict[str, Leaf]:
    """How far the share stays on one side of one half: from the recorded bound on it."""
    l2 = MP.mpf(case.number("regions", position, name, "l2"))
    return {"l2": guarantee(max(MP.mpf(0), case.sigma * quantile)), "in_noise": follows(l2 / case.sigma)}


def _problem_below(case: Case, hits: Sequence[int], lower: Real) -> str:
    excess = _excess(case, hits, max(lower, _LEAST))
    if lower > 1 or (lower > 0 and excess < 0):
        return "at this share the bets have not won what the claim needs: the counts give less"
    return "the counts give a larger share" if excess > _SLACK else ""


def _problem_above(case: Case, hits: Sequence[int], upper: Real) -> str:
    """By the votes outside the region."""
    excess = _excess(case, hits[::-1], max(1 - upper, _LEAST))
    if upper > 1 or (upper < 1 and excess < 0):
        return "at this share the bets have not won what the claim needs: the counts give more"
    return "the counts give a smaller share" if excess > _SLACK else ""


def _excess(case: Case, hits: Sequence[int], share: Real) -> Real:
    """By how much the wealth against a share exceeds what a side of a region needs, in logarithms."""
    eta = MP.mpf(case.eta) / (2 * case.votes.looks * len(case.votes.regions))
    return log_wealth(share, hits, eta) - MP.log(1 / eta)
