"""Region mass: the betting bound by hand and against others, the certified share, the statements of a record."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import norm

from monai_robustinterp.certificates.region import RegionCertificate, bets, certify_region, region_statements
from monai_robustinterp.types import Region, SmoothingSpec, VoteMap


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
    assert certificate.observed == 1.0


@pytest.mark.parametrize("m", [1, 50, 1_000_000])
def test_without_hits_the_bound_is_zero_and_nothing_is_claimed(m: int) -> None:
    histogram = np.zeros(39, np.int64)
    histogram[0] = m
    certificate = certify_region(histogram, 0.1, eta=0.001)
    assert certificate.share_lower == 0 and certificate.share_within(0.0) == 0


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
    return RegionCertificate(observed=1.0, share_lower=share_lower, sigma=sigma, eta=0.01)


@pytest.mark.parametrize("distance", [-0.3, 0.1, 0.8])
def test_the_certified_share_is_exact_for_votes_that_a_half_space_decides(distance: float) -> None:
    """All k votes fall into R where x_1 + distance > 0: pushed by L the share is Phi((distance - L) / sigma)."""
    known = certificate(float(norm.cdf(distance / 0.5)))
    for l2 in (0.0, 0.2, 1.0):
        assert known.share_within(l2) == pytest.approx(norm.cdf((distance - l2) / 0.5), rel=1e-9)
    assert known.share_within(math.inf) == 0


# ---- the statements of a record


def votes_and_spec(n_regions: int = 3, looks: tuple[int, ...] = ()) -> tuple[VoteMap, SmoothingSpec]:
    """200 copies of 2 votes on 4 cells: cell 0 always, then 1, 2 or 3; region i has the cells 0 to i."""
    second = np.array([1] * 150 + [2] * 40 + [3] * 10)
    cells = [np.arange(4) <= i for i in range(n_regions)]
    hits = [np.bincount(1 + (second <= i), minlength=3) for i in range(n_regions)]
    votes = VoteMap(
        counts=np.array([[200, 150], [40, 10]]),
        n_samples=200,
        top_k=2,
        input_shape=(16, 16),
        image_sha256="0" * 64,
        logits=np.zeros(2, np.float32),
        decision=True,
        found_copies=200,
        regions=tuple(Region(name=f"to {i}", cells=c.reshape(2, 2), seen=0.25 * (i + 1)) for i, c in enumerate(cells)),
        region_hits=np.array(hits, dtype=np.int64),
    )
    spec = SmoothingSpec(sigma=0.1, n_samples=200, top_k=2, cell_size=8, interpreter="gradient", target=1, looks=looks)
    return votes, spec


@pytest.mark.parametrize(
    ("n_regions", "looks", "parts"), [(1, (), 1), (3, (), 3), (1, (50, 200), 2), (3, (50, 200), 6)]
)
def test_each_region_gets_its_part_of_the_eta_that_is_stated(n_regions, looks, parts) -> None:
    votes, spec = votes_and_spec(n_regions, looks)
    statements = region_statements(votes, spec, eta=0.01, l2=0.05)
    assert [entry["name"] for entry in statements] == [f"to {i}" for i in range(n_regions)]
    for entry, region, hits in zip(statements, votes.regions, votes.region_hits):
        alone = certify_region(hits, 0.1, eta=0.01 / parts)
        assert entry["share_lower"] == pytest.approx(alone.share_lower, rel=1e-9)
        assert entry["eta"] == 0.01 and "1 - 0.01 over the noise" in entry["sentence"]
        assert entry["observed"] == votes.counts[region.cells].sum() / 400
        assert (entry["n_cells"], entry["seen"], entry["l2"]) == (region.cells.sum(), region.seen, 0.05)


def test_the_stated_share_is_that_at_the_radius_rounded_down() -> None:
    """By hand: shares of 1/2, 7/8 and 39/40, bounded and pushed by half a standard deviation."""
    votes, spec = votes_and_spec()
    for entry in region_statements(votes, spec, eta=0.01, l2=0.05):
        exact = norm.cdf(norm.ppf(entry["share_lower"]) - 0.5)
        assert exact - 1e-4 < entry["share_within_l_max"] <= exact < entry["share_lower"] < entry["observed"]
        assert entry["sentence"] == (
            "certified (population level): with probability >= 1 - 0.01 over the noise, at least "
            f"{entry['share_within_l_max']:.4f} of the votes are expected in the region at every input of l2 distance "
            "below 0.050000 (of the votes: not of the reported cells, nor of attribution)."
        )


def test_without_a_radius_of_the_map_the_clean_image_alone_is_spoken_of() -> None:
    votes, spec = votes_and_spec()
    for entry in region_statements(votes, spec, eta=0.01, l2=0.0):
        assert entry["share_lower"] - 1e-4 < entry["share_within_l_max"] <= entry["share_lower"]
        assert entry["sentence"].startswith(
            "abstain: the map has no radius, so nothing is claimed about any changed input."
        )
        claim = "In the clean image, with probability >= 1 - 0.01 over the noise, at least "
        assert f"{claim}{entry['share_within_l_max']:.4f} of the votes" in entry["sentence"]
        assert "certified" not in entry["sentence"] and "every input" not in entry["sentence"]


def test_a_share_of_nothing_is_no_claim() -> None:
    votes, spec = votes_and_spec(1)
    nowhere = dataclasses.replace(
        votes,
        counts=np.array([[0, 200], [190, 10]]),
        region_hits=np.array([[200, 0, 0]]),
    )
    for l2 in (0.0, 0.05):
        (entry,) = region_statements(nowhere, spec, eta=0.01, l2=l2)
        assert (entry["observed"], entry["share_lower"], entry["share_within_l_max"]) == (0, 0, 0)
        assert (
            entry["sentence"].startswith("abstain: the copies support no share")
            and "certified" not in entry["sentence"]
        )
    # 0.00003 of the votes would be printed as 0.0000.
    (entry,) = region_statements(votes, spec, eta=0.01, l2=0.4)
    assert entry["share_within_l_max"] == 0 and entry["share_lower"] > 0
    assert entry["sentence"].startswith("abstain") and "within l2 distance 0.400000" in entry["sentence"]


def test_votes_and_spec_of_different_runs_are_refused() -> None:
    votes, spec = votes_and_spec()
    with pytest.raises(ValueError, match="different runs"):
        region_statements(votes, dataclasses.replace(spec, n_samples=100), eta=0.01, l2=0.1)


# ---- what is refused


@pytest.mark.parametrize("histogram", [[3], [], [1.0, 2.0], [-1, 3], [0, 0], [[1, 2]]])
def test_what_is_no_histogram_is_refused(histogram: list[object]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        certify_region(histogram, 0.1, eta=0.01)


@pytest.mark.parametrize(("sigma", "eta"), [(0.0, 0.1), (math.nan, 0.1), (1.0, 0.0), (1.0, 1.0), (1.0, math.nan)])
def test_wrong_arguments_are_refused(sigma: float, eta: float) -> None:
    with pytest.raises(ValueError, match="must"):
        certify_region([1, 2], sigma, eta=eta)


def test_a_distance_of_no_sense_is_refused() -> None:
    for l2 in (-0.1, math.nan):
        with pytest.raises(ValueError, match="must"):
            certificate(0.8).share_within(l2)
