"""Label, rerun, region and early stopping: failure frequencies against what each claim allows."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import binom, multinomial, norm

from monai_robustinterp.certificates.confidence import clopper_pearson_bounds, mass_weighted_bounds, plain_bounds
from monai_robustinterp.certificates.label import certify_label
from monai_robustinterp.certificates.region import ALARM_RADIUS, RegionCertificate, certify_region
from monai_robustinterp.certificates.rerun import largest_shift, rerun_radius
from monai_robustinterp.certificates.sequence import Look, look_schedule
from monai_robustinterp.types import SmoothingSpec, VoteMap
from tests.support.vote_factory import vote_map

# ---- label and plain table


def beside(bounds: np.ndarray, towards: float) -> np.ndarray:
    """Truths just beyond each bound, where a wrong bound is likeliest."""
    return np.nextafter(bounds[(bounds > 0) & (bounds < 1)], towards)


@pytest.mark.parametrize(("m", "level"), [(1, 0.2), (20, 0.05), (100, 0.001), (1000, 0.01)])
def test_no_share_makes_a_clopper_pearson_bound_wrong_more_often_than_its_level(m: int, level: float) -> None:
    table = clopper_pearson_bounds(np.arange(m + 1), m, level=level)
    grid = np.linspace(0, 1, 2001)
    lower = np.concatenate([beside(table.lower, 0), grid])
    upper = np.concatenate([beside(table.upper, 1), grid])
    wrong_lower = binom.sf(np.searchsorted(table.lower, lower, side="right") - 1, m, lower)
    wrong_upper = binom.cdf(np.searchsorted(table.upper, upper, side="left") - 1, m, upper)
    for wrong in (wrong_lower, wrong_upper):
        assert 0.999 * level < wrong.max() <= level


@pytest.mark.parametrize(("n_cells", "wrong"), [(9, 0), (60, 2)])
def test_the_plain_table_spends_eta_over_all_cells_and_both_sides(n_cells: int, wrong: int) -> None:
    m, eta = 64, 0.05
    table = plain_bounds(np.arange(m + 1), m, n_cells=n_cells, eta=eta, wrong=wrong)
    q = np.concatenate([beside(table.lower, 0), beside(table.upper, 1), np.linspace(0, 1, 999)])
    either = binom.sf(np.searchsorted(table.lower, q, side="right") - 1, m, q)
    either += binom.cdf(np.searchsorted(table.upper, q, side="left") - 1, m, q)
    expected_wrong = n_cells * either.max()
    # A side at a time is attained (c for 2c would double it); both at once at one share are not.
    assert 0.49 * eta * (wrong + 1) < expected_wrong <= eta * (wrong + 1)


def label_votes(found_copies: int, m: int) -> VoteMap:
    return vote_map([m, 0, 0, 0], n_samples=m, top_k=1, found_copies=found_copies)


@pytest.mark.parametrize("m", [20, 200])
def test_the_label_radius_exceeds_the_true_distance_of_a_half_space_at_most_as_often_as_said(m: int) -> None:
    """The target is found where x_1 + distance > 0: the smoothed decision flips at exactly that distance."""
    eta, sigma = 0.05, 0.5
    radii = np.array([certify_label(label_votes(x, m), sigma, eta_label=eta).l2 for x in range(m + 1)])
    plug_in = sigma * norm.ppf(np.clip(np.arange(m + 1) / m, 0.5, 1))
    distances = np.concatenate([np.linspace(0, 2 * sigma, 400), beside(radii / 2, 0) * 2])
    weights = binom.pmf(np.arange(m + 1)[None], m, norm.cdf(distances / sigma)[:, None])
    failure = (weights * (radii[None] > distances[:, None])).sum(axis=1)
    assert 0.7 * eta < failure.max() <= eta
    assert (weights * (plug_in[None] > distances[:, None])).sum(axis=1).max() > 0.4


def test_a_decision_chosen_from_the_same_copies_would_fail_twice_as_often() -> None:
    """Why the decision is fixed beforehand (and Cohen's algorithm spends n0 copies on it): p = 1/2, either may win."""
    m, eta = 200, 0.05
    x = np.arange(m + 1)
    lower = clopper_pearson_bounds(x, m, level=eta).lower
    chosen = clopper_pearson_bounds(np.maximum(x, m - x), m, level=eta).lower
    weights = binom.pmf(x, m, 0.5)
    assert 0.7 * eta < weights[lower > 0.5].sum() <= eta
    assert weights[chosen > 0.5].sum() > 1.4 * eta


# ---- rerun: mechanisms whose shares lie exactly at the shifted bounds


def shifted(lower: np.ndarray, upper: np.ndarray, shift: float) -> tuple[np.ndarray, np.ndarray]:
    return norm.cdf(norm.ppf(lower) - shift), norm.cdf(norm.ppf(upper) + shift)


def violated(inside: np.ndarray, outside: np.ndarray, swapped: int) -> np.ndarray:
    """Whether the top-k of fresh counts [runs, cells] lost ``swapped`` cells; equal counts fall against the claim."""
    k = inside.shape[1]
    both = np.concatenate([outside, inside], axis=1)
    top = np.argsort(-both, axis=1, kind="stable")[:, :k]
    return (top >= outside.shape[1]).sum(axis=1) <= k - swapped


def flips(share: np.ndarray, at: np.ndarray, m: int, u: np.ndarray) -> np.ndarray:
    """Counts [runs, cells] of Bin(m, share), each marginal exact over u in (0, 1), lowest where u passes ``at``."""
    return binom.ppf((u[:, None] - at) % 1.0, m, share)


def in_turn(tails: np.ndarray, together: int, start: float) -> np.ndarray:
    """Where each cell errs, so that blocks of ``together`` cells take turns and none overlap: Rueger's coupling."""
    block = np.arange(tails.size) // together
    length = np.array([tails[block == b].max() for b in range(block.max() + 1)])
    return (start + np.concatenate([[0.0], np.cumsum(length)[:-1]]))[block]


U = (np.arange(20_000) + 0.5) / 20_000


def worst_single_copy(
    free: int, weak: int, wrong: int, eta_rerun: float, together: int, forgiven: int
) -> tuple[float, float]:
    """Violation frequency with m' = 1, and the shift claimed, in the coupling that attains the bound.

    Each side has ``free`` cells whose bounds say nothing, ``weak`` cells with good bounds, and ``wrong`` cells whose
    bounds look perfect and are false (they always err). s = free + wrong + together; the claim allows for ``forgiven``
    false bounds.
    """
    lower = np.concatenate([np.zeros(free), np.full(weak, 0.999), np.full(wrong, 0.99999)])
    upper = 1 - lower
    s = free + wrong + together
    shift, _ = largest_shift(lower, upper, needed=s - forgiven, fresh_samples=1, eta_rerun=eta_rerun)
    share_in, share_out = shifted(lower, upper, shift)
    share_in[free + weak :], share_out[free + weak :] = 0, 1
    tails = 1 - share_in[free : free + weak]
    first = in_turn(tails, together, 0.0)
    second = in_turn(tails, together, tails.sum() / together)
    at_in, at_out = np.zeros(lower.size), np.zeros(lower.size)
    at_in[free : free + weak], at_out[free : free + weak] = first, second
    inside = flips(share_in, at_in, 1, U)
    # A vote outside is an error, so the coupling acts on the copies that do not vote.
    outside = 1 - flips(1 - share_out, at_out, 1, U)
    return float(violated(inside, outside, s).mean()), shift


@pytest.mark.parametrize(
    ("free", "weak", "wrong", "together"),
    [(0, 4, 0, 1), (0, 6, 0, 3), (3, 5, 0, 1), (2, 6, 0, 2), (12, 10, 3, 1), (6, 8, 2, 2)],
)
def test_the_rerun_bound_is_attained_and_not_exceeded(free: int, weak: int, wrong: int, together: int) -> None:
    """The worst dependence of the cells, r false bounds, cells that flip for free, ties against the claim."""
    eta_rerun = 0.2
    frequency, shift = worst_single_copy(free, weak, wrong, eta_rerun, together, forgiven=wrong)
    assert shift > 0.5
    assert 0.97 * eta_rerun < frequency <= eta_rerun * 1.005  # the grid of u
    # S instead of s - r is too far as soon as a bound is false.
    assert wrong == 0 or worst_single_copy(free, weak, wrong, eta_rerun, together, forgiven=0)[0] > 1.2 * eta_rerun


@pytest.mark.parametrize("fresh", [2, 9, 200])
def test_cells_that_fall_while_others_rise_stay_within_the_rerun_bound(fresh: int) -> None:
    """More copies: two blocks take turns, and as one falls inside another rises outside."""
    s, eta_rerun = 3, 0.2
    lower, upper = np.full(2 * s, 0.97), np.full(2 * s, 0.03)
    shift, t = largest_shift(lower, upper, needed=s, fresh_samples=fresh, eta_rerun=eta_rerun)

    def frequency(shift: float) -> float:
        share_in, share_out = shifted(lower, upper, shift)
        at = in_turn(binom.cdf(t, fresh, share_in), s, 0.0)
        inside = flips(share_in, at, fresh, U)
        outside = fresh - flips(1 - share_out, at, fresh, U)
        return float(violated(inside, outside, s).mean())

    # Both ways to fail happen together here, and the bound counts them apart: half of it.
    assert 0.3 * eta_rerun < frequency(shift) <= eta_rerun < frequency(1.5 * shift)


def test_independent_cells_stay_within_the_rerun_bound() -> None:
    rng = np.random.default_rng(8)
    lower = np.concatenate([[0.0], np.linspace(0.95, 0.99, 11)])
    upper = np.concatenate([[1.0], np.linspace(0.05, 0.01, 20)])
    for fresh in (5, 64):
        shift, _ = largest_shift(lower, upper, needed=4, fresh_samples=fresh, eta_rerun=0.3)
        share_in, share_out = shifted(lower, upper, shift)
        inside, outside = rng.binomial(fresh, share_in, (20_000, 12)), rng.binomial(fresh, share_out, (20_000, 21))
        assert shift > 0
        assert violated(inside, outside, 4).mean() <= 0.3


def identity_votes(x: np.ndarray, top_k: int, m: int, rng: np.random.Generator) -> VoteMap:
    """The votes of g = identity with unit noise: the cells are the pixels."""
    top = np.argpartition(-(x + rng.normal(size=(m, x.size))), top_k, axis=1)[:, :top_k]
    counts = np.bincount(top.ravel(), minlength=x.size).reshape(1, -1).astype(np.int64)
    return dataclasses.replace(label_votes(m, m), counts=counts, n_samples=m, top_k=top_k, input_shape=(1, x.size))


def test_two_real_runs_report_nearly_the_same_cells_inside_the_radius_and_not_far_outside() -> None:
    """The image is pushed where the claim is weakest: s cells down, s cells up."""
    rng = np.random.default_rng(4)
    x, top_k, m = np.linspace(5, 0, 12), 4, 300
    spec = SmoothingSpec(sigma=1.0, n_samples=m, top_k=top_k, cell_size=1, interpreter="gradient", target=0)
    push = np.zeros(12)
    push[2:4], push[4:6] = -0.5, 0.5
    broken = {1.0: 0, 6.0: 0}
    for _ in range(80):
        first = identity_votes(x, top_k, m, rng)
        rerun = rerun_radius(first, spec, beta="0.75", eta=0.05, eta_rerun=0.05)
        for times in broken:
            second = identity_votes(x + times * rerun.l2 * push, top_k, m, rng)
            broken[times] += int((first.top_k_mask & second.top_k_mask).sum() < rerun.overlap)
    assert broken[1.0] <= 80 * 0.1
    assert broken[6.0] > 50


# ---- region: exact failure probabilities of the bound on a mean, over the worst laws of few values


def histograms(hits: tuple[int, ...], top_k: int, m: int) -> tuple[np.ndarray, list[RegionCertificate]]:
    """Every way in which m copies can show the given hits, [ways, values], and the certificate of each."""
    ways = np.array([way for way in itertools.product(range(m + 1), repeat=len(hits)) if sum(way) == m])
    full = np.zeros((len(ways), top_k + 1), np.int64)
    full[:, list(hits)] = ways
    return ways, [certify_region(histogram, 1.0, eta=0.2) for histogram in full]


def sides(certificates: list[RegionCertificate]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c.share_lower for c in certificates]), np.array([c.share_upper for c in certificates])


