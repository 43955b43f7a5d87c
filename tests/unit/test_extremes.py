"""Extremes: counts of 0 and m, one cell, one copy, a million of both, orders next to 1 and beyond all use, tiny etas.

Warnings are errors here as everywhere, so an overflow or 0 / 0 on the way to a right number fails too.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monai_robustinterp.certificates import (
    Status,
    certify_label,
    certify_votes,
    mass_weighted_bounds,
    neyman_pearson_radius,
    renyi_epsilon,
    renyi_radius,
    swap_count,
)
from monai_robustinterp.certificates.confidence import clopper_pearson_bounds, plain_bounds
from monai_robustinterp.certificates.curve import overlap_curve
from monai_robustinterp.certificates.region import certify_region
from monai_robustinterp.certificates.rerun import rerun_radius
from monai_robustinterp.types import VoteMap
from tests.support.cases import collected
from tests.support.vote_factory import spec_of, vote_map

MILLION = 1_000_000


# ---- binomial bounds against mpmath, tail by tail


def tail(x: int, m: int, q: float, *, upper: bool) -> mpmath.mpf:
    """P[Bin(m, q) >= x] or P[Bin(m, q) <= x] as the sum of its terms, 40 digits."""
    with mpmath.workdps(40):
        p = mpmath.mpf(q)
        odds = p / (1 - p) if upper else (1 - p) / p
        log_choose = mpmath.loggamma(m + 1) - mpmath.loggamma(x + 1) - mpmath.loggamma(m - x + 1)
        term = mpmath.exp(log_choose + x * mpmath.log(p) + (m - x) * mpmath.log1p(-p))
        total, i = mpmath.mpf(0), x
        while term > total * mpmath.mpf(10) ** -30:
            total += term
            if i == (m if upper else 0):
                break
            term *= odds * (mpmath.mpf(m - i) / (i + 1) if upper else mpmath.mpf(i) / (m - i + 1))
            i += 1 if upper else -1
        return total


def check_tails(
    bounds: tuple[float, float], x: int, m: int, allowed: Callable[[float], float], *, relative: float
) -> None:
    """Each bound spends no more than its level, and nearly all of it."""
    for bound, upper in zip(bounds, (True, False)):
        if 0 < bound < 1:
            spent = float(tail(x, m, bound, upper=upper) / mpmath.mpf(allowed(bound)))
            # Next to 1 the floats themselves are coarse: a step of 2^-53 moves a lone failure's chance that much.
            coarse = 4e-16 * m / max(m * (1 - bound), 1e-300) if bound > 0.5 else 0.0
            assert 1 - relative - coarse * (m - x + 2) < spent <= 1, (x, m, upper)


COUNTS = (0, 1, 2, 3, 1000, 333_333, MILLION - 1000, MILLION - 2, MILLION - 1, MILLION)


@pytest.mark.parametrize(("top_k", "eta"), [(1, 1e-15), (38, 1e-12), (10_000, 1e-3), (1, 0.9999)])
def test_mass_weighted_bounds_of_a_million_copies_spend_their_level_and_no_more(top_k: int, eta: float) -> None:
    table = mass_weighted_bounds(COUNTS, MILLION, top_k=top_k, eta=eta)
    assert (np.diff(table.lower) >= 0).all() and (np.diff(table.upper) >= 0).all()
    assert table.lower[0] == table.lower[1] == 0 < table.upper[0] and table.lower[-1] < 1 == table.upper[-1]
    for x, lower, upper in zip(COUNTS, table.lower, table.upper):
        assert lower <= x / MILLION <= upper
        check_tails((lower, upper), x, MILLION, lambda q: mpmath.mpf(eta) * q / (2 * top_k), relative=1e-8)


def test_clopper_pearson_spends_its_level_and_no_more() -> None:
    with collected() as case:
        for level, m in itertools.product([1e-300, 1e-16, 1e-9, 0.5, 1 - 1e-9], [1, 2, 1000, MILLION]):
            with case(level, m):
                counts = sorted({0, 1, m // 2, m - 1, m})
                table = clopper_pearson_bounds(counts, m, level=level)
                assert table.lower[0] == 0 and table.upper[-1] == 1
                assert (table.lower[1:] > 0).all() and (table.lower < 1).all() and (table.upper > 0).all()
                for x, lower, upper in zip(counts, table.lower, table.upper):
                    check_tails((lower, upper), x, m, lambda q, level=level: mpmath.mpf(level), relative=1e-8)


def test_bounds_are_ordered_at_every_eta() -> None:
    with collected() as case:
        for m, eta in itertools.product([1, 64, MILLION], [1e-15, 1e-12, 0.5, 1 - 2**-53]):
            with case(m, eta):
                counts = np.unique(np.linspace(0, m, 50).astype(int))
                for table in (
                    mass_weighted_bounds(counts, m, top_k=1, eta=eta),
                    mass_weighted_bounds(counts, m, top_k=MILLION, eta=eta),
                    plain_bounds(counts, m, n_cells=1, eta=eta),
                    plain_bounds(counts, m, n_cells=MILLION, eta=eta),
                ):
                    assert ((table.lower >= 0) & (table.lower < 1) & (table.upper > 0) & (table.upper <= 1)).all()
                    assert (table.lower <= table.upper).all()


# ---- Renyi at extreme orders, and where it has nothing to say


def exact_epsilon(q: list[float], top_k: int, s: int, alpha: float) -> mpmath.mpf:
    """The sound form (L5) by its definition: every set of tied cells that a threshold can leave, 60 digits."""
    with mpmath.workdps(60):
        p = sorted((mpmath.mpf(v) / top_k for v in q), reverse=True)
        inside, outside = p[top_k - s : top_k], p[top_k : top_k + s]
        if outside[-1] == 0:
            return -mpmath.log(1 - sum(inside))
        order = 1 - mpmath.mpf(alpha)
        for low, high in itertools.pairwise(sorted({*inside, *outside})):
            tied = [v for v in inside if v >= high] + [v for v in outside if v <= low]
            small = min(tied)
            mean = small * (sum((v / small) ** order for v in tied) / len(tied)) ** (1 / order)
            if low <= mean <= high:
                return -mpmath.log(1 + sum(mean - v for v in tied))
    raise AssertionError("no threshold lies between its neighbors")


ORDERS = (math.nextafter(1, 2), 1 + 1e-12, 1 + 1e-9, 1.5, 1e6, 1e12, 1e300, 1.7e308)
MAPS = {
    "plain": [0.9, 0.8, 0.6, 0.4, 0.2, 0.1],
    "sure": [1.0, 1.0, 0.999999, 0.000001, 0.0, 0.0],
    "near tie": [1.0, 0.75, 0.5 + 1e-7, 0.5 - 1e-7, 0.125, 0.125],
    "rare": [1.0, 1.0, 1.0, 1e-12, 1e-200, 1e-300],
}


def test_epsilon_is_exact_and_never_too_large_at_every_order() -> None:
    with collected() as case:
        for name, alpha, s in itertools.product(MAPS, ORDERS, [1, 2]):
            with case(name, alpha, s):
                q = MAPS[name]
                found = renyi_epsilon(q, top_k=3, beta=f"{4 - s}/3", alpha=alpha)
                exact = exact_epsilon(q, 3, s, alpha)
                # Round-off is taken off: 8 units in the last place of the masses and their logarithms.
                assert exact - 3e-13 <= found <= exact * (1 + mpmath.mpf(10) ** -15)


@pytest.mark.parametrize("alpha", [1.0, 0.5, -1.0, math.inf, math.nan])
def test_an_order_that_is_none_is_refused(alpha: float) -> None:
    for form in ("sound", "closed"):
        with pytest.raises(ValueError, match="must be > 1 and finite"):
            renyi_epsilon([0.9, 0.6, 0.3, 0.2], top_k=2, beta="1", alpha=alpha, form=form)


def test_neighboring_floats_that_share_a_logarithm_are_a_tie() -> None:
    """Seen to fail: x < next(x) with one logarithm left no cell to tie."""
    shares = np.random.default_rng(0).uniform(0.34, 0.5, 200)
    above = np.nextafter(shares, 1)
    assert (np.log(above) == np.log(shares)).any()
    for x, y in zip(shares, above):
        q = [y, x, 1 - x - y]
        assert renyi_epsilon(q, top_k=1, beta="1", alpha=2.0) == 0
        assert renyi_radius(q, top_k=1, beta="1", sigma=1.0) == 0
        assert 0 <= neyman_pearson_radius(q, top_k=1, beta="1", sigma=1.0) < 1e-15


@settings(max_examples=60, deadline=None)
@given(
    logs=st.lists(st.floats(-300, 0), min_size=4, max_size=8),
    alpha=st.sampled_from([1 + 1e-12, 2.0, 1e12]),
    data=st.data(),
)
def test_maps_over_all_magnitudes_give_numbers_in_order(logs: list[float], alpha: float, data: st.DataObject) -> None:
    top_k = data.draw(st.integers(1, len(logs) // 2))
    q = 10.0 ** np.sort(logs)[::-1]
    # The largest cells take what is missing to a sum of k.
    q[:top_k] = (top_k - q[top_k:].sum()) / top_k
    assume(q[top_k] <= q[0] <= 1)
    s = data.draw(st.integers(1, top_k))
    beta = f"{top_k - s + 1}/{top_k}"
    epsilon = renyi_epsilon(q, top_k=top_k, beta=beta, alpha=alpha)
    rank = renyi_radius(q, top_k=top_k, beta=beta, sigma=1.0)
    best = neyman_pearson_radius(q, top_k=top_k, beta=beta, sigma=1.0)
    assert 0 <= epsilon < math.inf and 0 <= rank < math.inf and rank <= best * (1 + 1e-9)


# ---- everything at once on small extreme votes


def everything(votes: VoteMap, sigma: float, beta: str, eta: float) -> list[float]:
    """All that is claimed, in units of sigma, and the certified share of a region's votes one sigma away."""
    spec = spec_of(votes, sigma=sigma)
    certificate = certify_votes(votes, spec, beta=beta, eta=eta)
    rerun = rerun_radius(votes, spec, beta=beta, eta=min(eta, 0.4), eta_rerun=1e-12)
    curve = overlap_curve(votes, spec, eta=eta)
    histogram = np.zeros(votes.top_k + 1, np.int64)
    histogram[-1] = votes.n_samples
    region = certify_region(histogram, sigma, eta=eta)
    population = [radius.l2 for radius in certificate.radii if radius.level == "population"]
    assert certificate.l_max == max(population)
    return [
        *(radius / sigma for radius in population),
        rerun.l2 / sigma,
        *(curve.radii["population", family].max() / sigma for family in ("renyi", "neyman-pearson")),
        certify_label(votes, sigma, eta_label=eta).l2 / sigma,
        region.at_least(sigma),
    ]


