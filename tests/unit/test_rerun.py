"""The rerun level: the bound against brute force over every G, G' and t, and the claim's sentences."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from monai_robustinterp.certificates import certify_votes, mass_weighted_bounds
from monai_robustinterp.certificates.rerun import Side, largest_shift, rerun_radius
from monai_robustinterp.types import SmoothingSpec, VoteMap
from tests.support.vote_factory import spec_of, vote_map

shares = st.sampled_from([0.0, 0.02, 0.1, 0.25, 0.5, 0.7, 0.9, 0.97, 0.999, 1.0])


def brute_force(lower: np.ndarray, upper: np.ndarray, shift: float, needed: int, fresh: int) -> float:
    """P of T9 as it is written: every t, every G and G', the G worst tails dropped."""
    inside = norm.cdf(norm.ppf(lower) - shift)
    outside = norm.cdf(norm.ppf(upper) + shift)
    best = np.inf
    for t in range(-1, fresh + 1):
        ways = []
        for tails in (binom.cdf(t, fresh, inside), binom.sf(t, fresh, outside)):
            smallest_first = sorted(tails)
            ways.append(min(sum(smallest_first[: len(tails) - g]) / (needed - g) for g in range(needed)))
        best = min(best, sum(ways))
    return best


@settings(deadline=None, max_examples=60)
@given(
    lower=st.lists(shares, min_size=1, max_size=6),
    upper=st.lists(shares, min_size=1, max_size=7),
    fresh=st.integers(1, 12),
    eta_rerun=st.sampled_from([0.01, 0.2, 0.7]),
    data=st.data(),
)
def test_the_largest_shift_is_where_the_brute_force_bound_passes_eta(lower, upper, fresh, eta_rerun, data) -> None:
    lower, upper = np.minimum(lower, 0.999), np.maximum(upper, 0.002)
    needed = data.draw(st.integers(1, min(lower.size, upper.size)))
    shift, t = largest_shift(lower, upper, needed=needed, fresh_samples=fresh, eta_rerun=eta_rerun)
    assert brute_force(lower, upper, shift + 1e-6, needed, fresh) > eta_rerun
    if t is None:
        assert shift == 0
    else:
        assert brute_force(lower, upper, shift, needed, fresh) <= eta_rerun


def test_a_hundred_groups_and_many_copies_agree_with_brute_force() -> None:
    rng = np.random.default_rng(2)
    lower, upper = np.round(rng.uniform(0.7, 0.98, 40), 2), np.round(rng.uniform(0.01, 0.25, 90), 2)
    for needed in (2, 7, 40):
        shift, _ = largest_shift(lower, upper, needed=needed, fresh_samples=60, eta_rerun=0.05)
        assert shift > 0
        assert brute_force(lower, upper, shift, needed, 60) <= 0.05
        assert brute_force(lower, upper, shift + 1e-7, needed, 60) > 0.05


def test_one_side_by_hand() -> None:
    """Chances .9, .5, .1, .1 of one error in one copy, three needed: drop none 1.6/3, one .7/2, two .2/1."""
    side = Side.of(norm.ppf([0.1, 0.9, 0.1, 0.5]))
    assert side.failure(0.0, errors=0, fresh_samples=1, needed=3) == pytest.approx(0.2)
    assert side.failure(0.0, errors=0, fresh_samples=1, needed=2) == pytest.approx(0.7)
    assert side.failure(0.0, errors=0, fresh_samples=1, needed=1) == pytest.approx(1.6)
    # All but one of the needed cells may end inside a group of equal cells.
    assert side.failure(0.0, errors=0, fresh_samples=1, needed=4) == pytest.approx(0.1)


def test_one_cell_and_one_copy() -> None:
    """A violation costs l' inside or h' outside; both shifted from .95 and .05 sum to .4 at .2 each."""
    shift, t = largest_shift([0.95], [0.05], needed=1, fresh_samples=1, eta_rerun=0.4)
    assert t == 0 and shift == pytest.approx(norm.ppf(0.95) - norm.ppf(0.8), rel=1e-8)
    assert largest_shift([0.95], [0.05], needed=1, fresh_samples=1, eta_rerun=0.09) == (0.0, None)


def make_votes(n_samples: int = 512, top_k: int = 38, side: int = 16, sharpness: float = 2.0) -> VoteMap:
    rng = np.random.default_rng(5)
    noisy = rng.normal(size=side * side) * sharpness + rng.normal(size=(n_samples, side * side))
    top = np.argpartition(-noisy, top_k, axis=1)[:, :top_k]
    counts = np.bincount(top.ravel(), minlength=side * side).reshape(side, side)
    return vote_map(counts, n_samples=n_samples, top_k=top_k)


def make_spec(votes: VoteMap, sigma: float = 0.125) -> SmoothingSpec:
    return spec_of(votes, sigma=sigma)