def wrong(certificates: list[RegionCertificate], hits: tuple[int, ...], law: np.ndarray) -> np.ndarray:
    """Which certificates, [2, ways], are wrong from below, and from above: on the share or on the chance of a tail."""
    votes, slack = np.arange(1, 5)[:, None], 1e-12
    lower, upper = sides(certificates)
    share = law @ np.array(hits) / 4
    found = [lower > share + slack, upper < share - slack]
    for number, (side, name) in enumerate(((np.array(hits), "inside"), (4 - np.array(hits), "outside"))):
        bounds = np.array([getattr(certificate, f"tails_{name}") for certificate in certificates])
        found[number] |= (bounds > (law * (side >= votes)).sum(axis=1) + slack).any(axis=1)
    return np.array(found)


@pytest.mark.parametrize("hits", [(0, 4), (0, 1), (1, 3), (3, 4)])
def test_no_law_of_two_values_breaks_a_bound_on_the_share_of_votes(hits: tuple[int, int]) -> None:
    """Each side, its bound on the share and those on its tails together, fails with half of eta at most."""
    m, eta = 60, 0.2
    ways, certificates = histograms(hits, 4, m)
    lower, upper = sides(certificates)
    chance = np.concatenate([np.linspace(0, 1, 101), np.logspace(-5, -1, 30), 1 - np.logspace(-5, -1, 30)])
    # Just beyond each bound as well, where a wrong bound is likeliest.
    beyond = (np.concatenate([lower - 1e-9, upper + 1e-9]) * 4 - hits[0]) / (hits[1] - hits[0])
    tails = np.unique([bound for c in certificates for bound in (*c.tails_inside, *(1 - c.tails_outside))])
    chance = np.concatenate([chance, beyond, tails - 1e-9, tails + 1e-9])
    worst = np.zeros(2)
    for one in chance[(chance >= 0) & (chance <= 1)]:
        law = np.array([1 - one, one])
        weights = binom.pmf(ways[:, 1], m, one)
        worst = np.maximum(worst, wrong(certificates, hits, law) @ weights)
    assert (worst <= eta / 2).all() and worst.max() > 0.05 * eta / 2