SURE = {
    "k = 1 of 2": (lambda m: [m, 0], 1),
    "k = 1 of 4": (lambda m: [m, 0, 0, 0], 1),
    "k = c - 1 = 3": (lambda m: [m, m, m, 0], 3),
    "k = c - 1 = 60": (lambda m: [*[m] * 60, 0], 60),
    "k = c / 2": (lambda m: [m, m, 0, 0], 2),
}


def test_unanimous_votes_claim_finite_radii_that_grow_with_eta_and_scale_with_sigma() -> None:
    with collected() as case:
        for name, m in itertools.product(SURE, [1, 2, 64, MILLION]):
            with case(name, m):
                counts, top_k = SURE[name]
                votes = vote_map(counts(m), n_samples=m, top_k=top_k)
                claimed = np.array([everything(votes, 1.0, "1", eta) for eta in (1e-15, 1e-12, 0.001, 0.5, 1 - 2**-53)])
                assert np.isfinite(claimed).all() and (claimed >= 0).all()
                # Renyi maximizes over a grid of orders, so it grows up to its 9th digit.
                assert (np.diff(claimed, axis=0) >= -1e-9).all()
                for sigma in (2.0**-20, 2.0**20):
                    assert everything(votes, sigma, "1", 0.001) == pytest.approx(claimed[2], rel=1e-9)
                if m == MILLION:
                    assert (claimed > 0.1).all()


