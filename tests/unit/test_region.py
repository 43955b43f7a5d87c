"""Region mass: the betting bound by hand and against others, the certified share, the statements of a record."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, norm

from monai_robustinterp.certificates.region import (
    ALARM_RADIUS,
    RegionCertificate,
    bets,
    certify_region,
    region_statements,
)
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


def bets_by_hand(share: np.ndarray, eta: float, mu: float) -> float:
    """The wealth as it is written, bet by bet and copy by copy."""
    return float(np.mean([np.prod([1 + min(b, 1 / mu) * (x - mu) for x in share]) for b in bets(len(share), eta)]))


def tails_by_hand(hits: list[int], eta: float) -> list[float]:
    """Clopper and Pearson's bounds by quantiles of beta laws, each with its part of eta."""
    top_k, m = len(hits) - 1, sum(hits)
    reached = [sum(hits[j:]) for j in range(1, top_k + 1)]
    return [float(beta.ppf(eta / top_k, n, m - n + 1)) if n else 0.0 for n in reached]


def test_one_copy_by_hand() -> None:
    """A quarter of eta is 1/4 for the bets: one bet, all in, whose wealth 1 / mu reaches 4 at 1/4. So does the tail."""
    assert bets(1, 0.5) == pytest.approx([2 * math.sqrt(2 * math.log(2))])
    inside, outside = (certify_region(hits, 1.0, eta=1 - 1e-12) for hits in ([0, 1], [1, 0]))
    assert inside.share_lower == pytest.approx(0.25, rel=1e-5) and inside.share_lower < 0.25
    assert outside.share_upper == pytest.approx(0.75, rel=1e-5) and outside.share_upper > 0.75
    assert (inside.share_upper, outside.share_lower) == (1, 0)


def test_nine_copies_by_hand() -> None:
    """The wealth reaches 4 / eta at the bound by the mean and not beyond; the larger of both bounds counts."""
    eta, hits = 0.2, [0, 6, 0, 2, 1]
    copies = np.repeat([0.25, 0.75, 1.0], [6, 2, 1])
    found = certify_region(hits, 1.0, eta=eta)
    for bound, shares, counts in (
        (found.share_lower, copies, hits),
        (1 - found.share_upper, 1 - copies, hits[::-1]),
    ):
        tails = tails_by_hand(counts, eta / 4)
        by_tails = float(np.mean(tails))
        assert bound >= by_tails * (1 - 1e-6)
        if bound > by_tails * (1 + 1e-9):
            assert bets_by_hand(shares, eta / 4, bound) >= 4 / eta > bets_by_hand(shares, eta / 4, bound + 1e-5)
        else:
            assert bets_by_hand(shares, eta / 4, bound + 1e-5) < 4 / eta
    assert found.tails_inside == pytest.approx(tails_by_hand(hits, eta / 4), rel=1e-6)
    assert found.tails_outside == pytest.approx(tails_by_hand(hits[::-1], eta / 4), rel=1e-6)


@pytest.mark.parametrize("m", [20, 384, 1_000_000])
def test_if_all_votes_are_on_one_side_the_bound_is_near_the_mth_root_of_eta(m: int) -> None:
    """The exact bound of Clopper and Pearson at the same part of eta is that root: this one may not beat it."""
    for hits in (38, 0):
        histogram = np.zeros(39, np.int64)
        histogram[hits] = m
        found = certify_region(histogram, 0.1, eta=0.001)
        bound = found.share_lower if hits else 1 - found.share_upper
        root = 0.00025 ** (1 / m)
        assert (0.00025 / bets(m, 0.00025).size) ** (1 / m) * (1 - 1e-6) < bound < root
        assert found.observed == hits / 38 and (found.share_upper == 1 if hits else found.share_lower == 0)
        # What docs/theory/label_region.md says of the shipped number of copies.
        if m == 384:
            radius = (found.radius_above_half if hits else found.radius_below_half) / 0.1
            exact = 0.0005 ** (1 / m)
            assert (round(1 - bound, 4), round(1 - exact, 4)) == (0.022, 0.0196)
            assert (round(radius, 2), round(float(norm.ppf(exact)), 2)) == (2.01, 2.06)


