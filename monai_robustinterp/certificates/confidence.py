"""Simultaneous bounds on the vote map from m copies (T5, T6 of docs/theory/bounds.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

Array = npt.NDArray[np.float64]

# A binomial tail is right to 1e-10 of itself at m = 10^6 (against mpmath); levels are lowered by more.
_ROUND_OFF = 1e-9


@dataclass(frozen=True)
class Bounds:
    """Bounds on the share of each count.

    Attributes:
        lower: lo(x) in [0, 1], the shape of the counts.
        upper: hi(x) in [0, 1], the shape of the counts.
    """

    lower: Array
    upper: Array


def allowed_wrong_bounds(swap_count: int) -> int:
    """r, fixed beforehand from s: floor(s / 50), which is 0 for s < 50 (L6)."""
    return swap_count // 50


def mass_weighted_bounds(counts: npt.ArrayLike, n_samples: int, *, top_k: int, eta: float, wrong: int = 0) -> Bounds:
    """Bounds of which, with probability >= 1 - eta, at most ``wrong`` fail, over all cells and both sides.

    The vote map sums to k, so the level of a hypothesis q may grow with q: a cell's lower bound fails with probability
    at most ``eta (r + 1) q / (2k)``, its upper one likewise, and the expected number of failures is at most
    ``eta (r + 1)`` however many cells there are; Markov's inequality gives the rest. Round-off is taken off the level,
    so the bounds are a little wide.

    Args:
        counts: votes of the cells whose bounds are wanted, in [0, m], any shape.
        n_samples: m.
        top_k: k.
        eta: failure probability in (0, 1).
        wrong: r, the number of wrong bounds that the caller's claim survives.

    Raises:
        ValueError: if eta, m, k, r or a count is out of range.
    """
    if not 0 < eta < 1:
        raise ValueError(f"eta is {eta}; it must lie in (0, 1), such as 0.001.")
    if n_samples < 1 or top_k < 1 or wrong < 0:
        raise ValueError(f"n_samples, top_k, wrong are {n_samples}, {top_k}, {wrong}; they must be >= 1, >= 1, >= 0.")
    level = eta * (wrong + 1) / (2 * top_k)
    if level >= 1:
        raise ValueError(f"eta (r + 1) / (2k) is {level:g}; it must be below 1: allow fewer wrong bounds.")
    safe = level * (1 - _ROUND_OFF)
    return _table(counts, n_samples, lambda x: (_lower(x, n_samples, safe), _upper(x, n_samples, safe)))


def clopper_pearson_bounds(counts: npt.ArrayLike, n_samples: int, *, level: float) -> Bounds:
    """Exact one-sided bounds on a binomial share (Clopper & Pearson 1934): each fails with probability <= ``level``.

    lo(x) = sup{q: P[Bin(m, q) >= x] <= level} and hi(x) = inf{q: P[Bin(m, q) <= x] <= level}. Both at once fail with
    probability <= 2 ``level``. Round-off is taken off the level, so the bounds are a little wide.

    Args:
        counts: successes, in [0, m], any shape.
        n_samples: m.
        level: one-sided failure probability in (0, 1).

    Raises:
        ValueError: if level, m or a count is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level is {level}; it must lie in (0, 1), such as 0.001.")
    if n_samples < 1:
        raise ValueError(f"n_samples is {n_samples}; it must be >= 1.")
    safe = level * (1 - _ROUND_OFF)
    return _table(counts, n_samples, lambda x: _clopper_pearson(x, n_samples, safe))