@pytest.mark.parametrize("hits", [(0, 2, 4), (0, 1, 4)])
def test_no_law_of_three_values_breaks_the_bounds_on_the_share_of_votes(hits: tuple[int, int, int]) -> None:
    m, eta = 14, 0.2
    ways, certificates = histograms(hits, 4, m)
    grid = [(a, b) for a in np.linspace(0, 1, 41) for b in np.linspace(0, 1, 41) if a + b <= 1]
    worst = np.zeros(2)
    for a, b in grid:
        law = np.array([1 - a - b, a, b]).clip(0, 1)
        law /= law.sum()
        worst = np.maximum(worst, wrong(certificates, hits, law) @ multinomial.pmf(ways, m, law))
    assert (0.05 * eta / 2 < worst).all() and (worst <= eta / 2).all()


@pytest.mark.parametrize("hits", [(0, 4), (0, 2, 4)])
def test_the_alarm_is_false_at_most_as_often_as_said(hits: tuple[int, ...]) -> None:
    """Laws whose share is one half where the change is worst: Phi(-1/2) in the image itself, and above.

    Exact, over all ways in which 60 (20) copies fall; the observed share in place of its bound raises it far too often.
    """
    m, eta = (20, 0.2) if len(hits) > 2 else (60, 0.2)
    ways, certificates = histograms(hits, 4, m)
    alarms = np.array([certificate.alarm for certificate in certificates])
    naive = np.array([norm.cdf(norm.ppf(certificate.observed) + ALARM_RADIUS) < 0.5 for certificate in certificates])
    least = norm.cdf(-ALARM_RADIUS)
    false, mistaken = 0.0, 0.0
    for mean in (least, least + 0.02, 0.4, 0.5, 0.7):
        for law in laws_of_mean(mean, hits):
            chances = multinomial.pmf(ways, m, law)
            false, mistaken = max(false, chances[alarms].sum()), max(mistaken, chances[naive].sum())
            # In an image most of whose votes lie in the lungs.
            assert mean < 0.5 or chances[alarms].sum() < eta / 50
    assert 0.005 * eta < false <= eta / 2 < 0.4 < mistaken
    assert alarms[ways[:, 0] == m].all(), "no copy looks at the lungs"