@pytest.mark.parametrize("m", [1, 50, 1_000_000])
def test_without_hits_nothing_is_claimed_from_below(m: int) -> None:
    histogram = np.zeros(39, np.int64)
    histogram[0] = m
    found = certify_region(histogram, 0.1, eta=0.001)
    assert found.share_lower == 0 and found.at_least(0.0) == 0 and found.radius_above_half == 0
    mirrored = certify_region(histogram[::-1], 0.1, eta=0.001)
    assert mirrored.share_upper == 1 and mirrored.at_most(0.0) == 1 and mirrored.radius_below_half == 0


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
        assert empirical_bernstein(histogram, 0.0005) < certificate.share_lower < certificate.observed
        # The upper bound is that of the votes outside.
        outside = certify_region(histogram[::-1], 0.1, eta=0.001)
        assert certificate.share_upper == pytest.approx(1 - outside.share_lower, rel=1e-12)
    # The distance to the mean shrinks as 1 / sqrt(m).
    assert certificate.observed - certificate.share_lower < 6 * np.sqrt(certificate.observed / 4096)


NO_TAILS = np.zeros(2)


def certificate(
    share_lower: float,
    share_upper: float = 1.0,
    sigma: float = 0.5,
    *,
    inside: npt.ArrayLike = NO_TAILS,
    outside: npt.ArrayLike = NO_TAILS,
) -> RegionCertificate:
    """What is known of a region, by the mean alone if no tails are given."""
    return RegionCertificate(
        observed=0.5,
        share_lower=share_lower,
        share_upper=share_upper,
        tails_inside=np.asarray(inside),
        tails_outside=np.asarray(outside),
        sigma=sigma,
        eta=0.01,
    )


@pytest.mark.parametrize("distance", [-0.3, 0.1, 0.8])
def test_the_certified_shares_are_exact_for_votes_that_a_half_space_decides(distance: float) -> None:
    """All k votes fall into R where x_1 + distance > 0: pushed by L the share is Phi((distance -+ L) / sigma)."""
    share = float(norm.cdf(distance / 0.5))
    known = certificate(share, share)
    for l2 in (0.0, 0.2, 1.0):
        assert known.at_least(l2) == pytest.approx(norm.cdf((distance - l2) / 0.5), rel=1e-9)
        assert known.at_most(l2) == pytest.approx(norm.cdf((distance + l2) / 0.5), rel=1e-9)
    assert known.at_least(math.inf) == 0 and known.at_most(math.inf) == 1
    # The plane itself lies at that distance: there the share is one half.
    assert known.radius_above_half == pytest.approx(max(distance, 0), rel=1e-9)
    assert known.radius_below_half == pytest.approx(max(-distance, 0), rel=1e-9)


@pytest.mark.parametrize("planes", [(-0.4, 0.1, 0.3), (0.2, 0.5), (-0.6, -0.1)])
def test_the_certified_shares_are_exact_for_votes_that_parallel_half_spaces_decide(planes: tuple[float, ...]) -> None:
    """Vote j falls into R where x_1 + d_j > 0: pushed by L its chance is Phi((d_j -+ L) / sigma)."""
    inside = norm.cdf(np.sort(planes)[::-1] / 0.5)
    share = float(inside.mean())
    known = certificate(share, share, inside=inside, outside=1 - inside[::-1])
    by_mean = certificate(share, share)
    for l2 in (0.0, 0.2, 1.0):
        assert known.at_least(l2) == pytest.approx(norm.cdf((np.array(planes) - l2) / 0.5).mean(), rel=1e-9)
        assert known.at_most(l2) == pytest.approx(norm.cdf((np.array(planes) + l2) / 0.5).mean(), rel=1e-9)
        if l2:
            assert known.at_least(l2) > by_mean.at_least(l2) and known.at_most(l2) < by_mean.at_most(l2)
    for radius, bound, sign in (
        (known.radius_above_half, known.at_least, 1),
        (known.radius_below_half, known.at_most, -1),
    ):
        assert (radius > 0) == (sign * (share - 0.5) > 0)
        if radius:
            assert sign * (bound(radius) - 0.5) >= 0 > sign * (bound(radius * (1 + 1e-9)) - 0.5)


