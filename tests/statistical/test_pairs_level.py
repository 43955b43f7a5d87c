"""Pairs: failure probabilities against what each bound allows, and radii against mechanisms whose truth is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr
from scipy.stats import binom, multinomial

from monai_robustinterp.certificates import neyman_pearson_radius
from monai_robustinterp.certificates.pairs import (
    edge_radii,
    majority_bounds,
    pairs_radius,
    peeled_radius,
    sampled_edge_radii,
)
from tests.support.vote_factory import vote_map

# ---- exact truth


def all_sets(n_cells: int, top_k: int) -> np.ndarray:
    """Every vote for k cells, bool [sets, c]."""
    votes = np.zeros((len(list(combinations(range(n_cells), top_k))), n_cells), bool)
    np.put_along_axis(votes, np.array(list(combinations(range(n_cells), top_k))), True, axis=1)
    return votes


def identity_law(x: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes [sets, c] of g = identity with unit noise, and their exact law: the weakest cell of the set has value t."""
    votes, t = all_sets(x.size, top_k), np.linspace(x.min() - 9, x.max() + 9, 2001)
    below = ndtr(t - x[:, None])
    density = np.exp(-((t - x[:, None]) ** 2) / 2) / np.sqrt(2 * np.pi)
    law = np.empty(len(votes))
    for i, vote in enumerate(votes):
        rest = np.prod(below[~vote], axis=0)
        weakest = sum(
            density[a] * np.prod(1 - below[[b for b in np.flatnonzero(vote) if b != a]], axis=0)
            for a in np.flatnonzero(vote)
        )
        law[i] = (rest * weakest).sum() * (t[1] - t[0])
    assert law.sum() == pytest.approx(1, abs=1e-9)
    return votes, law / law.sum()


def discordant(votes: np.ndarray, law: np.ndarray) -> np.ndarray:
    """How often (or with what probability) a gets a vote and b gets none, [c, c]."""
    return (votes * law[:, None]).T.astype(law.dtype) @ (~votes).astype(law.dtype)


def nearest_swap(x: np.ndarray, top_k: int, s: int) -> tuple[float, np.ndarray]:
    """Distance to the nearest input where s cells are swapped, and the way there.

    For g = identity q_a > q_b iff a is the larger pixel: the s lowest inside and s highest outside meet at one value.
    """
    order = np.argsort(-x)
    inside, outside = order[top_k - s : top_k], order[top_k : top_k + s]

    def way(level: float) -> np.ndarray:
        delta = np.zeros(x.size)
        delta[inside] = np.minimum(level - x[inside], 0)
        delta[outside] = np.maximum(level - x[outside], 0)
        return delta

    best = minimize_scalar(lambda t: (way(t) ** 2).sum(), bounds=(x.min(), x.max()), options={"xatol": 1e-12})
    return float(np.sqrt(best.fun)), way(best.x)


@pytest.mark.parametrize("s", [1, 2, 3])
def test_the_radius_lies_between_the_marginal_one_and_the_true_distance_of_a_swap(s: int) -> None:
    rng = np.random.default_rng(s)
    ratios = []
    for spread in (0.4, 1.0, 2.0, 2.0):
        x = np.sort(spread * rng.normal(size=7))[::-1] + np.r_[np.full(3, 0.3), np.zeros(4)]
        votes, law = identity_law(x, 3)
        u = discordant(votes, law)
        pairs = peeled_radius(edge_radii(u[:3, 3:], u[3:, :3].T), swaps=s)
        truth, way = nearest_swap(x, 3, s)
        for scale, broken in ((0.999, False), (1.001, True)):
            q = np.dot(*identity_law(x + scale * way, 3)[::-1])
            assert (np.sort(q[:3])[s - 1] <= np.sort(q[3:])[-s]) == broken
        marginal = neyman_pearson_radius(law @ votes, top_k=3, beta=f"{4 - s}/3", sigma=1.0)
        assert marginal * (1 - 1e-9) <= pairs <= truth * (1 + 1e-9)
        ratios.append((marginal / truth, pairs / truth))
    # The pairs see most of the way for one swap; a single delta that moves 2 s cells is longer than one for each pair.
    assert np.mean(ratios, axis=0)[1] > (0.8 if s == 1 else 0.4)


