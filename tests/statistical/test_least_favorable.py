"""Wrong bounds, wrong radii and tightness, on mechanisms that are as unfavorable as the theory allows.

A count of false claims has no power: a claim is false only if several bounds err together. So the wrong bounds
themselves are counted, on laws of the copies whose expected number of them is near its limit eta (r + 1), and the same
harness must reject tables and certificates that are wrong on purpose.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import ndtri
from scipy.stats import binom, multivariate_normal, norm

from monai_robustinterp.certificates import certify_votes, map_radii, neyman_pearson, renyi
from monai_robustinterp.certificates.ceiling import blind_radius
from monai_robustinterp.certificates.confidence import Bounds, mass_weighted_bounds, plain_bounds
from monai_robustinterp.certificates.overlap import Boundary, swap_count
from monai_robustinterp.types import VoteMap
from tests.support.cases import collected
from tests.support.vote_factory import spec_of, vote_map

Array = npt.NDArray[np.float64]
Table = Callable[[Array, int], Bounds]

REPETITIONS = 1000
FAMILIES = ("renyi", "neyman-pearson")


# ---- mechanisms: laws of one copy with exactly k votes


@dataclass(frozen=True)
class Mechanism:
    """A copy votes for one of ``sets`` (bool [a, c], k cells each) with the chances ``chance`` [a]."""

    sets: npt.NDArray[np.bool_]
    chance: Array

    @property
    def share(self) -> Array:
        """The exact vote map q, [c]."""
        return self.chance @ self.sets

    def counts(self, m: int, repetitions: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Votes of m copies, [repetitions, c]: each cell is binomial, and together they are what the copies make."""
        copies = rng.multinomial(m, self.chance, size=repetitions)
        return np.rint(copies.astype(np.float64) @ self.sets).astype(np.int64)


def systematic(share: Array, rng: np.random.Generator, *, twins: int = 1, orders: int = 16) -> Mechanism:
    """Systematic sampling (Madow 1949) of shares with a whole sum, in one of some random orders of the cells.

    One uniform number picks the cells whose stretch of the cumulated shares holds it modulo 1: exactly ``sum(share)``
    of them, each with its own share. Every cell stands for ``twins`` cells that always get their votes together.
    """
    sets, chance = [], []
    for _ in range(orders):
        order = rng.permutation(share.size)
        ends = np.cumsum(share[order])
        ends[-1] = round(ends[-1])
        starts = np.concatenate([[0.0], ends[:-1]])
        cuts = np.unique(np.concatenate([ends % 1.0, [0.0, 1.0]]))
        middle = 0.5 * (cuts[:-1] + cuts[1:])[:, None]
        chosen = np.zeros((middle.size, share.size), dtype=bool)
        chosen[:, order] = np.floor(ends - middle) > np.floor(starts - middle)
        sets.append(chosen)
        chance.append(np.diff(cuts) / orders)
    whole = np.concatenate(chance)
    return Mechanism(sets=np.concatenate(sets).repeat(twins, axis=1), chance=whole / whole.sum())


# ---- the tables, right and wrong


def mass_weighted(eta: float, top_k: int, n_cells: int, wrong: int) -> Table:
    return lambda x, m: mass_weighted_bounds(x, m, top_k=top_k, eta=eta, wrong=wrong)


def plain(eta: float, top_k: int, n_cells: int, wrong: int) -> Table:
    return lambda x, m: plain_bounds(x, m, n_cells=n_cells, eta=eta, wrong=wrong)


def half_the_factor(table: Callable[..., Table]) -> Callable[..., Table]:
    """Eta (r + 1) / k for / (2k), and c for 2c: each side alone spends all of eta."""
    return lambda eta, top_k, n_cells, wrong: table(2 * eta, top_k, n_cells, wrong)


def plug_in(eta: float, top_k: int, n_cells: int, wrong: int) -> Table:
    return lambda x, m: Bounds(lower=np.asarray(x) / m, upper=np.asarray(x) / m)