def test_no_change_of_a_linear_interpreter_leaves_the_certified_shares() -> None:
    """g(x) = W x on 4 cells of 2 pixels, k = 2, sigma 1: the share of each region at x + delta by quadrature."""
    weights = np.array([[1.0, 0.2], [-0.4, 0.9], [-0.7, -0.8], [0.3, -1.0]])
    clean = np.array([0.4, 0.1])
    axis = np.arange(-6.0, 6.0, 0.02) + 0.01
    plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)

    top = np.argsort(-(plane @ weights.T), axis=1)[:, :2]

    def expected(values: np.ndarray, delta: np.ndarray) -> float:
        """The mean at clean + delta of a function of every point of the plane, with its normal density."""
        density = np.exp(-((plane - clean - delta) ** 2).sum(axis=1) / 2) * 0.02**2 / (2 * math.pi)
        return float(density @ values)

    gaps, gained = [], []
    for inside in ([0], [0, 1], [1, 2], [0, 1, 3]):
        hits = np.isin(top, inside).sum(axis=1).astype(float)
        tails = [expected((hits >= j).astype(float), np.zeros(2)) for j in (1, 2)]
        others = [expected((2 - hits >= j).astype(float), np.zeros(2)) for j in (1, 2)]
        share = expected(hits / 2, np.zeros(2))
        by_mean = certificate(share, share, sigma=1.0)
        known = certificate(share, share, sigma=1.0, inside=tails, outside=others)
        for l2 in (0.3, 1.0):
            around = [expected(hits / 2, l2 * np.array([math.cos(a), math.sin(a)])) for a in np.linspace(0, 6.2, 24)]
            assert known.at_least(l2) - 1e-3 < min(around) and max(around) < known.at_most(l2) + 1e-3, inside
            gaps += [min(around) - known.at_least(l2), known.at_most(l2) - max(around)]
            gained += [known.at_least(l2) - by_mean.at_least(l2), by_mean.at_most(l2) - known.at_most(l2)]
    assert min(gaps) < 0.02 and min(gained) >= 0 and max(gained) > 0.05, "nearly attained, and more than by the mean"


@pytest.mark.parametrize("share", [1e-6, 0.2, 0.3085, 0.45, 0.5, 0.55, 0.8, 1 - 1e-6])
def test_the_radii_are_where_the_certified_shares_cross_one_half(share: float) -> None:
    known = certificate(share, share)
    above, below = known.radius_above_half, known.radius_below_half
    assert (above > 0) == (share > 0.5) and (below > 0) == (share < 0.5)
    if above > 0:
        assert known.at_least(above) >= 0.5 > known.at_least(above * (1 + 1e-9))
    if below > 0:
        assert known.at_most(below) <= 0.5 < known.at_most(below * (1 + 1e-9))
    assert known.alarm == (below / 0.5 >= ALARM_RADIUS) == (known.at_most(ALARM_RADIUS * 0.5) < 0.5)


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


def half_by_hand(share: float, tails: list[float]) -> float:
    """Where the larger of both bounds falls to one half, in standard deviations; 0 if it never exceeds it."""

    def above(r: float) -> float:
        return float(norm.cdf(norm.ppf(tails) - r).mean() - 0.5)

    by_tails = float(brentq(above, 0, 40)) if above(0) > 0 else 0.0
    return max(0.0, float(norm.ppf(share)), by_tails)


def test_the_stated_shares_are_those_at_the_radius_rounded_against_the_claim() -> None:
    """By hand: shares of 1/2, 7/8 and 39/40, bounded on both sides and pushed by half a standard deviation."""
    votes, spec = votes_and_spec()
    for entry, hits in zip(region_statements(votes, spec, eta=0.01, l2=0.05), votes.region_hits.tolist()):
        inside, outside = (tails_by_hand(side, 0.01 / 3 / 4) for side in (hits, hits[::-1]))
        lower = max(norm.cdf(norm.ppf(entry["share_lower"]) - 0.5), norm.cdf(norm.ppf(inside) - 0.5).mean())
        upper = min(norm.cdf(norm.ppf(entry["share_upper"]) + 0.5), 1 - norm.cdf(norm.ppf(outside) - 0.5).mean())
        assert lower - 1e-4 < entry["at_least"] <= lower < entry["share_lower"] < entry["observed"]
        assert entry["observed"] < entry["share_upper"] < upper <= entry["at_most"] < upper + 1e-4
        above, below = entry["radius_above_half"], entry["radius_below_half"]
        assert above["l2"] == pytest.approx(spec.sigma * half_by_hand(entry["share_lower"], inside), rel=1e-6)
        assert above["in_noise"] == pytest.approx(above["l2"] / spec.sigma, rel=1e-9) and below == {
            "l2": 0,
            "in_noise": 0,
        }
        half = f", and more than half of them at every input of l2 distance below {above['l2']:.6f}"
        assert abs(float(half[-8:]) - above["l2"]) < 1e-6 and "alarm" not in entry
        claim = (
            "certified (population level): with probability >= 1 - 0.01 over the noise, at least "
            f"{entry['at_least']:.4f} and at most {entry['at_most']:.4f} of the votes are expected in the region at "
            "every input of l2 distance below 0.050000"
        )
        assert entry["sentence"].startswith(claim)
        assert entry["sentence"].endswith(" (of the votes: not of the reported cells, nor of attribution).")
        assert ("more than half of them" in entry["sentence"]) == (above["l2"] > 0)


