"""Region mass: the betting bound by hand and against others, the certified share, the sentences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from monai_robustinterp.certificates.region import RegionCertificate, bets, certify_region


def empirical_bernstein(histogram: np.ndarray, eta: float) -> float:
    """Maurer & Pontil 2009, theorem 4: mean - sqrt(2 V ln(2/eta) / m) - 7 ln(2/eta) / (3 (m - 1))."""
    share, m = np.linspace(0, 1, histogram.size), histogram.sum()
    mean = share @ histogram / m
    variance = (share - mean) ** 2 @ histogram / (m - 1)
    log_odds = math.log(2 / eta)
    return mean - math.sqrt(2 * variance * log_odds / m) - 7 * log_odds / (3 * (m - 1))


def test_bernstein_by_hand() -> None:
    """Two copies of 0 and two of 1: mean 1/2, V = 1/3; eta = 2/e makes the logarithm 1."""
    histogram = np.array([2, 2])
    assert empirical_bernstein(histogram, 2 / math.e) == pytest.approx(1 / 2 - math.sqrt(1 / 6) - 7 / 9)


def test_one_copy_by_hand() -> None:
    """One bet of 2.35 in all; at mu >= 1/2.35 it is all in, so the wealth is 1 / mu and reaches 2 at 1/2."""
    assert bets(1, 0.5) == pytest.approx([2 * math.sqrt(2 * math.log(2))])
    assert certify_region([0, 1], 1.0, eta=0.5).share_lower == pytest.approx(0.5, rel=1e-5)
    assert certify_region([0, 1], 1.0, eta=0.5).share_lower < 0.5


def test_four_copies_by_hand() -> None:
    """The wealth as it is written, bet by bet and copy by copy, reaches 1 / eta at the bound and not beyond."""
    eta, copies = 0.2, np.array([0.25, 0.75, 0.75, 1.0])
    lower = certify_region([0, 1, 0, 2, 1], 1.0, eta=eta).share_lower

    def wealth(mu: float) -> float:
        return float(np.mean([np.prod([1 + min(bet, 1 / mu) * (x - mu) for x in copies]) for bet in bets(4, eta)]))

    assert wealth(lower) >= 1 / eta > wealth(lower + 1e-5)


@pytest.mark.parametrize("m", [20, 1000, 1_000_000])
def test_if_all_votes_are_inside_the_bound_is_near_the_mth_root_of_eta(m: int) -> None:
    histogram = np.zeros(39, np.int64)
    histogram[-1] = m
    certificate = certify_region(histogram, 0.1, eta=0.001)
    assert (0.001 / bets(m, 0.001).size) ** (1 / m) * (1 - 1e-6) < certificate.share_lower < 0.001 ** (1 / m)
    assert (certificate.observed, certificate.n_samples, certificate.top_k) == (1.0, m, 38)


@pytest.mark.parametrize("m", [1, 50, 1_000_000])
def test_without_hits_the_bound_is_zero_and_nothing_is_claimed(m: int) -> None:
    histogram = np.zeros(39, np.int64)
    histogram[0] = m
    certificate = certify_region(histogram, 0.1, eta=0.001)
    assert certificate.share_lower == 0 and certificate.share_within(0.0) == 0
    assert certificate.radius(0.01) == 0 and certificate.status(0.01).startswith("abstain")


laws = {
    "concentrated": lambda rng, m: rng.binomial(38, 0.6, m),
    "broad": lambda rng, m: rng.binomial(38, rng.beta(2, 2, m)),
    "rare": lambda rng, m: rng.binomial(38, rng.beta(0.3, 9, m)),
    "all or nothing": lambda rng, m: 38 * rng.binomial(1, 0.5, m),
    "nearly all": lambda rng, m: 38 - rng.binomial(38, 0.03, m),
}


@pytest.mark.parametrize("law", laws)
def test_the_betting_bound_is_the_tighter_one_at_the_sizes_of_use(law: str) -> None:
    for m in (64, 512, 4096):
        histogram = np.bincount(laws[law](np.random.default_rng(0), m), minlength=39)
        certificate = certify_region(histogram, 0.1, eta=0.001)
        assert empirical_bernstein(histogram, 0.001) < certificate.share_lower < certificate.observed
    # The distance to the mean shrinks as 1 / sqrt(m).
    assert certificate.observed - certificate.share_lower < 6 * np.sqrt(certificate.observed / 4096)


def certificate(share_lower: float, sigma: float = 0.5) -> RegionCertificate:
    return RegionCertificate(observed=1.0, share_lower=share_lower, n_samples=100, top_k=38, sigma=sigma, eta=0.01)


@pytest.mark.parametrize("distance", [-0.3, 0.1, 0.8])
def test_the_certified_share_is_exact_for_votes_that_a_half_space_decides(distance: float) -> None:
    """All k votes fall into R where x_1 + distance > 0: pushed by L the share is Phi((distance - L) / sigma)."""
    known = certificate(float(norm.cdf(distance / 0.5)))
    for l2 in (0.0, 0.2, 1.0):
        assert known.share_within(l2) == pytest.approx(norm.cdf((distance - l2) / 0.5), rel=1e-9)
    share = norm.cdf((distance - 0.2) / 0.5)
    assert known.radius(share) == pytest.approx(0.2, rel=1e-9)


def test_share_and_radius_are_inverse_and_worded_as_votes() -> None:
    known = certificate(0.8)
    assert known.share_within(0.0) == pytest.approx(0.8)
    assert known.share_within(known.radius(0.6)) == pytest.approx(0.6)
    assert known.radius(0.8) == known.radius(0.9) == 0
    assert known.share_within(math.inf) == 0
    assert "0.6 of the votes" in known.status(0.6) and known.status(0.6).startswith("certified")


@pytest.mark.parametrize("histogram", [[3], [], [1.0, 2.0], [-1, 3], [0, 0], [[1, 2]]])
def test_what_is_no_histogram_is_refused(histogram: list[object]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        certify_region(histogram, 0.1, eta=0.01)


@pytest.mark.parametrize(("sigma", "eta"), [(0.0, 0.1), (math.nan, 0.1), (1.0, 0.0), (1.0, 1.0), (1.0, math.nan)])
def test_wrong_arguments_are_refused(sigma: float, eta: float) -> None:
    with pytest.raises(ValueError, match="must"):
        certify_region([1, 2], sigma, eta=eta)


def test_a_share_or_distance_of_no_sense_is_refused() -> None:
    for share in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="must"):
            certificate(0.8).radius(share)
    for l2 in (-0.1, math.nan):
        with pytest.raises(ValueError, match="must"):
            certificate(0.8).share_within(l2)