def plain_bounds(counts: npt.ArrayLike, n_samples: int, *, n_cells: int, eta: float, wrong: int = 0) -> Bounds:
    """The plain table (T5): Clopper-Pearson at one-sided level eta (r + 1) / (2c).

    The expected number of wrong bounds among all 2c is at most eta (r + 1), so with probability >= 1 - eta at most
    ``wrong`` of them fail (k-FWER, Lehmann & Romano 2005). For comparison: the mass-weighted table is tighter where it
    counts, and the two must not be chosen between after looking.

    Args:
        counts: votes of the cells whose bounds are wanted, in [0, m], any shape.
        n_samples: m.
        n_cells: c, all cells of the map: the reported set is chosen from the same copies.
        eta: failure probability in (0, 1).
        wrong: r, the number of wrong bounds that the caller's claim survives.

    Raises:
        ValueError: if eta, m, c, r or a count is out of range.
    """
    if not 0 < eta < 1:
        raise ValueError(f"eta is {eta}; it must lie in (0, 1), such as 0.001.")
    if n_cells < 1 or wrong < 0:
        raise ValueError(f"n_cells, wrong are {n_cells}, {wrong}; they must be >= 1, >= 0.")
    level = eta * (wrong + 1) / (2 * n_cells)
    if level >= 1:
        raise ValueError(f"eta (r + 1) / (2c) is {level:g}; it must be below 1: allow fewer wrong bounds.")
    return clopper_pearson_bounds(counts, n_samples, level=level)


def _table(
    counts: npt.ArrayLike, n_samples: int, bounds_of: Callable[[npt.NDArray[np.int64]], tuple[Array, Array]]
) -> Bounds:
    """Bounds of the distinct counts, spread over all of them."""
    x, position = np.unique(np.asarray(counts, dtype=np.int64), return_inverse=True)
    if x.size and not 0 <= x[0] <= x[-1] <= n_samples:
        raise ValueError(f"the counts span {x[0]} to {x[-1]}; they must lie in [0, {n_samples}].")
    lower, upper = bounds_of(x)
    shape = np.shape(counts)
    return Bounds(lower=lower[position].reshape(shape), upper=upper[position].reshape(shape))


def _clopper_pearson(x: npt.NDArray[np.int64], m: int, level: float) -> tuple[Array, Array]:
    """sup{q: P[Bin(m, q) >= x] <= level} and inf{q: P[Bin(m, q) <= x] <= level}."""
    lower, upper = np.zeros(x.size), np.ones(x.size)
    some, other = x > 0, x < m
    wins, few = x[some].astype(np.float64), x[other].astype(np.float64)
    lower[some] = _last_true(lambda q: np.asarray(betainc(wins, m - wins + 1, q) <= level), wins.size)[0]
    upper[other] = _last_true(lambda q: np.asarray(betainc(m - few, few + 1, 1 - q) > level), few.size)[1]
    return lower, upper


def _lower(x: npt.NDArray[np.int64], m: int, level: float) -> Array:
    """sup{q: P[Bin(m, q') >= x] <= level q' for all q' <= q}."""
    # P / q is unimodal in q, 0 at 0 and 1 at 1 for x >= 2, so it passes the level once; for x <= 1 it starts above it.
    some = x >= 2
    tail = x[some].astype(np.float64)
    bound = np.zeros(x.size)
    bound[some] = _last_true(lambda q: np.asarray(betainc(tail, m - tail + 1, q) <= level * q), tail.size)[0]
    return bound


def _upper(x: npt.NDArray[np.int64], m: int, level: float) -> Array:
    """sup{q: P[Bin(m, q) <= x] > level q}."""
    some = x < m
    tail = x[some].astype(np.float64)
    bound = np.ones(x.size)
    bound[some] = _last_true(lambda q: np.asarray(betainc(m - tail, tail + 1, 1 - q) > level * q), tail.size)[1]
    return bound


def _last_true(holds: Callable[[Array], npt.NDArray[np.bool_]], size: int) -> tuple[Array, Array]:
    """Brackets, per entry, the point of [0, 1] where a condition that holds at 0 fails for good: (true, false)."""
    low, high = np.zeros(size), np.ones(size)
    # 1100 halvings reach the smallest positive float; the loop stops when no float lies between.
    for _ in range(1100):
        middle = 0.5 * (low + high)
        if not ((middle > low) & (middle < high)).any():
            break
        true = holds(middle)
        low, high = np.where(true, middle, low), np.where(true, high, middle)
    return low, high
