"""Renyi certificate (US 11,341,598; Liu et al. 2021, arXiv:2107.01561), in the sound form (T1, docs/theory/map.md).

Drawing one cell from the votes of a noisy copy is post-processing of a Gaussian mechanism, so its law p = q / k moves
by at most ``alpha L^2 / (2 sigma^2)`` in Renyi divergence (Mironov 2017). ``epsilon`` is the cheapest divergence that
swaps s cells; a perturbation too small to pay for it cannot break the claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from monai_robustinterp.certificates.overlap import BetaLike, Boundary, boundary

Form = Literal["sound", "closed"]
Array = npt.NDArray[np.float64]

# The radius as a function of ln(alpha - 1) has one flat top: a finer grid changes its 12th digit.
_ORDERS = 1.0 + np.logspace(-6, 6, 41)


def renyi_epsilon(q: npt.ArrayLike, *, top_k: int, beta: BetaLike, alpha: float, form: Form = "sound") -> float:
    """Smallest Renyi divergence of order alpha that swaps s cells of the top-k of q.

    Args:
        q: vote map in [0, 1], any shape, sum ``top_k``.
        top_k: k, a number of cells.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        alpha: Renyi order > 1, finite.
        form: ``sound`` is the minimum over all swapped distributions. ``closed`` is the published closed form with its
            sum inside the logarithm, on the same s: for s >= 2 it is no lower bound (T1), and it stays for
            comparison only.

    Returns:
        epsilon >= 0; infinity where no distribution of finite divergence swaps the cells (exact zeros).

    Raises:
        ValueError: for an invalid vote map, k, beta, alpha or form.
    """
    if not 1 < alpha < np.inf:
        raise ValueError(f"alpha is {alpha}; the Renyi order must be > 1 and finite.")
    edge = boundary(q, top_k=top_k, beta=beta)
    if form == "closed":
        return closed_epsilon(edge, alpha)
    if form == "sound":
        return boundary_epsilon(edge, alpha)
    raise ValueError(f"form is {form!r}; it must be 'sound' or 'closed'.")


def renyi_radius(q: npt.ArrayLike, *, top_k: int, beta: BetaLike, sigma: float, form: Form = "sound") -> float:
    """L_max = sup over alpha > 1 of sigma * sqrt(2 epsilon(alpha) / alpha) (US 11,341,598, eq. 2).

    Args:
        q: vote map in [0, 1], any shape, sum ``top_k``.
        top_k: k, a number of cells.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        sigma: standard deviation of the smoothing noise.
        form: see :func:`renyi_epsilon`.

    Returns:
        The radius in the units of sigma; 0 is no claim.
    """
    if form not in ("sound", "closed"):
        raise ValueError(f"form is {form!r}; it must be 'sound' or 'closed'.")
    return boundary_radius(boundary(q, top_k=top_k, beta=beta), sigma=sigma, form=form)[0]


def boundary_radius(edge: Boundary, *, sigma: float, form: Form = "sound") -> tuple[float, float, float]:
    """Radius, epsilon and order alpha from the deciding cells (true shares, or bounds on them).

    Any order gives a sound radius, so an inexact maximization over alpha loses a little and never overstates.
    """
    cells = Contest.of(edge)

    def epsilon_of(alpha: float) -> float:
        return cells.epsilon(alpha) if form == "sound" else closed_epsilon(edge, alpha)

    def squared(log_order: float) -> float:
        alpha = 1.0 + float(np.exp(log_order))
        return epsilon_of(alpha) / alpha

    grid = np.log(_ORDERS - 1.0)
    values = np.array([squared(t) for t in grid])
    best = int(values.argmax())
    if not 0 < values[best] < np.inf:
        return (float(values[best]), float(values[best]), float(_ORDERS[best]))
    bracket = (grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)])
    refined = minimize_scalar(lambda t: -squared(t), bounds=bracket, method="bounded").x
    log_order = max((float(grid[best]), float(refined)), key=squared)
    alpha = 1.0 + float(np.exp(log_order))
    epsilon = epsilon_of(alpha)
    return sigma * float(np.sqrt(2 * epsilon / alpha)), epsilon, alpha


def boundary_epsilon(edge: Boundary, alpha: float) -> float:
    """The sound form: tie only the cells that lie on the wrong side of the cheapest common value (L5)."""
    return Contest.of(edge).epsilon(alpha)


@dataclass(frozen=True)
class Contest:
    """The cells that a swap may tie, grouped by value: a map has many cells and few distinct counts.

    Attributes:
        log_a: ln p of the contested values inside, distinct, ascending.
        cells_a: number of cells of each.
        log_b: ln p of the contested values outside, distinct, ascending.
        cells_b: number of cells of each.
        steps: all these values, distinct, ascending.
        forced: epsilon where no common value decides it: 0 without an order to break, or that of exact zeros outside.
    """

    log_a: Array
    cells_a: Array
    log_b: Array
    cells_b: Array
    steps: Array
    forced: float | None = None

    @classmethod
    def of(cls, edge: Boundary) -> Contest:
        """Groups the deciding cells."""
        outside = edge.outside / edge.top_k
        if edge.inside.max() <= edge.outside.min():
            return cls.decided(0.0)
        if outside.min() == 0:
            # The swapped distribution must vanish where p does, hence on all of A: the remaining mass is scaled up.
            # Summed before the division: k shares of 1 are k exactly, and k parts 1 / k may fall short of 1.
            votes = float(edge.inside.sum())
            return cls.decided(float("inf") if votes >= edge.top_k else -float(np.log1p(-votes / edge.top_k)))
        contested = edge.contested
        log_a, cells_a = np.unique(np.log(contested.inside / edge.top_k), return_counts=True)
        log_b, cells_b = np.unique(np.log(contested.outside / edge.top_k), return_counts=True)
        # Neighboring floats can have one logarithm.
        if log_a[-1] <= log_b[0]:
            return cls.decided(0.0)
        return cls(log_a, cells_a.astype(float), log_b, cells_b.astype(float), np.union1d(log_a, log_b))

    @classmethod
    def decided(cls, epsilon: float) -> Contest:
        """No cell to tie: one epsilon for every order."""
        nothing = np.empty(0)
        return cls(nothing, nothing, nothing, nothing, nothing, epsilon)

    def epsilon(self, alpha: float) -> float:
        """The smallest divergence of this order that swaps the cells."""
        if self.forced is not None:
            return self.forced
        tied, cells = self._tied(alpha)
        mass = cells * np.exp(tied)
        gain = float(np.sum(mass * np.expm1(_log_power_mean(tied, alpha, cells) - tied)))
        # Near ties the sum cancels down to round-off, which must not become a radius.
        round_off = 8 * np.finfo(np.float64).eps * float(np.sum(mass * (1 + np.abs(tied))))
        return max(0.0, -float(np.log1p(gain + round_off)))

    def _tied(self, alpha: float) -> tuple[Array, Array]:
        """Logarithms and numbers of the cells in T(tau*) = {a > tau*} and {b < tau*}, where tau* is their power mean.

        phi(tau) increases and T changes only at the cells' values, so bisection over these values finds the interval of
        tau*, on which T is constant.
        """
        # phi < 0 at the lowest value of B and > 0 at the highest of A (or the set there is one-sided).
        steps = self.steps
        low, high = 0, steps.size - 1
        while high - low > 1:
            middle = (low + high) // 2
            tied, cells = self._beyond(steps[middle])
            if tied.size == 0 or _log_power_mean(tied, alpha, cells) <= steps[middle]:
                high = middle
            else:
                low = middle
        return self._beyond(0.5 * (steps[low] + steps[high]))

    def _beyond(self, tau: float) -> tuple[Array, Array]:
        """The cells of A above tau and of B below it."""
        a = np.searchsorted(self.log_a, tau, side="right")
        b = np.searchsorted(self.log_b, tau, side="left")
        return np.concatenate([self.log_a[a:], self.log_b[:b]]), np.concatenate([self.cells_a[a:], self.cells_b[:b]])


def closed_epsilon(edge: Boundary, alpha: float) -> float:
    """The published closed form, its sum inside the logarithm: ties all 2s cells to one value."""
    p = np.concatenate([edge.inside, edge.outside]) / edge.top_k
    if p.min() == 0:
        votes = float(edge.inside.sum() + edge.outside.sum())
        return float("inf") if votes >= edge.top_k else -float(np.log1p(-votes / edge.top_k))
    log_p = np.log(p)
    return max(0.0, -float(np.log1p(np.sum(p * np.expm1(_log_power_mean(log_p, alpha, np.ones(p.size)) - log_p)))))


def _log_power_mean(log_p: Array, alpha: float, cells: Array) -> float:
    """Ln M_{1-alpha}: the power mean of order 1 - alpha, accurate for nearly equal values and for large orders."""
    lowest = log_p.min()
    with np.errstate(over="ignore"):  # beyond the largest float the power is 0, as it should be
        mean = np.sum(cells * np.expm1(-(alpha - 1) * (log_p - lowest))) / cells.sum()
    return float(lowest - np.log1p(mean) / (alpha - 1))