def wrong_chances(table: Bounds, q: Array, m: int) -> tuple[Array, Array]:
    """P[lo(X) > q] and P[hi(X) < q] for X ~ Bin(m, q), exactly."""
    first = np.searchsorted(table.lower, q, side="right")
    last = np.searchsorted(table.upper, q, side="left") - 1
    return binom.sf(first - 1, m, q), binom.cdf(last, m, q)


def worst_share(table: Bounds, m: int, *, by_mass: bool) -> float:
    """The share beside a jump of the table at which wrong bounds are likeliest, for its mass or for one cell."""
    q = np.concatenate([table.lower * (1 - 1e-9), table.upper * (1 + 1e-9)])
    q = q[(q > 0.02) & (q < 0.98)]
    chance = np.add(*wrong_chances(table, q, m))
    return float(q[np.argmax(chance / q if by_mass else chance)])


@dataclass(frozen=True)
class Count:
    """Wrong bounds over the repetitions: exact expectation a run, mean, its standard error, share of runs with > r."""

    expected: float
    mean: float
    error: float
    frequency: float

    def rejects(self, allowed: float) -> bool:
        """Whether the observed number cannot come from a mean of at most ``allowed``."""
        return self.mean > allowed + 3 * self.error

    def rejects_level(self, eta: float) -> bool:
        """Whether "more than r wrong" is more frequent than eta can be."""
        return self.frequency > eta + 3 * np.sqrt(eta * (1 - eta) / REPETITIONS)


def count_wrong(
    table: Callable[..., Table], eta: float, m: int, *, wrong: int, by_mass: bool, seed: int, size: int = 60
) -> Count:
    """Builds the worst mechanism for a table and counts on it.

    Wrong bounds come r + 1 at a time (twins), which is where Markov's inequality loses nothing: the share of the runs
    with more than r of them is near eta then, not only their mean near eta (r + 1).
    """
    rng, twins = np.random.default_rng(seed), wrong + 1
    # ``size`` is k / twins of the mass-weighted table and c / twins of the plain one.
    bounds = table(eta, size * twins, size * twins, wrong)(np.arange(m + 1), m)
    # The plug-in has no level to be beside.
    q = 0.3 if table is plug_in else worst_share(bounds, m, by_mass=by_mass)
    full = int(size / q) if by_mass else size - 1
    rest = size - full * q if by_mass else np.ceil(full * q) - full * q
    mechanism = systematic(np.array([q] * full + [rest]), rng, twins=twins)
    share = mechanism.share
    assert share.sum() == pytest.approx(np.ceil(full * q) * twins) and share[0] == pytest.approx(q, rel=1e-12)
    counts = mechanism.counts(m, REPETITIONS, rng)
    assert (counts.sum(axis=1) == m * round(share.sum())).all()
    each = (bounds.lower[counts] > share).sum(axis=1) + (bounds.upper[counts] < share).sum(axis=1)
    return Count(
        expected=float(np.add(*wrong_chances(bounds, share, m)).sum()),
        mean=float(each.mean()),
        error=float(each.std(ddof=1) / np.sqrt(REPETITIONS)),
        frequency=float((each > wrong).mean()),
    )


RIGHT = {"mass-weighted": (mass_weighted, True), "plain": (plain, False)}


@pytest.mark.parametrize("name", RIGHT)
def test_the_number_of_wrong_bounds_is_the_expected_one_and_within_its_limit(name: str) -> None:
    with collected() as case:
        for wrong, eta, m in itertools.product([0, 3], [0.05, 0.1, 0.3], [64, 1000]):
            with case(wrong, eta, m):
                table, by_mass = RIGHT[name]
                allowed = eta * (wrong + 1)
                count = count_wrong(table, eta, m, wrong=wrong, by_mass=by_mass, seed=m + wrong)
                # The mechanism spends nearly all that is allowed, or the rest would show nothing.
                assert 0.95 * allowed < count.expected <= allowed
                assert abs(count.mean - count.expected) < 4 * count.error
                assert not count.rejects(allowed) and not count.rejects_level(eta)
                # Half of eta at least: here the claim "at most r wrong" itself is tested and not only its expectation.
                assert count.frequency > 0.5 * eta


