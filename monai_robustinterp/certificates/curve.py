"""Certified overlap against radius: what one set of bounds says at every threshold at once (T10).

All points hold together without a union bound, since they follow from the same bounds. That needs r, the number of
wrong bounds that is allowed for, to be one number for all of them: here it is 0, while ``certify_votes`` fixes
r = floor(s / 50) for its one threshold, so its radius can be larger where s >= 50. Taking the better of both would need
eta split between them; and a curve beside a certificate has an eta for itself there, which the record's ``all_claims``
counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from monai_robustinterp.certificates import renyi
from monai_robustinterp.certificates.certificate import Family, Level
from monai_robustinterp.certificates.confidence import mass_weighted_bounds
from monai_robustinterp.certificates.map_radii import cell_eta
from monai_robustinterp.certificates.overlap import Boundary
from monai_robustinterp.certificates.units import round_up
from monai_robustinterp.types import SmoothingSpec, VoteMap

Array = npt.NDArray[np.float64]

CURVE_FORMAT = "monai_robustinterp/curve/1"

# Any order alpha gives a sound radius: these only have to lie near the best one.
_LOG_ORDERS = np.linspace(math.log(1e-6), math.log(1e3), 24)


@dataclass(frozen=True, kw_only=True)
class OverlapCurve:
    """Radius at which each overlap is certified, for one vote map.

    Attributes:
        overlaps: numbers of reported cells that stay, ascending, int64 [P]; the last one is k.
        radii: l2 radii in units of the network's input, float64 [P], non-increasing; 0 is no claim.
        ceiling: the largest population radius that these settings can give: that of a map that ignores the image.
        n_cells: c, the number of cells.
        eta: failure probability of all population points together, per image.
        spec: the smoothing.
    """

    overlaps: npt.NDArray[np.int64]
    radii: Mapping[tuple[Level, Family], Array]
    ceiling: float
    n_cells: int
    eta: float
    spec: SmoothingSpec

    @property
    def share(self) -> Array:
        """Overlaps as shares of k, in (0, 1]."""
        return self.overlaps / self.spec.top_k

    def certified_overlap(
        self, radius: float, *, level: Level = "population", family: Family = "neyman-pearson"
    ) -> int:
        """The inverse: how many reported cells stay for every perturbation of at most this l2 norm.

        Between two points of the curve the smaller overlap is the answer.

        Args:
            radius: l2 norm, >= 0.
            level: see :class:`monai_robustinterp.types.Radius`; ``plug-in`` claims nothing.
            family: the mathematics behind it.

        Returns:
            The overlap; without a certificate it is max(0, 2k - c), since two sets of k cells share that many anyway.

        Raises:
            ValueError: if the radius is negative or not a number.
        """
        if not radius >= 0:
            raise ValueError(f"the radius is {radius}; it must be >= 0, in units of the network's input.")
        # A radius holds for every norm below it, so a perturbation of just this norm needs a larger one.
        holds = np.flatnonzero(self.radii[level, family] > radius)
        return int(self.overlaps[holds[-1]]) if holds.size else max(0, 2 * self.spec.top_k - self.n_cells)


def overlap_curve(votes: VoteMap, spec: SmoothingSpec, *, eta: float, points: int = 50) -> OverlapCurve:
    """Certifies every overlap of one vote map, plug-in and population, both families.

    With probability >= 1 - eta over the noise all population points hold at once. Of votes with pair counts only the
    half of eta is used that bounds on cells may spend: the certificate's pairs can reach further.

    Args:
        votes: the counts.
        spec: how they were made; sigma and top_k are read.
        eta: failure probability per image, in (0, 1).
        points: number of overlaps, spread evenly, where the map has more; at least 2.

    Raises:
        ValueError: if votes and spec do not belong together, eta or points is out of range, or every cell is in the
            top-k.
    """
    k, n_cells = votes.top_k, votes.counts.size
    votes.check_spec(spec)
    first = max(1, 2 * k - n_cells + 1)
    if first > k or points < 2:
        raise ValueError(
            f"top_k is {k} of {n_cells} cells and points is {points}; some cell must be outside the top-k, and a curve "
            "has at least 2 points."
        )
    overlaps = np.unique(np.linspace(first, k, min(points, k - first + 1)).round().astype(np.int64))
    counts = -np.sort(-votes.counts.ravel())[: 2 * k]
    shares = counts / votes.n_samples
    eta_cells = cell_eta(votes, spec, eta)
    table = mass_weighted_bounds(counts, votes.n_samples, top_k=k, eta=eta_cells)
    fixed = mass_weighted_bounds([votes.n_samples, 0], votes.n_samples, top_k=k, eta=eta_cells)
    levels: tuple[tuple[Level, Array, Array], ...] = (
        ("plug-in", shares, shares),
        ("population", table.lower, table.upper),
    )
    radii: dict[tuple[Level, Family], Array] = {}
    for level, lower, upper in levels:
        radii[level, "renyi"] = _renyi_radii(lower, upper, k, overlaps) * spec.sigma
        radii[level, "neyman-pearson"] = _neyman_pearson_radii(lower, upper, k, overlaps) * spec.sigma
    ceiling = float(spec.sigma / 2 * max(0.0, ndtri(fixed.lower[0]) - ndtri(fixed.upper[1])))
    return OverlapCurve(overlaps=overlaps, radii=radii, ceiling=ceiling, n_cells=n_cells, eta=eta, spec=spec)


def curve_to_json(curve: OverlapCurve) -> dict[str, Any]:
    """A JSON object; an unbounded (plug-in) radius is the string "Infinity"."""
    return {
        "format": CURVE_FORMAT,
        "claim": (
            f"population radii: with probability >= 1 - {round_up(curve.eta)} over the noise, per image and for all "
            "points at once, the reported top-k and the top-k of the expected vote map of any input below that l2 "
            "distance share at least that many cells; 0 is no claim. plug-in radii are estimates, which claim nothing."
        ),
        "eta": curve.eta,
        "allowed_wrong_bounds": 0,
        "top_k": curve.spec.top_k,
        "n_cells": curve.n_cells,
        "n_samples": curve.spec.n_samples,
        "sigma": curve.spec.sigma,
        "overlaps": curve.overlaps.tolist(),
        "shares": curve.share.tolist(),
        "radii": [
            {"level": level, "family": family, "l2": ["Infinity" if math.isinf(v) else v for v in values.tolist()]}
            for (level, family), values in curve.radii.items()
        ],
        "ceiling_l2": curve.ceiling,
    }


def _neyman_pearson_radii(lower: Array, upper: Array, k: int, overlaps: npt.NDArray[np.int64]) -> Array:
    """T2 for sigma = 1; the deciding ranks are the overlap o itself and 2k - o + 1."""
    inside, outside = lower[overlaps - 1], upper[2 * k - overlaps]
    ahead = inside > outside
    radii = np.zeros(overlaps.size)
    radii[ahead] = 0.5 * (ndtri(inside[ahead]) - ndtri(outside[ahead]))
    return _non_increasing(radii)


def _renyi_radii(lower: Array, upper: Array, k: int, overlaps: npt.NDArray[np.int64]) -> Array:
    """T1 for sigma = 1."""
    return _non_increasing(np.array([_renyi_radius(lower[o - 1 : k], upper[k : 2 * k - o + 1], k) for o in overlaps]))


def _non_increasing(radii: Array) -> Array:
    """A claim of a larger overlap holds for every smaller one, so each point may take the best radius to its right."""
    best: Array = np.maximum.accumulate(radii[::-1])[::-1]
    return best


def _renyi_radius(inside: Array, outside: Array, top_k: int) -> float:
    if inside[0] <= outside[-1]:
        return 0.0
    contest = renyi.Contest.of(Boundary(inside=inside, outside=outside, top_k=top_k))
    alpha = 1 + math.exp(_best_log_order(contest))
    return math.sqrt(2 * contest.epsilon(alpha) / alpha)


def _best_log_order(contest: renyi.Contest) -> float:
    """ln(alpha - 1) near the largest radius, by a grid, a finer one around its best, and a parabola."""
    if contest.forced is not None:
        # Epsilon is the same for all orders there, so the smallest one is best.
        return float(_LOG_ORDERS[0])
    orders = _LOG_ORDERS
    for _ in range(2):
        values = _approximate_squares(contest, orders)
        best, step = int(values.argmax()), orders[1] - orders[0]
        around = orders[best]
        orders = np.linspace(around - step, around + step, 17)
    if not 0 < best < values.size - 1:
        return float(around)
    left, middle, right = values[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(around + (0.5 * step * (left - right) / bend if bend < 0 else 0.0))


def _approximate_squares(contest: renyi.Contest, log_orders: Array) -> Array:
    """Epsilon(alpha) / alpha in the sound form (L5) for many orders at once, without care for round-off.

    Tied are the groups of A above and of B below tau; the sums over them for tau in each gap between their values u are
    cumulative sums. The gap of the root is the one at whose upper end the power mean is no longer above tau.
    """
    u = contest.steps
    in_a, in_b = np.zeros(u.size), np.zeros(u.size)
    in_a[np.searchsorted(u, contest.log_a)] = contest.cells_a
    in_b[np.searchsorted(u, contest.log_b)] = contest.cells_b

    def tied(values: Array) -> Array:
        below = np.cumsum(in_b * values, axis=-1)
        return below + np.cumsum((in_a * values)[..., ::-1], axis=-1)[..., ::-1] - in_a * values

    cells, mass = tied(np.ones(u.size)), tied(np.exp(u))
    order = np.exp(log_orders)[:, None]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore", under="ignore"):
        log_mean = u[0] - np.log(tied(np.exp(-order * (u - u[0]))) / cells) / order
        gap = np.maximum((log_mean <= u).argmax(axis=1) - 1, 0)
        gain = cells[gap] * np.exp(log_mean[np.arange(order.size), gap]) - mass[gap]
        squares: Array = np.nan_to_num(-np.log1p(gain) / (1 + order[:, 0]), nan=0.0, posinf=0.0, neginf=0.0)
    return squares
