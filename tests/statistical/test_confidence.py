"""The bounds against exact binomial probabilities, and the certificate against a mechanism whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from monai_robustinterp.certificates import certify_votes, mass_weighted_bounds, neyman_pearson_radius
from monai_robustinterp.certificates.confidence import Bounds
from monai_robustinterp.types import SmoothingSpec, VoteMap
from tests.support.cases import collected
from tests.support.vote_factory import spec_of, vote_map

ETA = 0.05


def wrong_probabilities(table: Bounds, q: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """P[lo(X) > q] and P[hi(X) < q] for X ~ Bin(m, q), exactly."""
    first_above = np.searchsorted(table.lower, q, side="right")
    last_below = np.searchsorted(table.upper, q, side="left") - 1
    return binom.sf(first_above - 1, m, q), binom.cdf(last_below, m, q)


def least_favorable(table: Bounds) -> np.ndarray:
    """Truths just beside each bound, where a wrong bound is likeliest."""
    lower = table.lower[table.lower > 0]
    upper = table.upper[table.upper < 1]
    return np.concatenate([np.nextafter(lower, 0), np.nextafter(upper, 1)])


@pytest.mark.parametrize(("m", "top_k", "wrong"), [(16, 3, 0), (64, 38, 0), (64, 100, 2), (512, 38, 0), (1000, 500, 5)])
def test_no_truth_makes_a_wrong_bound_likelier_than_its_share(m: int, top_k: int, wrong: int) -> None:
    table = mass_weighted_bounds(np.arange(m + 1), m, top_k=top_k, eta=ETA, wrong=wrong)
    q = np.concatenate([least_favorable(table), np.logspace(-9, 0, 500)[:-1], 1 - np.logspace(-9, -1, 200)])
    # Summed over both sides and all cells (sum q = k) this is the claim: expected wrong bounds <= eta (r + 1).
    allowed = ETA * (wrong + 1) * q / (2 * top_k)
    for probability in wrong_probabilities(table, q, m):
        ratio = probability / allowed
        # Nearly 1 at the worst truth: a table at 1.1 times the level would be seen here.
        assert 0.98 < ratio.max() <= 1 + 1e-9


def test_the_bounds_are_ordered_and_hold_the_observed_share() -> None:
    table = mass_weighted_bounds(np.arange(201), 200, top_k=20, eta=0.001)
    share = np.arange(201) / 200
    assert (np.diff(table.lower) >= 0).all() and (np.diff(table.upper) >= 0).all()
    assert (table.lower <= share).all() and (share <= table.upper).all()
    assert table.lower[2] > 0
    assert table.lower[0] == table.lower[1] == 0 and table.upper[-1] == 1
    assert 0 < table.upper[0] < 0.1 and 0.9 < table.lower[-1] < 1


def test_more_copies_and_more_allowed_failures_tighten() -> None:
    few, many = (mass_weighted_bounds(np.arange(m + 1), m, top_k=38, eta=0.001) for m in (128, 512))
    assert many.lower[256] > few.lower[64]
    assert mass_weighted_bounds([64], 128, top_k=38, eta=0.001, wrong=3).lower[0] > few.lower[64]


def test_wrong_arguments_are_refused() -> None:
    cases = [
        (0, 0, 3, 0.1, 0),
        (0, 10, 3, 0.0, 0),
        (0, 10, 3, 1.0, 0),
        (0, 10, 0, 0.1, 0),
        (0, 10, 3, 0.1, -1),
        (11, 10, 3, 0.1, 0),
        (-1, 10, 3, 0.1, 0),
        # A level of 1 or more proves nothing: the lower bound of 2 votes of 10 would be 1.
        (2, 10, 1, 0.9, 5),
    ]
    with collected() as case:
        for count, m, top_k, eta, wrong in cases:
            with case(count, m, top_k, eta, wrong), pytest.raises(ValueError, match="must"):
                mass_weighted_bounds([count], m, top_k=top_k, eta=eta, wrong=wrong)


def test_bounds_of_few_counts_are_those_of_the_table() -> None:
    table = mass_weighted_bounds(np.arange(301), 300, top_k=9, eta=0.01)
    counts = np.array([[7, 0], [300, 7]])
    some = mass_weighted_bounds(counts, 300, top_k=9, eta=0.01)
    assert np.array_equal(some.lower, table.lower[counts])
    assert np.array_equal(some.upper, table.upper[counts])


def make_votes(counts: np.ndarray, m: int, top_k: int) -> tuple[VoteMap, SmoothingSpec]:
    votes = vote_map(counts, n_samples=m, top_k=top_k)
    return votes, spec_of(votes)


def identity_votes(x: np.ndarray, top_k: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """Counts of g = identity with unit noise: the cells are the pixels."""
    noisy = x + rng.normal(size=(m, x.size))
    top = np.argpartition(-noisy, top_k, axis=1)[:, :top_k]
    return np.bincount(top.ravel(), minlength=x.size).astype(np.int64)


def test_the_population_radius_is_below_the_true_one_and_the_plug_in_radius_is_not() -> None:
    """At the stated eta the claim may fail that often; the plug-in fails about half the time."""
    rng = np.random.default_rng(3)
    x, top_k, m = np.linspace(2, 0, 12), 4, 200
    truth = identity_votes(x, top_k, 400_000, rng) / 400_000
    true_radius = neyman_pearson_radius(truth, top_k=top_k, beta="1", sigma=1.0)
    above = {"plug-in": 0, "population": 0}
    for _ in range(200):
        votes, spec = make_votes(identity_votes(x, top_k, m, rng), m, top_k)
        certificate = certify_votes(votes, spec, beta="1", eta=0.05)
        for level in ("plug-in", "population"):
            above[level] += certificate.radius(level, "neyman-pearson").l2 > true_radius
    assert above["population"] <= 200 * 0.05
    assert above["plug-in"] > 60


def test_no_perturbation_inside_the_radius_breaks_the_claim_and_one_not_far_outside_does() -> None:
    """Exact truth for g = identity: push the weakest reported cell down and the strongest other one up."""
    rng = np.random.default_rng(11)
    x, top_k = np.array([2.0, 1.4, 0.9, 0.1, -0.2, -0.5]), 3
    noise = rng.normal(size=(300_000, x.size))

    def shares(delta: np.ndarray) -> np.ndarray:
        top = np.argpartition(-(x + delta + noise), top_k, axis=1)[:, :top_k]
        return np.bincount(top.ravel(), minlength=x.size) / len(noise)

    radius = neyman_pearson_radius(shares(np.zeros(6)), top_k=top_k, beta="1", sigma=1.0)
    worst = np.zeros(6)
    worst[2], worst[3] = -1, 1
    directions = [worst, *(worst + 0.5 * rng.normal(size=6) for _ in range(12))]
    for direction in directions:
        q = shares(0.97 * radius * direction / np.linalg.norm(direction))
        assert q[:3].min() > q[3:].max()
    q = shares(1.25 * radius * worst / np.linalg.norm(worst))
    assert q[2] < q[3]