@pytest.mark.parametrize("name", RIGHT)
def test_the_same_count_rejects_twice_the_level_and_the_plug_in(name: str) -> None:
    with collected() as case:
        for wrong, eta, m in itertools.product([0, 3], [0.05, 0.1, 0.3], [64, 1000]):
            with case(wrong, eta, m):
                table, by_mass = RIGHT[name]
                allowed = eta * (wrong + 1)
                for mutant, factor in ((half_the_factor(table), 1.9), (plug_in, 100.0)):
                    count = count_wrong(mutant, eta, m, wrong=wrong, by_mass=by_mass, seed=m + wrong)
                    assert count.expected > factor * allowed
                    assert count.rejects(allowed) and count.rejects_level(eta)


# ---- certificates, right and wrong: the radius claimed against the radius at the true shares


def rivals(share: float, pairs: int) -> Callable[..., tuple[Array, npt.NDArray[np.int64]]]:
    """Pairs of cells of which a copy votes for exactly one: as the one is overrated the other is underrated."""

    def draw(m: int, repetitions: int, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.int64]]:
        first = rng.binomial(m, share, size=(repetitions, pairs))
        return np.repeat([share, 1 - share], pairs), np.concatenate([first, m - first], axis=1)

    return draw


def staircase(m: int, repetitions: int, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.int64]]:
    """Seven sure cells, three weak ones inside, three rivals outside, and the rest never: s = 3 looks at the weak."""
    share = np.repeat([0.995, 0.6, 0.4, 0.0035], [7, 3, 3, 10])
    mechanism = systematic(share, rng)
    return mechanism.share, mechanism.counts(m, repetitions, rng)


def population_radii(votes: VoteMap, beta: str, eta: float) -> Array:
    """Radii of both families, sigma = 1."""
    certificate = certify_votes(votes, spec_of(votes), beta=beta, eta=eta)
    return np.array([certificate.radius("population", family).l2 for family in FAMILIES])


def true_radii(share: Array, reported: npt.NDArray[np.bool_], beta: str) -> Array:
    """How far the reported set is safe by the true shares, by the theorem of each family, sigma = 1."""
    top_k = int(reported.sum())
    s = swap_count(top_k, beta, share.size)
    inside, outside = np.sort(share[reported])[:s][::-1], np.sort(share[~reported])[-s:][::-1]
    edge = Boundary(inside=inside, outside=outside, top_k=top_k)
    return np.array([renyi.boundary_radius(edge, sigma=1.0)[0], neyman_pearson.boundary_radius(edge, sigma=1.0)])


def failures(
    draw: Callable[..., tuple[Array, npt.NDArray[np.int64]]], beta: str, eta: float, *, m: int, repetitions: int
) -> Array:
    """Share of the repetitions whose certificate claims more than the truth, for each family."""
    share, counts = draw(m, repetitions, np.random.default_rng(9))
    top_k = round(share.sum())
    claimed = np.empty((repetitions, 2))
    true = np.empty((repetitions, 2))
    known: dict[bytes, Array] = {}
    for i, row in enumerate(counts):
        votes = vote_map(row, n_samples=m, top_k=top_k)
        reported = votes.top_k_mask.ravel()
        true[i] = known.setdefault(reported.tobytes(), true_radii(share, reported, beta))
        claimed[i] = population_radii(votes, beta, eta)
    return (claimed > true * (1 + 1e-9)).mean(axis=0)


@pytest.fixture(autouse=True)
def fresh_ceilings() -> Iterator[None]:
    """Those that a mutant computed are forgotten."""
    yield
    blind_radius.cache_clear()


