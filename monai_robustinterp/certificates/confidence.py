"""Simultaneous bounds on the vote map from m copies (section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BoundTable:
    """Lower and upper bounds for every count 0 ... m.

    Attributes:
        lower: lo(x) in [0, 1], shape [m + 1].
        upper: hi(x) in [0, 1], shape [m + 1].
    """

    lower: Array
    upper: Array


def allowed_wrong_bounds(swap_count: int) -> int:
    """r, fixed beforehand from s: floor(s / 50), which is 0 for s < 50 (section 4)."""
    return swap_count // 50


@lru_cache(maxsize=32)
def mass_weighted_bounds(n_samples: int, *, top_k: int, eta: float, wrong: int = 0) -> BoundTable:
    """Bounds of which, with probability >= 1 - eta, at most ``wrong`` fail, over all cells and both sides.

    The vote map sums to k, so the level of a hypothesis q may grow with q: a cell's lower bound fails with probability
    at most ``eta (r + 1) q / (2k)``, its upper one likewise, and the expected number of failures is at most
    ``eta (r + 1)`` however many cells there are; Markov's inequality gives the rest.

    Args:
        n_samples: m.
        top_k: k.
        eta: failure probability in (0, 1).
        wrong: r, the number of wrong bounds that the caller's claim survives.

    Raises:
        ValueError: if eta, m or r is out of range.
    """
    if not 0 < eta < 1:
        raise ValueError(f"eta is {eta}; it must lie in (0, 1), such as 0.001.")
    if n_samples < 1 or wrong < 0:
        raise ValueError(f"n_samples is {n_samples} and wrong is {wrong}; they must be >= 1 and >= 0.")
    level = eta * (wrong + 1) / (2 * top_k)
    counts = np.arange(n_samples + 1, dtype=np.float64)
    upper_tail = counts[2:]

    def lower_holds(q: Array) -> npt.NDArray[np.bool_]:
        # P[Bin(m, q) >= x] / q is unimodal in q, 0 at 0 and 1 at 1: it passes a level < 1 once.
        return np.asarray(betainc(upper_tail, n_samples - upper_tail + 1, q) <= level * q)

    def upper_holds(q: Array) -> npt.NDArray[np.bool_]:
        below = counts[:-1]
        return np.asarray(betainc(n_samples - below, below + 1, 1 - q) > level * q)

    # At x <= 1 the ratio P / q starts above the level, and no q > 0 is excluded.
    lower = np.concatenate([np.zeros(min(2, n_samples + 1)), _last_true(lower_holds, upper_tail.size)[0]])
    upper = np.concatenate([_last_true(upper_holds, n_samples)[1], [1.0]])
    lower.flags.writeable = upper.flags.writeable = False
    return BoundTable(lower=lower, upper=upper)


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