def test_the_radius_is_the_shift_of_the_bounds_of_all_cells_and_below_the_population_radius() -> None:
    votes = make_votes()
    rerun = rerun_radius(votes, make_spec(votes), beta="0.5", eta=0.001, eta_rerun=0.002)
    table = mass_weighted_bounds(np.arange(513), 512, top_k=38, eta=0.001)
    mask, counts = votes.top_k_mask.ravel(), votes.counts.ravel()
    shift, t = largest_shift(
        table.lower[counts[mask]], table.upper[counts[~mask]], needed=20, fresh_samples=512, eta_rerun=0.002
    )
    assert (rerun.l2, rerun.threshold) == (0.125 * shift, t)
    assert 0 < rerun.l2 < certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001).l_max
    assert (rerun.overlap, rerun.fresh_samples, rerun.eta, rerun.eta_rerun) == (19, 512, 0.001, 0.002)
    assert rerun.sentence.startswith("certified (rerun level)") and "at least 19 cells" in rerun.sentence


def test_more_fresh_copies_and_a_larger_eta_reach_further_up_to_the_population_radius() -> None:
    votes = make_votes()
    spec = make_spec(votes)
    population = certify_votes(votes, spec, beta="0.5", eta=0.001).l_max
    radii = [
        rerun_radius(votes, spec, beta="0.5", eta=0.001, eta_rerun=0.001, fresh_samples=m).l2
        for m in (64, 512, 8192, 1_000_000)
    ]
    assert radii == sorted(set(radii)) and 0.95 * population < radii[-1] < population
    assert rerun_radius(votes, spec, beta="0.5", eta=0.001, eta_rerun=0.1).l2 > radii[1]


def test_allowed_wrong_bounds_cost_cells_of_the_swap() -> None:
    votes = make_votes(top_k=120, side=32, n_samples=256, sharpness=4.0)
    rerun = rerun_radius(votes, make_spec(votes), beta="0.5", eta=0.01, eta_rerun=0.01)
    table = mass_weighted_bounds(-np.sort(-votes.counts.ravel()), 256, top_k=120, eta=0.01, wrong=1)
    shift, _ = largest_shift(table.lower[:120], table.upper[120:], needed=60, fresh_samples=256, eta_rerun=0.01)
    assert rerun.l2 == 0.125 * shift > 0


def test_votes_that_say_nothing_abstain() -> None:
    votes = make_votes(sharpness=0.0, n_samples=32)
    rerun = rerun_radius(votes, make_spec(votes), beta="0.5", eta=0.001, eta_rerun=0.001)
    assert (rerun.l2, rerun.threshold) == (0.0, None) and rerun.sentence.startswith("abstain")


def test_counts_of_nothing_and_everything_at_a_million_copies() -> None:
    m = 1_000_000
    counts = np.array([[m, 0, 0, 0]])
    votes = dataclasses.replace(
        make_votes(n_samples=8, top_k=1, side=4), counts=counts, n_samples=m, top_k=1, found_copies=m
    )
    rerun = rerun_radius(votes, make_spec(votes, sigma=1.0), beta="1", eta=0.001, eta_rerun=0.001)
    population = certify_votes(votes, make_spec(votes, sigma=1.0), beta="1", eta=0.001).l_max
    assert 0.99 * population < rerun.l2 < population < math.inf


@pytest.mark.parametrize(
    "changes",
    [
        {"eta": 0.0},
        {"eta_rerun": 0.0},
        {"eta_rerun": 1.0},
        {"eta_rerun": float("nan")},
        {"fresh_samples": 0},
        {"beta": "1.5"},
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, object]) -> None:
    votes = make_votes(n_samples=64)
    arguments = {"beta": "0.5", "eta": 0.01, "eta_rerun": 0.01} | changes
    with pytest.raises(ValueError, match="must"):
        rerun_radius(votes, make_spec(votes), **arguments)
    with pytest.raises(ValueError, match="same run"):
        rerun_radius(make_votes(n_samples=65), make_spec(votes), beta="0.5", eta=0.01, eta_rerun=0.01)


def test_two_etas_that_leave_no_confidence_claim_nothing() -> None:
    votes = make_votes(n_samples=512)
    for eta, eta_rerun, claims in ((0.5, 0.49, True), (0.5, 0.5, False), (0.2, 0.9, False)):
        rerun = rerun_radius(votes, make_spec(votes), beta="0.5", eta=eta, eta_rerun=eta_rerun)
        assert (rerun.l2 > 0, rerun.threshold is not None, rerun.sentence.startswith("certified")) == (claims,) * 3


@pytest.mark.parametrize(("needed", "fresh", "eta"), [(0, 5, 0.1), (3, 5, 0.1), (1, 0, 0.1), (1, 5, 0.0), (1, 5, 1.0)])
def test_a_shift_of_no_sense_is_refused(needed: int, fresh: int, eta: float) -> None:
    with pytest.raises(ValueError, match="must"):
        largest_shift([0.9, 0.8], [0.1, 0.2, 0.3], needed=needed, fresh_samples=fresh, eta_rerun=eta)


@pytest.mark.parametrize(
    ("lower", "upper"), [([1.0], [0.1]), ([0.9], [0.0]), ([-0.1], [0.1]), ([0.9], [1.1]), ([math.nan], [0.1])]
)
def test_bounds_that_no_finite_run_gives_are_refused(lower: list[float], upper: list[float]) -> None:
    with pytest.raises(ValueError, match="must be bounds"):
        largest_shift(lower, upper, needed=1, fresh_samples=5, eta_rerun=0.1)
    with pytest.raises(ValueError, match="must lie in"):
        largest_shift([], [0.1], needed=1, fresh_samples=5, eta_rerun=0.1)