@pytest.mark.parametrize("eta", [0.05, 0.3])
def test_one_cell_too_many_in_the_swap_is_seen(monkeypatch: pytest.MonkeyPatch, eta: float) -> None:
    assert (failures(staircase, "0.8", eta, m=1000, repetitions=60) <= eta).all()
    monkeypatch.setattr(map_radii, "swap_count", lambda *arguments: swap_count(*arguments) + 1)
    assert (failures(staircase, "0.8", eta, m=1000, repetitions=20) > 0.9).all()


@pytest.mark.parametrize("eta", [0.05, 0.3])
def test_wrong_bounds_that_are_not_subtracted_are_seen(monkeypatch: pytest.MonkeyPatch, eta: float) -> None:
    """S = k = 2500, so r = 50: a swap of all, and the best of 2500 lower bounds is likely to be one of the wrong."""
    draw = rivals(0.7, 2500)
    assert (failures(draw, "0.0004", eta, m=1000, repetitions=30) == 0).all()
    wrong = map_radii.allowed_wrong_bounds(2500)

    def with_wrong_ones(counts: Array, m: int, *, top_k: int, eta: float, **_: int) -> Bounds:
        return mass_weighted_bounds(counts, m, top_k=top_k, eta=eta, wrong=wrong)

    monkeypatch.setattr(map_radii, "allowed_wrong_bounds", lambda s: 0)
    monkeypatch.setattr(map_radii, "mass_weighted_bounds", with_wrong_ones)
    # The Renyi radius weighs all 5000 cells, so that a few wrong bounds do not lift it.
    assert failures(draw, "0.0004", eta, m=1000, repetitions=60)[1] > eta + 0.15


def test_the_plug_in_for_the_population_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = rivals(0.6, 3)
    assert (failures(draw, "0.6", 0.05, m=64, repetitions=80) <= 0.05).all()
    monkeypatch.setattr(
        map_radii, "mass_weighted_bounds", lambda x, m, **_: Bounds(lower=np.divide(x, m), upper=np.divide(x, m))
    )
    assert (failures(draw, "0.6", 0.05, m=64, repetitions=80) > 0.2).all()


# ---- tightness: what is certified against how far it is safe, both exact