def test_one_copy_claims_nothing_about_cells() -> None:
    votes = vote_map([1, 0], n_samples=1, top_k=1)
    for eta in (1e-12, 0.5, 1 - 2**-53):
        certificate = certify_votes(votes, spec_of(votes), beta="1", eta=eta)
        assert certificate.l_max == 0 and certificate.status is Status.ABSTAIN


@pytest.mark.parametrize("m", [2, 64, MILLION])
def test_unanimous_votes_for_one_of_two_cells_by_hand(m: int) -> None:
    """The lower bound of m votes is the root of q^m = level q, the upper one of none that of (1 - q)^m = level q."""
    eta = 0.001
    votes = vote_map([m, 0], n_samples=m, top_k=1)
    found = certify_votes(votes, spec_of(votes), beta="1", eta=eta).radius("population", "neyman-pearson").l2
    with mpmath.workdps(40):
        level = mpmath.mpf(eta) / 2
        lower = level ** (mpmath.mpf(1) / (m - 1))
        ends = (mpmath.mpf(10) ** -9, 1 - mpmath.mpf(10) ** -9)
        upper = mpmath.findroot(lambda q: m * mpmath.log1p(-q) - mpmath.log(level * q), ends, solver="bisect")
        quantiles = [mpmath.sqrt(2) * mpmath.erfinv(2 * q - 1) for q in (lower, upper)]
        exact = max(mpmath.mpf(0), (quantiles[0] - quantiles[1]) / 2)
    assert exact * (1 - mpmath.mpf(10) ** -8) <= found <= exact


