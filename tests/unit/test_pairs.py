"""Discordant pairs: peeling against all swaps, radii against exact vote maps, bounds against exact tails."""

from __future__ import annotations

import dataclasses
import itertools
import math
from itertools import combinations

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from monai_robustinterp.certificates import certify_votes, mass_weighted_bounds, neyman_pearson_radius
from monai_robustinterp.certificates.pairs import (
    MAX_CELLS,
    edge_radii,
    majority_bounds,
    pairs_radius,
    peeled_radius,
    sampled_edge_radii,
)
from monai_robustinterp.types import SmoothingSpec, VoteMap
from tests.support.cases import collected
from tests.support.vote_factory import vote_map

# ---- peeling


def subsets(n: int, least: int) -> list[list[int]]:
    return [list(some) for size in range(least, n + 1) for some in combinations(range(n), size)]


def first_swap(radii: np.ndarray, s: int) -> float:
    """The smallest L at which s x s pairs fail together: all swaps tried."""
    rows, columns = radii.shape
    return min(radii[np.ix_(a, b)].max() for a in combinations(range(rows), s) for b in combinations(range(columns), s))


def first_core(radii: np.ndarray, s: int) -> float:
    """The smallest L at which some cells each fail against s of the others among them: all sets of cells tried."""
    rows, columns = radii.shape
    steps = []
    for a in subsets(rows, s):
        for b in subsets(columns, s):
            part = radii[np.ix_(a, b)]
            steps.append(max(np.sort(part, axis=1)[:, s - 1].max(), np.sort(part, axis=0)[s - 1].max()))
    return min(steps)


def test_peeling_finds_the_core_and_is_never_above_the_first_swap() -> None:
    with collected() as case:
        for s, kind in itertools.product([1, 2, 3, 4], ["continuous", "tied", "infinite"]):
            with case(s, kind):
                rng = np.random.default_rng(17 * s)
                gaps = []
                for _ in range(12):
                    radii = rng.random((4, 5))
                    if kind == "tied":
                        radii = np.floor(4 * radii) / 2
                    elif kind == "infinite":
                        radii[rng.random(radii.shape) < 0.5] = np.inf
                    found, swap = peeled_radius(radii, swaps=s), first_swap(radii, s)
                    assert found == first_core(radii, s) <= swap
                    assert peeled_radius(radii.T, swaps=s) == found
                    gaps.append(found == swap)
                # Random radii are harder than those of maps; s = 1 has no gap at all.
                assert np.mean(gaps) >= (1.0 if s in (1, 4) else 0.3)


@pytest.mark.parametrize("s", [1, 2, 3, 5])
def test_peeling_of_radii_from_single_cells_is_the_marginal_form(s: int) -> None:
    rng = np.random.default_rng(s)
    inside, outside = rng.uniform(0.3, 1, 5), rng.uniform(0, 0.5, 9)
    radii = edge_radii(inside[:, None], outside)
    expected = edge_radii(np.sort(inside)[s - 1], np.sort(outside)[-s])
    assert peeled_radius(radii, swaps=s) == expected == first_swap(radii, s)


def test_peeling_may_stop_short_of_the_first_swap() -> None:
    """A ring of six failing pairs: each of its cells fails against two others, and no two against the same two."""
    radii = np.full((3, 3), 2.0)
    radii[[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 0]] = 1.0
    assert (peeled_radius(radii, swaps=2), first_swap(radii, 2)) == (1.0, 2.0)


def test_a_pair_fails_at_its_own_radius() -> None:
    radii = np.array([[1.0, 1.0], [1.0, 3.0]])
    assert peeled_radius(radii, swaps=2) == 3.0
    assert peeled_radius(radii, swaps=1) == 1.0
    assert peeled_radius(np.zeros((2, 2)), swaps=1) == 0.0
    assert peeled_radius([[np.inf]], swaps=1) == np.inf