def laws_of_mean(mean: float, hits: tuple[int, ...]) -> list[np.ndarray]:
    """Laws on 4 votes' hits with that mean share: the only one of two values, a few of three."""
    values = np.array(hits) / 4
    if len(hits) == 2:
        chance = (mean - values[0]) / (values[1] - values[0])
        return [np.array([1 - chance, chance])] if 0 <= chance <= 1 else []
    middle = np.linspace(0, 1, 21)
    last = (mean - values[1] * middle) / values[2]
    laws = np.stack([1 - middle - last, middle, last], axis=1)
    return list(laws[(laws >= 0).all(axis=1)])


# ---- early stopping


def wrong_when_stopped(looks: tuple[Look, ...], q: np.ndarray, runs: int, rng: np.random.Generator) -> float:
    """How often a sampler that stops as soon as a bound of the look is wrong stops at all (one vote a copy)."""
    counts, taken, wrong = np.zeros((runs, q.size), np.int64), 0, np.zeros(runs, bool)
    for look in looks:
        counts += rng.multinomial(look.n_samples - taken, q, size=runs)
        taken = look.n_samples
        table = mass_weighted_bounds(np.arange(taken + 1), taken, top_k=1, eta=look.eta)
        wrong |= ((table.lower[counts] > q) | (table.upper[counts] < q)).any(axis=1)
    return float(wrong.mean())


@pytest.mark.parametrize("q", [np.array([0.5, 0.25, 0.125, 0.0625, 0.0625]), np.full(20, 0.05)], ids=["few", "many"])
def test_stopping_at_the_worst_moment_fails_at_most_as_often_as_said_and_a_fixed_eta_does_not(q: np.ndarray) -> None:
    eta, rng = 0.2, np.random.default_rng(6)
    looks = look_schedule(eta, 8, max_samples=1024)
    naive = tuple(Look(look.n_samples, eta) for look in looks)
    assert 0.2 * eta < wrong_when_stopped(looks, q, 2000, rng) <= eta
    assert wrong_when_stopped(naive, q, 2000, rng) > 2 * eta