def plane_shares(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Exact vote shares, k = 1, of cells W (x + noise) in the plane: each wins in a cone, whose mass is an angle's."""
    angles = (np.arange(20_000) + 0.5) * 2 * np.pi / 20_000
    rays = np.stack([np.cos(angles), np.sin(angles)])
    along = x @ rays
    density = (np.exp(-(x @ x) / 2) + np.sqrt(2 * np.pi) * along * np.exp((along**2 - x @ x) / 2) * ndtr(along)) / (
        2 * np.pi
    )
    winner = (weights @ rays).argmax(axis=0)
    return np.bincount(winner, density, minlength=len(weights)) * (2 * np.pi / angles.size)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_no_direction_breaks_a_linear_map_inside_the_radius_and_one_does_not_far_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(4, 2))
    x = 1.5 * weights[0] / np.linalg.norm(weights[0])
    q = plane_shares(x, weights)
    first = int(q.argmax())
    others = np.delete(np.arange(4), first)
    # K = 1: the discordant shares of a pair are the shares themselves.
    radius = peeled_radius(edge_radii(np.full((1, 3), q[first]), q[others][None]), swaps=1)

    def broken(length: float) -> bool:
        ways = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        moved = [plane_shares(x + length * np.array([np.cos(a), np.sin(a)]), weights) for a in ways]
        return any(p[first] <= p[others].max() for p in moved)

    assert not broken(0.995 * radius)
    assert broken(1.6 * radius)


def test_two_cells_of_a_linear_map_are_certified_to_their_exact_distance() -> None:
    weights, x = np.array([[1.0, 2.0], [-0.5, 0.3]]), np.array([0.8, 0.1])
    across = weights[0] - weights[1]
    q = plane_shares(x, weights)
    assert float(edge_radii(q[0], q[1])) == pytest.approx(across @ x / np.linalg.norm(across), rel=1e-3)


# ---- levels


def beside(bounds: np.ndarray) -> np.ndarray:
    """Truths just below each bound, where it is likeliest to be wrong."""
    return np.nextafter(np.unique(bounds[(bounds > 0) & np.isfinite(bounds)]), 0)


@pytest.mark.parametrize(("n", "level"), [(25, 0.05), (200, 1e-3), (1000, 1e-8)])
def test_no_majority_makes_both_sides_wrong_more_often_than_the_level(n: int, level: float) -> None:
    wins = np.arange(1, n + 1)
    bounds = np.r_[0.0, majority_bounds(wins, np.full(n, n), level=level)]
    t = np.r_[np.linspace(0.5, 1, 800)[:-1], beside(bounds)]
    law = binom.pmf(np.arange(n + 1), n, t[:, None])
    # The losses, read as wins, show a majority that is none.
    wrong = (law * (bounds > t[:, None])).sum(axis=1) + (law * (bounds[::-1] > 0)).sum(axis=1)
    assert 0.88 * level < wrong.max() <= level


@pytest.mark.parametrize(("mass", "wrong"), [(1, 0), (1, 2), (8284, 0)])
@pytest.mark.parametrize("n", [40, 150, 299])
def test_the_share_of_discordant_copies_behind_a_radius_spends_its_part_of_eta(n: int, mass: int, wrong: int) -> None:
    m, eta = 300, 0.06
    radius = float(sampled_edge_radii(n, 0, n_samples=m, n_discordant=mass, eta=eta, wrong=wrong))
    t = majority_bounds(np.array([n]), np.array([n]), level=0.9 * eta * (wrong + 1) * n / (m * mass))[0]
    v = brentq(lambda v: float(edge_radii(v * t, v * (1 - t))) - radius, 1e-9, 1 - 1e-12)
    spent = binom.sf(n - 1, m, v) / (0.1 * eta * (wrong + 1) * v / mass)
    assert 0.999 < spent < 1.001


