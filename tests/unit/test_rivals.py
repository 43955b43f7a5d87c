"""The literature's certificates: their own numbers, brute force over what their bounds allow, their level."""

from __future__ import annotations

import itertools
import math
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from monai_robustinterp.certificates import neyman_pearson_radius, renyi_epsilon, renyi_radius
from monai_robustinterp.certificates.rivals import (
    anani_certificate,
    hoeffding_error,
    levine_overlap,
    levine_radius,
    patent_radius,
    relaxed_scores,
    scoring_neyman_pearson_radius,
    scoring_renyi_radius,
)
from monai_robustinterp.certificates.rivals.patent_closed_form import WHY_NO_BOUND
from tests.support.cases import collected
from tests.support.swaps import divergence_of_swap, vote_shares

Array = npt.NDArray[np.float64]


def least_overlap(low: Array, high: Array, reported: set[int], top_k: int) -> int:
    """Smallest overlap of the reported set with a top-k that values in [low, high] (ties broken at will) can have."""
    cells = range(low.size)
    return min(
        len(reported & set(new))
        for new in combinations(cells, top_k)
        if min(high[c] for c in new) >= max(low[c] for c in cells if c not in new)
    )


# The patent's closed form


def test_the_closed_form_is_the_published_formula() -> None:
    """Computed here from the print, with the sum inside the logarithm, over a fine grid of orders."""
    q = vote_shares("random", 8, 4, seed=3)
    p = -np.sort(-q / 4)
    tied, rest = p[2:6], np.delete(p, range(2, 6)).sum()
    best = 0.0
    for alpha in 1 + np.logspace(-3, 1.5, 3001):
        mean = np.mean(tied ** (1 - alpha)) ** (1 / (1 - alpha))
        best = max(best, -math.log(4 * mean + rest) / alpha)
    found = patent_radius(q, top_k=4, beta="0.75", sigma=0.3)
    assert found == pytest.approx(0.3 * math.sqrt(2 * best), rel=2e-4)


def test_the_closed_form_overstates_what_a_swap_costs() -> None:
    """At s = 2 a distribution cheaper than the closed form says swaps the cells, so its radius is no bound."""
    q = np.array([0.99, 0.98, 0.6, 0.3, 0.05, 0.05, 0.03])
    alpha = 2.0
    swap = divergence_of_swap(q / 3, (1, 2), (3, 4), alpha)
    assert renyi_epsilon(q, top_k=3, beta="2/3", alpha=alpha, form="closed") > 1.01 * swap
    ratios = []
    for seed in range(40):
        share = vote_shares("random", 8, 4, seed=seed)
        sound = renyi_radius(share, top_k=4, beta="0.5", sigma=1.0)
        ratios.append(patent_radius(share, top_k=4, beta="0.5", sigma=1.0) / sound)
        single = {"top_k": 4, "beta": "1", "sigma": 1.0}
        assert patent_radius(share, **single) == pytest.approx(renyi_radius(share, **single), rel=1e-6)
    assert min(ratios) >= 1 - 1e-6 and max(ratios) > 1.01
    assert "s >= 2" in WHY_NO_BOUND and "no lower bound" in WHY_NO_BOUND


# Levine et al.


def test_hoeffding_error_by_hand() -> None:
    assert hoeffding_error(1000, 8192, confidence=0.95) == pytest.approx(
        math.sqrt(math.log(40_000) / 16_384), rel=1e-12
    )
    assert hoeffding_error(1000, 8192) == pytest.approx(0.025432, abs=1e-6)
    # Confidence, not failure probability: more confidence is a wider error.
    assert hoeffding_error(10, 100, confidence=0.999) > hoeffding_error(10, 100, confidence=0.95)


@pytest.mark.parametrize("n_samples", [20, 50])
def test_all_hoeffding_bounds_hold_at_once_with_the_confidence(n_samples: int) -> None:
    """Exact tails; one cell alone fails with at most (1 - confidence) / n."""
    error = hoeffding_error(5, n_samples, confidence=0.9)
    for q in np.linspace(0.01, 0.99, 99):
        x = np.arange(n_samples + 1)
        wrong = binom.pmf(x, n_samples, q)[np.abs(x / n_samples - q) > error].sum()
        assert wrong <= 0.1 / 5