def test_without_a_radius_of_the_map_the_clean_image_is_spoken_of_and_what_has_its_own_radius() -> None:
    votes, spec = votes_and_spec()
    half, *most = region_statements(votes, spec, eta=0.01, l2=0.0)
    for entry in (half, *most):
        assert entry["share_lower"] - 1e-4 < entry["at_least"] <= entry["share_lower"]
        assert entry["share_upper"] <= entry["at_most"] < entry["share_upper"] + 1e-4
    assert half["sentence"].startswith("abstain: the map has no radius, and on which side of one half")
    claim = "In the clean image, with probability >= 1 - 0.01 over the noise, at least "
    assert f"{claim}{half['at_least']:.4f} and at most {half['at_most']:.4f} of the votes" in half["sentence"]
    assert not any(word in half["sentence"] for word in ("(population level)", "every input", "than half"))
    for entry in most:
        assert (
            entry["sentence"].startswith("certified") and "in the clean image, and more than half" in entry["sentence"]
        )


def test_a_share_of_nothing_is_no_claim() -> None:
    votes, spec = votes_and_spec(1)
    nowhere = dataclasses.replace(
        votes,
        counts=np.array([[0, 200], [190, 10]]),
        region_hits=np.array([[200, 0, 0]]),
    )
    for l2 in (0.0, 0.05):
        (entry,) = region_statements(nowhere, spec, eta=0.01, l2=l2)
        assert (entry["observed"], entry["share_lower"], entry["at_least"]) == (0, 0, 0) and entry["at_most"] < 0.2
        assert "at least" not in entry["sentence"] and "less than half of them" in entry["sentence"]
    # 0.000001 of the votes would be printed as 0.0000, and 0.999999 as 1.0000.
    (entry,) = region_statements(votes, spec, eta=0.01, l2=0.7)
    assert entry["at_least"] == 0 < entry["share_lower"] and entry["at_most"] == 1 > entry["share_upper"]
    assert entry["sentence"].startswith("abstain") and "below l2 distance 0.700000" in entry["sentence"]


def test_the_alarm_is_of_the_lungs_alone_and_names_its_radius() -> None:
    """Cell 0 has the vote of each copy: half of all; the three others share the rest."""
    votes, spec = votes_and_spec(1)
    for cell, alarm in ((0, False), (2, True), (3, True)):
        cells = (np.arange(4) == cell).reshape(2, 2)
        of_copies = {0: [0, 200, 0], 2: [160, 40, 0], 3: [190, 10, 0]}[cell]
        for name, lungs in (("lungs (fake), SHA-256 0", True), ("mask (NIfTI), SHA-256 0", False)):
            region = Region(name=name, cells=cells, seen=1.0)
            named = dataclasses.replace(votes, regions=(region,), region_hits=np.array([of_copies]))
            (entry,) = region_statements(named, spec, eta=0.01, l2=0.0)
            assert ("alarm" in entry) == lungs and ("alarm" in entry["sentence"].lower()) == lungs
            if lungs:
                assert entry["alarm"] is alarm and entry["alarm_radius"] == {"l2": 0.5 * spec.sigma, "in_noise": 0.5}
                assert entry["sentence"].startswith("ALARM: most of the votes are expected outside the lungs") == alarm
                assert "within 0.5 standard deviations of the noise (l2 distance 0.050000)" in entry["sentence"]


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
            certificate(0.8).at_least(l2)
        with pytest.raises(ValueError, match="must"):
            certificate(0.8).at_most(l2)