@pytest.mark.parametrize("r", [1, 2])
def test_a_swap_of_which_r_pairs_or_cells_are_wrong_is_seen_with_s_minus_r(r: int) -> None:
    rng = np.random.default_rng(r)
    s, missed = 4, 0
    for _ in range(30):
        radii = np.full((7, 9), np.inf)
        rows, columns = rng.choice(7, s, replace=False), rng.choice(9, s, replace=False)
        radii[np.ix_(rows, columns)] = 1.0
        for _ in range(r):
            kind = rng.integers(3)
            if kind == 0:
                radii[rng.choice(rows)] = np.inf
            elif kind == 1:
                radii[:, rng.choice(columns)] = np.inf
            else:
                radii[rng.choice(rows), rng.choice(columns)] = np.inf
        assert peeled_radius(radii, swaps=s - r) == 1.0
        missed += peeled_radius(radii, swaps=s) > 1.0
    assert missed > 20


@pytest.mark.parametrize(
    ("radii", "swaps"),
    [([[1.0, 1.0]], 2), ([[1.0]], 0), ([[-1.0]], 1), ([[float("nan")]], 1), ([1.0], 1)],
)
def test_wrong_radii_are_refused(radii: list[list[float]], swaps: int) -> None:
    with pytest.raises(ValueError, match="swaps is"):
        peeled_radius(radii, swaps=swaps)


# ---- expected maps