@pytest.mark.parametrize("counts", [[50, 50, 50, 50], [100, 100, 0, 0], [100, 0, 100, 0], [51, 50, 50, 49]])
def test_a_tie_at_the_edge_abstains_and_a_gap_of_all_copies_does_not(counts: list[int]) -> None:
    votes = vote_map(counts, n_samples=100, top_k=2)
    certificate = certify_votes(votes, spec_of(votes), beta="1", eta=0.01)
    assert (certificate.l_max > 0) == (sorted(counts)[1] == 0)


@pytest.mark.parametrize(("top_k", "beta"), [(3, "0.5"), (3, "0.0001"), (2, "0.5"), (4, "1")])
def test_a_swap_that_does_not_fit_is_refused_with_what_to_do(top_k: int, beta: str) -> None:
    """Beta = 1 needs one cell outside, smaller shares need s of them."""
    counts = [10] * top_k + [0] * (4 - top_k)
    votes = vote_map(counts, n_samples=10, top_k=top_k)
    spec = spec_of(votes)
    fits = top_k + 1 <= 4 and (top_k, beta) == (2, "0.5")
    for certify in (
        lambda: certify_votes(votes, spec, beta=beta, eta=0.1),
        lambda: rerun_radius(votes, spec, beta=beta, eta=0.1, eta_rerun=0.1),
        lambda: renyi_epsilon(votes.share, top_k=top_k, beta=beta, alpha=2.0),
        lambda: neyman_pearson_radius(votes.share, top_k=top_k, beta=beta, sigma=1.0),
    ):
        if fits:
            certify()
        else:
            with pytest.raises(ValueError, match=r"Choose top_k with k \+ s <= 4"):
                certify()


@pytest.mark.parametrize("beta", ["1e-999999999999", "1e999999999999", "0e-999999999999", "1e-400"])
def test_a_share_of_endless_digits_is_refused_at_once(beta: str) -> None:
    """A record from elsewhere can hold such a beta; its exact value has as many digits as the exponent says."""
    with pytest.raises(ValueError, match="must be a decimal in"):
        swap_count(4, beta, 16)
    assert swap_count(4, "1e-300", 16) == swap_count(4, "1/999999999999", 16) == 4