def official_overlap(x: Array, k: int, rho: float, sigma: float, error: float) -> int:
    """The loop of the paper's code, cell by cell."""
    ordered = sorted(x.tolist(), reverse=True)
    count = 0
    for i in range(1, k + 1):
        lower = norm.cdf(norm.ppf(max(ordered[i - 1] - error, 0)) - 2 * rho / sigma) - error
        count += lower > ordered[2 * k + 1 - i - 1]
    return count


def test_levine_is_the_papers_formula_and_exact_for_its_bounds() -> None:
    """Brute force over every top-k that scores within the shifted bounds can have, for 0/1 votes and real scores."""
    with collected() as case:
        for kind, seed in itertools.product(["votes", "relaxed"], range(5)):
            with case(kind, seed):
                rng = np.random.default_rng(seed)
                n, k, m, sigma = 9, 3, 3000, 0.5
                raw = 2 * rng.normal(size=n) + rng.normal(size=(m, n))
                if kind == "votes":
                    scores = raw >= -np.sort(-raw, axis=1)[:, k - 1 : k]
                else:
                    scores = relaxed_scores(np.exp(raw), tau=0.8, gamma=0.2)
                x = scores.mean(axis=0)
                error = hoeffding_error(n, m)
                reported = set(np.argsort(-x)[:k].tolist())
                overlaps = []
                for rho in np.linspace(0, 0.6, 13):
                    low = ndtr(ndtri(np.clip(x - error, 0, 1)) - rho / sigma)
                    high = ndtr(ndtri(np.clip(x + error, 0, 1)) + rho / sigma)
                    found = levine_overlap(x, top_k=k, radius=rho, sigma=sigma, n_samples=m)
                    assert found == official_overlap(x, k, rho, sigma, error) == least_overlap(low, high, reported, k)
                    overlaps.append(found)
                assert overlaps == sorted(overlaps, reverse=True) and overlaps[0] > overlaps[-1]


def test_the_radius_is_where_the_overlap_is_lost() -> None:
    rng = np.random.default_rng(7)
    x = np.sort(rng.beta(0.3, 0.6, size=60))
    for beta, overlap in (("0.1", 2), ("0.5", 8), ("0.7", 11)):
        settings = {"top_k": 15, "sigma": 0.25, "n_samples": 8192}
        radius = levine_radius(x, beta=beta, **settings)
        assert radius > 0
        assert levine_overlap(x, radius=radius * (1 - 1e-9), **settings) >= overlap
        assert levine_overlap(x, radius=radius * (1 + 1e-9), **settings) < overlap


def test_levine_by_hand_and_below_the_plug_in_radius() -> None:
    """Shares 0.9 and 0.3, error 0.1: sigma / 2 (Phi^-1(0.8) - Phi^-1(0.4)) = 0.25 * (0.841621 + 0.253347)."""
    m = math.log(2 * 4 / 0.05) / (2 * 0.01)
    x = [0.95, 0.9, 0.3, 0.25]
    found = levine_radius(x, top_k=2, beta="1", sigma=0.5, n_samples=math.ceil(m))
    assert found == pytest.approx(0.25 * (0.841621 + 0.253347), rel=2e-3)
    q = vote_shares("random", 8, 3, seed=2)
    for beta in ("1", "0.5"):
        levine = levine_radius(q, top_k=3, beta=beta, sigma=1.0, n_samples=10**9)
        population = neyman_pearson_radius(q, top_k=3, beta=beta, sigma=1.0)
        assert levine == pytest.approx(population, rel=1e-2) and levine < population


def test_few_samples_certify_nothing() -> None:
    x = [1.0] * 10 + [0.0] * 90
    assert levine_radius(x, top_k=10, beta="0.5", sigma=1.0, n_samples=16) == 0
    assert levine_overlap(x, top_k=10, radius=0.0, sigma=1.0, n_samples=16) == 0


def test_ranks_beyond_the_map_cannot_overtake() -> None:
    x = np.linspace(1, 0.9, 5)
    assert levine_overlap(x, top_k=4, radius=0.0, sigma=1.0, n_samples=10_000) == 3