@pytest.mark.parametrize(("eta", "wrong"), [(0.05, 0), (0.05, 2), (0.001, 0)])
def test_two_cells_spend_most_of_eta_at_the_worst_share_and_never_more(eta: float, wrong: int) -> None:
    """K = 1 of 2 cells: every copy is discordant and this pair is all there is, so no other bound may spend eta."""
    m = 20_000
    x = np.arange(m + 1)
    radii = sampled_edge_radii(x, m - x, n_samples=m, n_discordant=1, eta=eta, wrong=wrong)
    assert (np.diff(radii) >= 0).all()
    truths = np.r_[0.0, beside(radii[np.linspace(m // 2, m, 300).astype(int)])]
    share = ndtr(truths)
    last_reversed = m - int(np.argmax(radii > 0))
    failure = binom.sf(np.searchsorted(radii, truths, side="right") - 1, m, share) + binom.cdf(last_reversed, m, share)
    assert 0.7 * eta * (wrong + 1) < failure.max() <= eta * (wrong + 1)


def test_no_truth_makes_a_pair_wrong_more_often_than_its_part_of_eta() -> None:
    """All counts of two cells among m copies, both readings; u + w sums to k (c - k) over the pairs of a map."""
    m, mass, eta = 50, 2, 0.3
    x, y = (a.ravel() for a in np.meshgrid(np.arange(m + 1), np.arange(m + 1)))
    x, y = x[x + y <= m], y[x + y <= m]
    first = sampled_edge_radii(x, y, n_samples=m, n_discordant=mass, eta=eta)
    second = sampled_edge_radii(y, x, n_samples=m, n_discordant=mass, eta=eta)
    assert not ((first > 0) & (second > 0)).any()
    ratios = []
    for v in np.r_[0.02, 0.05, np.linspace(0.1, 1, 10)]:
        for t in np.r_[0.5, 0.5001, np.linspace(0.52, 0.999, 24)]:
            law = multinomial.pmf(np.stack([x, y, m - x - y], axis=1), m, [v * t, v * (1 - t), 1 - v])
            wrong = (first > edge_radii(v * t, v * (1 - t))) | (second > 0)
            ratios.append(law[wrong].sum() / (eta * v / mass))
    assert 0.2 < max(ratios) <= 1


def runs_of(law: np.ndarray, m: int, runs: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(m, law, size=runs)


def test_thousand_runs_of_a_mechanism_have_a_wrong_pair_in_at_most_a_share_eta() -> None:
    """Pixels that nearly tie, where a wrong bound is likeliest; all pairs, both ways, as no selection can be worse."""
    m, eta = 120, 0.5
    votes, law = identity_law(np.array([0.9, 0.85, 0.8, 0.1, 0.05, 0.0]), 3)
    u = discordant(votes, law)
    truth = edge_radii(u, u.T)
    # The bounds of all counts that can occur, once.
    x, y = np.meshgrid(np.arange(m + 1), np.arange(m + 1), indexing="ij")
    possible = x + y <= m
    table = np.full(x.shape, np.nan)
    table[possible] = sampled_edge_radii(x[possible], y[possible], n_samples=m, n_discordant=9, eta=eta)
    failed = {"bounds": 0, "shares": 0}
    for copies in runs_of(law, m, 1000, seed=7):
        wins = discordant(votes, copies)
        failed["bounds"] += bool((table[wins, wins.T] > truth).any())
        failed["shares"] += bool((edge_radii(wins / m, wins.T / m) > truth).any())
    assert 0 < failed["bounds"] <= 1000 * eta
    assert failed["shares"] > 990


@pytest.mark.parametrize("s", [1, 2])
def test_the_radius_of_a_run_exceeds_the_true_distance_of_a_swap_at_most_as_often_as_said(s: int) -> None:
    m, eta = 150, 0.2
    x = np.array([1.6, 1.2, 0.9, 0.1, 0.0, -0.3])
    votes, law = identity_law(x, 3)
    truth, _ = nearest_swap(x, 3, s)
    radii = []
    for copies in runs_of(law, m, 100, seed=s):
        ones = votes.repeat(copies, axis=0).astype(np.int64)
        run = vote_map(ones.sum(axis=0), n_samples=m, top_k=3, pair_counts=ones.T @ ones)
        radii.append(pairs_radius(run, swaps=s, sigma=1.0, eta_pairs=eta / 2, eta_marginal=eta / 2))
    assert np.mean(np.array(radii) > truth) <= eta
    assert np.mean(radii) > 0.1 * truth