@settings(max_examples=50, deadline=None)
@given(
    m=st.sampled_from([1, 2, 3, 50, 1000, MILLION]),
    n_cells=st.integers(2, 30),
    eta=st.sampled_from([1e-15, 1e-12, 0.01, 0.9, 1 - 2**-53]),
    sigma=st.sampled_from([1e-6, 0.1, 1e6]),
    data=st.data(),
)
def test_no_votes_break_the_certificate(m: int, n_cells: int, eta: float, sigma: float, data: st.DataObject) -> None:
    """Counts of all kinds: sure, impossible, all but one, spread."""
    top_k = data.draw(st.integers(1, n_cells - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    # Each copy's k votes as one of three kinds of set, so that counts are exact and often 0 or m.
    counts = np.zeros(n_cells, np.int64)
    left = m
    for kind in range(3):
        copies = left if kind == 2 else data.draw(st.integers(0, left))
        left -= copies
        counts[np.arange(top_k) if kind == 0 else rng.permutation(n_cells)[:top_k]] += copies
    votes = vote_map(counts, n_samples=m, top_k=top_k, found_copies=int(rng.integers(0, m + 1)))
    s = data.draw(st.integers(1, min(top_k, n_cells - top_k)))
    claimed = np.array(everything(votes, sigma, f"{top_k - s + 1}/{top_k}", eta))
    assert np.isfinite(claimed).all() and (claimed >= 0).all() and (claimed < 60).all()
    certificate = certify_votes(votes, spec_of(votes, sigma=sigma), beta=f"{top_k - s + 1}/{top_k}", eta=eta)
    assert not any(math.isnan(radius.l2) for radius in certificate.radii)
    # Bounds are wider than the shares, so the population claims less than the plug-in: for r = 0, which s < 50 has.
    for family in ("renyi", "neyman-pearson"):
        plug_in, population = (certificate.radius(level, family).l2 for level in ("plug-in", "population"))
        assert population <= plug_in * (1 + 1e-9)


# ---- a million cells, a million copies


def large_votes(n_cells: int, top_k: int, m: int) -> VoteMap:
    """Counts of a smooth map of sum m k: a sigmoid over the cells' ranks, the remainder spread one by one."""
    rank = np.arange(n_cells)
    shape = 1 / (1 + np.exp(np.clip(4 * (rank - top_k) / min(top_k, n_cells - top_k), -500, 500)))
    low, high = 0.0, 4.0
    for _ in range(100):
        scale = (low + high) / 2
        low, high = (scale, high) if np.minimum(scale * shape, 1).sum() < top_k else (low, scale)
    counts = np.floor(np.minimum(low * shape, 1) * m).astype(np.int64)
    missing = m * top_k - int(counts.sum())
    while missing > 0:
        room = np.flatnonzero(counts < m)[:missing]
        counts[room] += 1
        missing -= room.size
    return vote_map(counts, n_samples=m, top_k=top_k)


@pytest.mark.parametrize(
    ("top_k", "m", "beta"),
    [
        (10_000, 1000, "0.5"),
        (10_000, 1000, "1"),
        (500_000, 1000, "0.5"),
        (MILLION - 1, 1000, "1"),
        (1000, MILLION, "0.5"),
    ],
)
def test_a_million_cells_are_certified_within_seconds(top_k: int, m: int, beta: str) -> None:
    votes = large_votes(MILLION, top_k, m)
    start = time.process_time()
    certificate = certify_votes(votes, spec_of(votes), beta=beta, eta=0.001)
    elapsed_s = time.process_time() - start
    assert elapsed_s < 10
    radii = [radius.l2 for radius in certificate.radii]
    assert np.isfinite(radii).all() and min(radii) >= 0
    if beta == "0.5":
        assert 0 < certificate.l_max < certificate.radius("plug-in", "neyman-pearson").l2


def test_the_other_certificates_of_a_million_cells_are_as_fast() -> None:
    votes = large_votes(MILLION, 10_000, 1000)
    spec = spec_of(votes)
    start = time.process_time()
    rerun = rerun_radius(votes, spec, beta="0.5", eta=0.001, eta_rerun=0.001)
    curve = overlap_curve(votes, spec, eta=0.001)
    certificate = certify_votes(votes, spec, beta="0.5", eta=0.001)
    assert time.process_time() - start < 20
    assert 0 < rerun.l2 < certificate.l_max
    assert np.isfinite(curve.radii["population", "neyman-pearson"]).all()


def test_grouping_equal_cells_changes_nothing() -> None:
    """A million cells of two values are the two values with weights: the exact sum by mpmath."""
    top_k, s = 400_000, 200_000
    inside, outside = 0.8, 0.2
    q = np.repeat([inside, outside], [top_k, 400_000])
    q = np.concatenate([q, [0.0] * 200_000])
    beta = f"{top_k - s + 1}/{top_k}"
    scale = top_k / q.sum()
    q *= scale
    for alpha in (1 + 1e-9, 2.0, 50.0):
        with mpmath.workdps(40):
            a, b = mpmath.mpf(q[0]) / top_k, mpmath.mpf(q[top_k]) / top_k
            order = 1 - mpmath.mpf(alpha)
            mean = ((a**order + b**order) / 2) ** (1 / order)
            exact = -mpmath.log(1 + s * (2 * mean - a - b))
        found = renyi_epsilon(q, top_k=top_k, beta=beta, alpha=alpha)
        assert exact - 2e-14 <= found <= exact


def test_region_and_label_at_every_eta() -> None:
    with collected() as case:
        for eta, m in itertools.product([1e-300, 1e-12, 0.5, 1 - 2**-53], [1, MILLION]):
            with case(eta, m):
                for hits in ([m, 0, 0], [0, m, 0], [0, 0, m]):
                    certificate = certify_region(hits, 1.0, eta=eta)
                    assert 0 <= certificate.share_lower <= certificate.observed <= certificate.share_upper <= 1
                    assert certificate.share_lower < 1 and certificate.share_upper > 0
                for agreeing in (0, m // 2, m):
                    label = certify_label(
                        vote_map([m, 0], n_samples=m, top_k=1, found_copies=agreeing), 1.0, eta_label=eta
                    )
                    assert 0 <= label.l2 < 10 and (label.l2 > 0) == (label.share_lower > 0.5)
                assert label.share_lower == pytest.approx(eta ** (1 / m), rel=1e-6)


def test_a_fixed_map_whose_whole_set_must_be_swapped_has_an_unbounded_estimate() -> None:
    """All mass lies inside: no distribution of finite divergence moves it, however 1 / k rounds."""
    with collected() as case:
        for top_k in [1, 3, 6, 7, 13, 38, 49]:
            with case(top_k):
                q = np.zeros(2 * top_k)
                q[:top_k] = 1
                beta = Fraction(1, top_k)
                for form in ("sound", "closed"):
                    assert renyi_epsilon(q, top_k=top_k, beta=beta, alpha=2.0, form=form) == math.inf