def identity_shares(x: Array, top_k: int) -> Array:
    """The vote map of g = identity with unit noise: P[at most k - 1 of the others exceed x_i + z], by quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = 9.0 * nodes
    density = 9.0 * weights * norm.pdf(z)
    share = np.empty(x.size)
    for i, own in enumerate(x):
        above = norm.sf(own + z[:, None] - np.delete(x, i))
        # Number of the others above, a sum of independent indicators, cell by cell.
        number = np.zeros((z.size, x.size))
        number[:, 0] = 1.0
        for chance in above.T:
            number[:, 1:] = number[:, 1:] * (1 - chance)[:, None] + number[:, :-1] * chance[:, None]
            number[:, 0] *= 1 - chance
        share[i] = density @ number[:, :top_k].sum(axis=1)
    return share


def identity_safe(x: Array, top_k: int, s: int) -> float:
    """The least norm that swaps s cells for g = identity: the noise is exchangeable, so shares order as the pixels."""
    ordered = np.sort(x)[::-1]
    inside, outside = ordered[top_k - s : top_k], ordered[top_k : top_k + s]

    def cost(value: float) -> float:
        return float((np.maximum(inside - value, 0) ** 2).sum() + (np.maximum(value - outside, 0) ** 2).sum())

    found = minimize_scalar(cost, bounds=(outside[-1], inside[0]), method="bounded", options={"xatol": 1e-12})
    return float(np.sqrt(found.fun))


def radii_at_truth(q: Array, top_k: int, s: int) -> tuple[float, float]:
    """Renyi and Neyman-Pearson at the exact shares, sigma = 1."""
    beta = f"{top_k - s + 1}/{top_k}"
    q = q * (top_k / q.sum())  # the quadrature is right to 1e-12
    return (
        renyi.renyi_radius(q, top_k=top_k, beta=beta, sigma=1.0),
        neyman_pearson.neyman_pearson_radius(q, top_k=top_k, beta=beta, sigma=1.0),
    )


@pytest.mark.parametrize("distance", [0.1, 1.0, 3.0])
def test_two_rival_pixels_are_certified_exactly_as_far_as_they_are_safe(distance: float) -> None:
    """For c = 2 no slack is left: the votes of any linear map are decided by a half-space."""
    x = np.array([distance, 0.0])
    q = identity_shares(x, 1)
    assert q[0] == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=1e-12)
    rank, best = radii_at_truth(q, 1, 1)
    safe = identity_safe(x, 1, 1)
    assert safe == pytest.approx(distance / np.sqrt(2)) == pytest.approx(best, rel=1e-9)
    assert 0.3 * safe < rank < safe


@pytest.mark.parametrize(("top_k", "s"), [(1, 1), (3, 1), (3, 2), (3, 3)])
def test_pixels_are_certified_at_most_as_far_as_they_are_safe_and_not_much_less(top_k: int, s: int) -> None:
    with collected() as case:
        for seed in range(6):
            with case(seed):
                x = np.sort(np.random.default_rng(seed).normal(size=7))[::-1]
                q = identity_shares(x, top_k)
                assert q.sum() == pytest.approx(top_k, abs=1e-10) and (np.diff(q) < 0).all()
                rank, best = radii_at_truth(q, top_k, s)
                safe = identity_safe(x, top_k, s)
                assert 0 < rank < best <= safe
                # The marginals cannot know that two cells have noises of their own, nor that s cells must be moved.
                assert best > 0.35 * safe


def linear_shares(weights: Array, x: Array) -> Array:
    """P[u_i is the largest] for u = W (x + z), three cells, exactly: the orthant of two differences."""
    share = np.empty(3)
    for i in range(3):
        rows = weights[i] - np.delete(weights, i, axis=0)
        share[i] = multivariate_normal.cdf(rows @ x, mean=np.zeros(2), cov=rows @ rows.T, abseps=1e-10, releps=1e-10)
    return share


@pytest.mark.parametrize("seed", range(4))
def test_no_optimized_perturbation_of_a_linear_map_breaks_the_claim_inside_the_radius(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, x = rng.normal(size=(3, 4)), rng.normal(size=4)
    top = int(np.argmax(linear_shares(weights, x)))
    q = linear_shares(weights, x)
    rank, best = radii_at_truth(q, 1, 1)

    def lead(delta: Array) -> float:
        shares = linear_shares(weights, x + delta)
        return float(np.delete(shares, top).max() - shares[top])

    broken = []
    for other in np.delete(np.arange(3), top):
        # From where the two cells' own scores are equal, shrink the norm while the claim stays broken.
        normal = weights[other] - weights[top]
        start = -1.2 * normal * (normal @ x) / (normal @ normal)
        broken_there = {"type": "ineq", "fun": lambda d, o=other: np.subtract(*linear_shares(weights, x + d)[[o, top]])}
        options = {"maxiter": 60, "ftol": 1e-10}
        found = minimize(lambda d: d @ d, start, method="SLSQP", constraints=[broken_there], options=options)
        assert lead(found.x * 1.001) > 0
        broken.append(float(np.linalg.norm(found.x)))
    safe = min(broken)
    assert 0 < rank < best <= safe * 1.001
    assert best > 0.6 * safe


@pytest.mark.parametrize(("m", "ratio"), [(64, 0.4), (1000, 0.85), (10_000, 0.95)])
def test_the_population_radius_of_two_pixels_approaches_the_safe_one_from_below(m: int, ratio: float) -> None:
    distance, eta = 2.0, 0.001
    share = float(norm.cdf(distance / np.sqrt(2)))
    safe = distance / np.sqrt(2)
    counts = np.random.default_rng(m).binomial(m, share, size=50)
    radii = np.array([population_radii(vote_map([x, m - x], n_samples=m, top_k=1), "1", eta) for x in counts])
    assert (radii <= safe).all()
    assert ratio * safe < np.median(radii[:, 1]) < safe
    assert (radii[:, 0] < radii[:, 1]).all()
    assert (ndtri(counts / m) > safe).mean() > 0.3