def test_relaxed_scores_by_hand() -> None:
    maps = [[8.0, 4.0, 2.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 3.0]]
    scores = relaxed_scores(maps, tau="2/3", gamma="1/3")
    assert scores.tolist() == [[1.0, 1.0, 0.5, 0.25, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: hoeffding_error(5, 10, confidence=1.0), "confidence"),
        (lambda: levine_overlap([0.5, 0.1], top_k=1, radius=-1, sigma=1, n_samples=5), ">= 0"),
        (lambda: levine_overlap([5, 1], top_k=1, radius=0, sigma=1, n_samples=5), "not counts|shares"),
        (lambda: levine_radius([0.5, 0.1], top_k=3, beta="1", sigma=1, n_samples=5), "top_k is 3"),
        (lambda: relaxed_scores([[1.0, 2.0]], tau=0.5, gamma=1.0), "gamma <= tau"),
        (lambda: relaxed_scores([[-1.0, 2.0]], tau=1.0, gamma=0.5), "absolute values"),
    ],
)
def test_levine_refuses(call, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()


# Anani et al.


def counts_with(n_samples: int, top_k: int, n_cells: int, *first: int) -> npt.NDArray[np.int64]:
    """These counts first, the remaining votes spread evenly."""
    rest = n_samples * top_k - sum(first)
    spread = np.full(n_cells - len(first), rest // (n_cells - len(first)))
    spread[: rest - spread.sum()] += 1
    return np.concatenate([first, spread]).astype(np.int64)


def test_anani_needs_88_of_90_votes_on_a_224_pixel_image() -> None:
    """100 copies with 10 for the side, tau = 0.75, alpha = 0.001 over 224 x 224 pixels."""
    n, k = 224 * 224, 5018
    counts = counts_with(90, k, n, 90, 89, 88, 87, 86, 2, 3)
    chosen = np.zeros(n, dtype=bool)
    chosen[:5] = True
    for sigma, radius in ((0.15, 0.10), (0.25, 0.17), (0.33, 0.22)):
        found = anani_certificate(counts, 90, top_k=k, sigma=sigma, chosen_in=chosen)
        assert round(found.radius, 2) == radius
    assert found.certified_in[:5].tolist() == [True, True, True, False, False]
    assert found.certified_out[5:7].tolist() == [True, False]
    assert found.reported_in == 3


@pytest.mark.parametrize("correction", ["bonferroni", "holm"])
def test_the_tests_are_exact_and_corrected(correction: str) -> None:
    """Against scipy's binomial test and Holm's procedure by its definition, on both sides of each cell."""
    rng = np.random.default_rng(1)
    m, k, c = 64, 6, 24
    raw = 3 * rng.normal(size=c) + rng.normal(size=(m, c))
    counts = np.bincount(np.argsort(-raw, axis=1)[:, :k].ravel(), minlength=c)
    p = np.array([binom.sf(x - 1, m, 0.6) for x in [*counts, *(m - counts)]])
    if correction == "bonferroni":
        expected = p <= 0.01 / 48
    else:
        expected, left = np.zeros(48, dtype=bool), 48
        for i in np.argsort(p, kind="stable"):
            if p[i] > 0.01 / left:
                break
            expected[i], left = True, left - 1
    found = anani_certificate(counts, m, top_k=k, sigma=1.0, tau=0.6, alpha=0.01, correction=correction)
    assert np.concatenate([found.certified_in, found.certified_out]).tolist() == expected.tolist()
    assert expected[:24].any() and expected[24:].any() and not expected.all()


def test_holm_certifies_more_than_bonferroni() -> None:
    """80 tests; the two weakest pass only because 38 others have passed before."""
    m, k = 60, 20
    counts = counts_with(m, k, 40, *([60] * 18), 57, 57)
    alpha = 60 * binom.sf(56, m, 0.75)
    found = [
        anani_certificate(counts, m, top_k=k, sigma=1.0, alpha=alpha, correction=name).reported_in
        for name in ("bonferroni", "holm")
    ]
    assert found == [18, 20]


def test_holm_stops_at_the_first_test_that_fails() -> None:
    """Four tests of one p-value: thresholds rise to alpha, but none counts behind a test that fails."""
    m, chosen = 50, [True, True, False, False]
    p = binom.sf(43, m, 0.75)
    for alpha, passed in ((3.9 * p, 0), (4.1 * p, 2)):
        found = anani_certificate(
            [44, 44, 6, 6], m, top_k=2, sigma=1.0, alpha=alpha, correction="holm", chosen_in=chosen
        )
        assert (found.certified_in.sum(), found.certified_out.sum()) == (passed, passed)


def test_false_certificates_stay_within_alpha() -> None:
    """Exact: the worst share for a test is tau itself; both sides of one cell add up."""
    m, n_cells, alpha = 50, 3, 0.05
    x = np.arange(m + 1)
    passes_in = np.array(
        [anani_certificate([v, m - v, 0], m, top_k=1, sigma=1.0, tau=0.6, alpha=alpha).certified_in[0] for v in x]
    )
    passes_out = np.array(
        [anani_certificate([v, m - v, 0], m, top_k=1, sigma=1.0, tau=0.6, alpha=alpha).certified_out[0] for v in x]
    )
    for q in np.linspace(0, 1, 101):
        wrong = (passes_in if q <= 0.6 else False) | (passes_out if 1 - q <= 0.6 else False)
        assert binom.pmf(x, m, q)[np.broadcast_to(wrong, x.shape)].sum() <= alpha / n_cells
    assert passes_in[-1] and passes_out[0]


def test_certified_in_cells_alone_imply_no_top_k_overlap() -> None:
    """Two cells above tau = 0.75 can be overtaken by a third one within R: the sum of the shares allows it."""
    radius = float(ndtri(0.75))
    before = np.array([0.76, 0.76, 0.30, 0.18])
    after = np.array([0.518, 0.518, 0.5592, 0.4048])
    assert before.sum() == pytest.approx(2) and after.sum() == pytest.approx(2)
    assert (after >= ndtr(ndtri(before) - radius)).all() and (after <= ndtr(ndtri(before) + radius)).all()
    m = 100_000
    found = anani_certificate(np.rint(before * m), m, top_k=2, sigma=1.0, alpha=0.001)
    assert found.certified_in.tolist() == [True, True, False, False] and found.reported_in == 2
    assert found.certified_out.tolist() == [False, False, False, True]
    assert found.overlap == 1 == len({0, 1} & set(np.argsort(-after)[:2].tolist()))


def test_the_overlap_is_what_the_majorities_allow() -> None:
    """Brute force: in means above 1/2, out below, abstain anything."""
    with collected() as case:
        for seed in range(30):
            with case(seed):
                rng = np.random.default_rng(seed)
                c, k, m = 8, 3, 300
                raw = rng.choice([0.5, 3.0]) * rng.normal(size=c) + rng.normal(size=(m, c))
                counts = np.bincount(np.argsort(-raw, axis=1)[:, :k].ravel(), minlength=c)
                found = anani_certificate(counts, m, top_k=k, sigma=1.0, tau=0.55)
                low = np.where(found.certified_in, 0.6, 0.0)
                high = np.where(found.certified_out, 0.4, 1.0)
                reported = set(np.argsort(-counts, kind="stable")[:k].tolist())
                assert found.overlap == least_overlap(low, high, reported, k)
                assert found.overlap <= found.reported_in


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"counts": [0.5, 0.5]}, "not shares"),
        ({"tau": 0.4}, "tau is 0.4"),
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"correction": "none"}, "holm"),
    ],
)
def test_anani_refuses(change: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        anani_certificate(**({"counts": [9, 1], "n_samples": 10, "top_k": 1, "sigma": 1.0} | change))


# Scoring vectors


@pytest.mark.parametrize("beta", ["1", "0.5"])
def test_the_top_k_vector_gives_the_vote_certificates(beta: str) -> None:
    q = vote_shares("random", 9, 4, seed=6)
    vector = [0.25] * 4 + [0.0] * 5
    settings = {"top_k": 4, "beta": beta, "sigma": 0.2}
    assert scoring_renyi_radius(q / 4, **settings) == pytest.approx(renyi_radius(q, **settings), rel=1e-12)
    found = scoring_neyman_pearson_radius(q / 4, vector, **settings)
    assert found == pytest.approx(neyman_pearson_radius(q, **settings), rel=1e-12)


def linear_vector(n_cells: int) -> Array:
    return np.arange(n_cells, 0, -1) / (n_cells * (n_cells + 1) / 2)


def mean_scores(center: Array, vector: Array, n_samples: int, seed: int) -> Array:
    """E[v_rank] of the identity map under noise of sigma 1, by sampling."""
    rng = np.random.default_rng(seed)
    rank = np.argsort(np.argsort(-(center + rng.normal(size=(n_samples, center.size))), axis=1), axis=1)
    return vector[rank].mean(axis=0)


def test_the_renyi_bound_of_scores_is_the_cheapest_swap() -> None:
    """Brute force over all swaps for a map of linear rank scores, at many orders."""
    p = mean_scores(np.array([1.2, 0.9, 0.4, 0.0, -0.3, -1.0]), linear_vector(6), 4000, seed=0)
    order = np.argsort(-p)
    radius = scoring_renyi_radius(p, top_k=3, beta="2/3", sigma=1.0)
    best = 0.0
    for alpha in 1 + np.logspace(-2, 0.7, 10):
        epsilon = min(
            divergence_of_swap(p, a, b, alpha) for a in combinations(order[:3], 2) for b in combinations(order[3:], 2)
        )
        best = max(best, math.sqrt(2 * epsilon / alpha))
    assert radius == pytest.approx(best, rel=2e-2) and radius > 0


@pytest.mark.parametrize("vector", [(1.0, 0.0), (0.7, 0.3)])
def test_two_cells_have_the_exact_radius(vector: tuple[float, float]) -> None:
    """Identity map, means apart by d: the order of the expected scores flips at ||delta|| = d / sqrt(2), exactly."""
    d, sigma = 0.6, 0.5
    first = ndtr(d / (sigma * math.sqrt(2)))
    p = vector[0] * np.array([first, 1 - first]) + vector[1] * np.array([1 - first, first])
    exact = d / math.sqrt(2)
    found = scoring_neyman_pearson_radius(p, vector, top_k=1, beta="1", sigma=sigma)
    assert found == pytest.approx(exact, rel=1e-9)
    assert 0 < scoring_renyi_radius(p, top_k=1, beta="1", sigma=sigma) < exact


def test_no_perturbation_inside_the_scoring_radii_swaps_the_cells() -> None:
    """Identity map of 5 cells, linear scores: the straight push of the weakest pair, and random directions."""
    center, vector = np.array([1.0, 0.7, 0.1, -0.4, -0.6]), linear_vector(5)
    p = mean_scores(center, vector, 200_000, seed=1)
    radius = scoring_neyman_pearson_radius(p, vector, top_k=2, beta="1", sigma=1.0)
    assert scoring_renyi_radius(p, top_k=2, beta="1", sigma=1.0) < radius
    push = np.array([0.0, -1.0, 1.0, 0.0, 0.0]) / math.sqrt(2)
    exact = 0.6 / math.sqrt(2)
    assert 0.3 * exact < radius <= 1.01 * exact
    rng = np.random.default_rng(2)
    for direction in [push, *rng.normal(size=(5, 5))]:
        moved = center + 0.97 * radius * direction / np.linalg.norm(direction)
        assert set(np.argsort(-mean_scores(moved, vector, 100_000, seed=3))[:2].tolist()) == {0, 1}
    beyond = mean_scores(center + 1.1 * exact * push, vector, 100_000, seed=4)
    assert set(np.argsort(-beyond)[:2].tolist()) != {0, 1}


@pytest.mark.parametrize(
    ("p", "vector", "match"),
    [
        ([0.6, 0.3], [1.0, 0.0], "sum 0.9"),
        ([0.6, 0.4], [0.0, 1.0], "non-increasing"),
        ([0.6, 0.4], [0.6, 0.6], "non-increasing"),
        ([0.6, 0.4], [1.0], "one entry for each cell"),
        ([0.9, 0.1], [0.7, 0.3], "means lie between"),
        ([1.2, -0.2], [0.7, 0.3], ">= 0"),
    ],
)
def test_scores_of_another_vector_are_refused(p: list[float], vector: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        scoring_neyman_pearson_radius(p, vector, top_k=1, beta="1", sigma=1.0)


def test_a_constant_vector_says_nothing() -> None:
    assert scoring_neyman_pearson_radius([0.25] * 4, [0.25] * 4, top_k=1, beta="1", sigma=1.0) == 0
    assert scoring_renyi_radius([0.25] * 4, top_k=1, beta="1", sigma=1.0) == 0