def random_law(rng: np.random.Generator, n_cells: int, top_k: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Votes bool [sets, c] of all sets of k cells, and a random law over them."""
    sets = list(combinations(range(n_cells), top_k))
    votes = np.zeros((len(sets), n_cells), bool)
    np.put_along_axis(votes, np.array(sets), True, axis=1)
    return votes, rng.dirichlet(np.full(len(sets), sharpness))


def discordant(votes: np.ndarray, law: np.ndarray) -> np.ndarray:
    """P(a in, b out), [c, c]."""
    return (votes * law[:, None]).T.astype(float) @ ~votes


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 5.0])
def test_pairs_are_never_below_the_marginal_form_for_expected_maps(sharpness: float) -> None:
    rng = np.random.default_rng(5)
    gains = []
    for _ in range(40):
        votes, law = random_law(rng, 7, 3, sharpness)
        q, u = law @ votes, discordant(votes, law)
        order = np.argsort(-q)
        inside, outside = order[:3], order[3:]
        radii = edge_radii(u[np.ix_(inside, outside)], u.T[np.ix_(inside, outside)])
        for s in (1, 2, 3):
            marginal = neyman_pearson_radius(q, top_k=3, beta=f"{4 - s}/3", sigma=1.0)
            pairs = peeled_radius(radii, swaps=s)
            assert pairs >= marginal * (1 - 1e-9)
            gains.append(pairs - marginal)
    assert max(gains) > 0.02


def test_the_radius_of_a_pair_is_exact_for_its_two_probabilities() -> None:
    """Votes along one direction of the noise: for a up to u, for b beyond 1 - w, for neither or both between."""
    for u, w in [(0.6, 0.1), (0.3, 0.29), (0.02, 0.001), (0.999, 0.0005)]:
        radius = float(edge_radii(u, w))

        def lead(shift: float, u: float = u, w: float = w) -> float:
            return float(ndtr(ndtri(u) - shift) - ndtr(ndtri(w) + shift))

        assert lead(radius * (1 - 1e-6)) > 0 > lead(radius * (1 + 1e-6))


def test_radii_of_pairs_without_a_lead_are_zero_and_of_certain_ones_unbounded() -> None:
    radii = edge_radii([0.5, 0.1, 0.0, 1.0, 0.2, 0.0], [0.5, 0.2, 0.0, 0.0, 0.0, 1.0])
    assert radii.tolist() == [0, 0, 0, np.inf, np.inf, 0]


def test_the_radius_rises_with_the_discordant_share_and_with_the_majority() -> None:
    """The lemma behind the sampled radii."""
    v, t = np.linspace(1e-6, 1, 400)[:, None], np.linspace(0.5, 1 - 1e-6, 300)
    radii = edge_radii(v * t, v * (1 - t))
    assert (np.diff(radii, axis=0) >= -1e-12).all()
    assert (np.diff(radii, axis=1) > 0).all()


# ---- bounds from copies


def exact_tail(wins: int, n: int, t: float) -> float:
    """P[Bin(n, t) >= wins] for wins > n t, term by term."""
    with mpmath.workdps(40):
        odds = mpmath.mpf(t) / (1 - mpmath.mpf(t))
        term = mpmath.binomial(n, wins) * mpmath.mpf(t) ** wins * (1 - mpmath.mpf(t)) ** (n - wins)
        total = mpmath.mpf(0)
        for j in range(wins, n + 1):
            total += term
            term *= odds * (n - j) / (j + 1)
            if term < total * mpmath.mpf("1e-25"):
                break
        return float(total)


def test_the_bound_on_the_majority_has_the_tail_it_says() -> None:
    cases = [(9, 9), (40, 41), (650, 1000), (999, 1000), (10_600, 20_000), (999_000, 10**6), (10**6, 10**6)]
    with collected() as case:
        for wins, n in cases:
            with case(wins, n):
                level = 0.05 if n < 10 else 1e-9
                bound = majority_bounds(np.array([wins]), np.array([n]), level=level)[0]
                assert 0.5 < bound < wins / n
                assert 0.9 * (1 - 1e-3) * level < exact_tail(wins, n, float(bound)) <= 0.9 * level


def test_a_majority_that_chance_gives_too_often_shows_nothing() -> None:
    """A tenth of the level at t = 1/2, on either side of the threshold."""
    n, level = 400, 1e-4
    tails = binom.sf(np.arange(n + 1) - 1, n, 0.5)
    first = int(np.argmax(tails <= 0.1 * level))
    bounds = majority_bounds(np.array([first - 1, first]), np.array([n, n]), level=level)
    assert bounds[0] == 0 < 0.5 < bounds[1]


def test_the_sampled_radius_is_that_of_its_two_bounds() -> None:
    m, mass, eta = 500, 300, 0.02
    x, y = np.array([[200, 120], [30, 499]]), np.array([[60, 0], [2, 1]])
    n = x + y
    radii = sampled_edge_radii(x, y, n_samples=m, n_discordant=mass, eta=eta)
    v = mass_weighted_bounds(n, m, top_k=mass, eta=0.2 * eta).lower
    t = majority_bounds(x, n, level=0.9 * eta * n / (m * mass))
    assert radii == pytest.approx(edge_radii(v * t, v * (1 - t)), rel=1e-12)
    assert (radii > 0).all()
    # Never above what the shares themselves give, and nothing for the cell behind.
    assert (radii < edge_radii(x / m, y / m)).all()
    assert not sampled_edge_radii(y, x, n_samples=m, n_discordant=mass, eta=eta).any()
    assert not sampled_edge_radii([0, 1, 7], [0, 0, 7], n_samples=m, n_discordant=mass, eta=eta).any()


def test_more_copies_allowed_failures_and_eta_widen_the_radius() -> None:
    def radius(m: int, **changes: float) -> float:
        arguments = {"n_samples": m, "n_discordant": 600, "eta": 0.001} | changes
        return float(sampled_edge_radii(m // 2, m // 5, **arguments))

    assert radius(1000) > radius(500) > 0
    assert radius(500, wrong=2) > radius(500)
    assert radius(500, eta=0.01) > radius(500)
    assert radius(500, n_discordant=300) > radius(500)


# ---- votes


def votes_of(copies: np.ndarray, top_k: int) -> VoteMap:
    """Vote map with pair counts, from masks [m, c]."""
    ones = copies.astype(np.int64)
    joint = (ones.T.astype(np.float32) @ ones.astype(np.float32)).astype(np.int64)
    return vote_map(ones.sum(axis=0), n_samples=len(ones), top_k=top_k, pair_counts=joint)


def identity_copies(x: np.ndarray, top_k: int, m: int, seed: int, common: float = 0.0) -> np.ndarray:
    """Masks of the top-k of x + noise, [m, c].

    With ``common`` > 0 the cells of three groups move together, as neighbors in a map do.
    """
    rng = np.random.default_rng(seed)
    noisy = x + rng.normal(size=(m, x.size)) + common * rng.normal(size=(m, 3))[:, np.arange(x.size) % 3]
    copies = np.zeros((m, x.size), bool)
    np.put_along_axis(copies, np.argpartition(-noisy, top_k, axis=1)[:, :top_k], True, axis=1)
    return copies


def identity_votes(x: np.ndarray, top_k: int, m: int, seed: int, common: float = 0.0) -> VoteMap:
    return votes_of(identity_copies(x, top_k, m, seed, common), top_k)


def marginal_radius(votes: VoteMap, s: int, eta: float) -> float:
    """The Neyman-Pearson radius of the cells alone, as the certificate gives it."""
    spec = SmoothingSpec(
        sigma=1.0, n_samples=votes.n_samples, top_k=votes.top_k, cell_size=1, interpreter="gradient", target=0
    )
    alone = dataclasses.replace(votes, pair_counts=None)
    certificate = certify_votes(alone, spec, beta=f"{votes.top_k - s + 1}/{votes.top_k}", eta=eta)
    assert certificate.swap_count == s
    return certificate.radius("population", "neyman-pearson").l2


CASES = [(40, 8, 1, 20.0), (40, 8, 4, 3.0), (40, 8, 8, 1.0), (300, 120, 61, 0.5), (300, 120, 120, 0.5)]


@pytest.mark.parametrize(("n_cells", "top_k", "s", "spread"), CASES)
def test_the_radius_is_never_below_that_of_the_cells_at_their_part_of_eta(
    n_cells: int, top_k: int, s: int, spread: float
) -> None:
    votes = identity_votes(np.linspace(spread, -spread, n_cells), top_k, 600, seed=s)
    cells = marginal_radius(votes, s, eta=0.01)
    assert cells > 0
    assert pairs_radius(votes, swaps=s, sigma=1.0, eta_pairs=0.01, eta_marginal=0.01) >= cells * (1 - 1e-9)
    # With next to no eta for the pairs the cells' own radius is left, with the same wrong bounds allowed for.
    alone = pairs_radius(votes, swaps=s, sigma=1.0, eta_pairs=1e-14, eta_marginal=0.01)
    assert alone == pytest.approx(cells, rel=1e-9)


@pytest.mark.parametrize("s", [1, 5, 60])
def test_a_map_that_ignores_the_image_gets_the_radius_of_its_cells(s: int) -> None:
    copies = np.zeros((400, 150), bool)
    copies[:, :60] = True
    votes = votes_of(copies, 60)
    found = pairs_radius(votes, swaps=s, sigma=1.0, eta_pairs=0.01, eta_marginal=0.01)
    assert found == pytest.approx(marginal_radius(votes, s, eta=0.01), rel=1e-9)


@pytest.mark.parametrize("common", [0.0, 2.0])
def test_pairs_certify_further_than_all_of_eta_on_the_cells(common: float) -> None:
    """More so where cells rise and fall together, which the shares of single cells do not show."""
    votes = identity_votes(np.linspace(3, -3, 48), 12, 1000, seed=2, common=common)
    pairs = pairs_radius(votes, swaps=7, sigma=1.0, eta_pairs=0.005, eta_marginal=0.005)
    cells = marginal_radius(votes, 7, eta=0.01)
    assert pairs > (1.5 if common else 1.05) * cells


@pytest.mark.parametrize(("n_cells", "top_k", "s", "wrong"), [(24, 6, 3, 0), (150, 70, 52, 1)])
def test_the_pairs_of_a_vote_map_share_eta_as_many_as_each_copy_tells_apart(
    n_cells: int, top_k: int, s: int, wrong: int
) -> None:
    copies = identity_copies(np.linspace(3, -3, n_cells), top_k, 400, seed=6, common=2.0)
    order = np.argsort(-copies.sum(axis=0), kind="stable")
    inside, outside = order[:top_k], order[top_k:]
    wins = np.array([[(copies[:, a] & ~copies[:, b]).sum() for b in outside] for a in inside])
    losses = np.array([[(copies[:, b] & ~copies[:, a]).sum() for b in outside] for a in inside])
    told_apart = top_k * (n_cells - top_k)
    radii = sampled_edge_radii(wins, losses, n_samples=400, n_discordant=told_apart, eta=0.01, wrong=wrong)
    expected = 0.5 * peeled_radius(radii, swaps=s - wrong)
    found = pairs_radius(votes_of(copies, top_k), swaps=s, sigma=0.5, eta_pairs=0.01, eta_marginal=1e-14)
    assert 0 < expected * (1 - 1e-11) <= found <= expected


def test_the_radius_scales_with_sigma_and_reads_the_reported_set() -> None:
    votes = identity_votes(np.linspace(3, -3, 30), 6, 500, seed=4)
    order = np.random.default_rng(0).permutation(30)
    joint = np.asarray(votes.pair_counts)
    mixed = dataclasses.replace(
        votes, counts=votes.counts[:, order].reshape(5, 6), pair_counts=joint[np.ix_(order, order)]
    )
    eta = {"eta_pairs": 0.01, "eta_marginal": 0.01}
    radius = pairs_radius(votes, swaps=3, sigma=1.0, **eta)
    assert radius > 0
    assert pairs_radius(mixed, swaps=3, sigma=1.0, **eta) == radius
    assert pairs_radius(votes, swaps=3, sigma=0.25, **eta) == pytest.approx(radius / 4, rel=1e-12)


def test_votes_without_any_lead_abstain() -> None:
    copies = np.zeros((60, 3), bool)
    copies[np.arange(60), np.arange(60) % 3] = True
    votes = votes_of(copies, 1)
    assert pairs_radius(votes, swaps=1, sigma=1.0, eta_pairs=0.1, eta_marginal=0.1) == 0


def test_the_largest_map_is_certified_and_a_larger_one_refused() -> None:
    arguments = {"swaps": 77, "sigma": 1.0, "eta_pairs": 0.01, "eta_marginal": 0.01}
    votes = identity_votes(np.linspace(2, -2, MAX_CELLS), 152, 500, seed=0)
    assert pairs_radius(votes, **arguments) >= marginal_radius(votes, 77, eta=0.01) * (1 - 1e-9) > 0
    larger = identity_votes(np.linspace(2, -2, MAX_CELLS + 1), 152, 10, seed=0)
    with pytest.raises(ValueError, match="1025 cells"):
        pairs_radius(larger, **arguments)
    with pytest.raises(ValueError, match="pair counts"):
        pairs_radius(dataclasses.replace(votes, pair_counts=None), **arguments)


@pytest.mark.parametrize(
    "changes",
    [{"eta_pairs": 0.0}, {"eta_pairs": 1.0}, {"eta_marginal": 0.0}, {"sigma": 0.0}, {"swaps": 0}, {"swaps": 4}],
)
def test_wrong_arguments_are_refused(changes: dict[str, float]) -> None:
    votes = identity_votes(np.linspace(2, -2, 9), 3, 50, seed=1)
    arguments = {"swaps": 2, "sigma": 1.0, "eta_pairs": 0.01, "eta_marginal": 0.01} | changes
    with pytest.raises(ValueError, match="must"):
        pairs_radius(votes, **arguments)


def test_a_majority_is_shown_from_a_tenth_of_the_level_on_and_not_a_little_before() -> None:
    """The tail at one half in whole numbers: a reversal may spend a tenth of the level, and no more."""
    for n, wins in ((60, 45), (200, 140), (31, 27)):
        tail = sum(math.comb(n, won) for won in range(wins, n + 1)) / 2**n
        low, high = majority_bounds(np.array([wins, wins]), np.array([n, n]), level=[tail / 0.1005, tail / 0.0995])
        assert low == 0 and high > 0.5, (n, wins)
