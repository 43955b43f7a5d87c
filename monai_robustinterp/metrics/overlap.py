"""How many of their strongest cells maps have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def top_membership(values: Array, top_k: int) -> Array:
    """How much of each cell is in its row's top-k: 1, 0, or an equal part where cells tie at the k-th value.

    Args:
        values: maps, [N, cells], without NaN.
        top_k: k, from 1 to the number of cells.

    Returns:
        [N, cells] in [0, 1]; each row has the sum k.

    Raises:
        ValueError: if k is out of its range.
    """
    if not 1 <= top_k <= values.shape[1]:
        raise ValueError(f"top_k is {top_k} for maps of {values.shape[1]} cells: it must be from 1 to that number.")
    kth = -np.sort(-values, axis=1)[:, top_k - 1 : top_k]
    above, level = values > kth, values == kth
    missing = top_k - above.sum(axis=1, keepdims=True)
    membership: Array = above + level * missing / level.sum(axis=1, keepdims=True)
    return membership


def top_k_overlap(first: Array, second: Array, top_k: int) -> Array:
    """Share of the k largest cells that two maps have in common, row by row.

    Without ties it is the top-k intersection of Ghorbani, Abid and Zou (AAAI 2019, section 2); of cells that tie at the
    k-th value the smaller of the two parts counts (:func:`top_membership`).

    Args:
        first: maps, [N, cells].
        second: maps of the same shape.
        top_k: k.

    Returns:
        [N] in [0, 1]; two unrelated choices of k of c cells have k / c in common on average.

    Raises:
        ValueError: if the shapes differ, or k is out of its range.
    """
    if first.shape != second.shape:
        raise ValueError(f"maps have shapes {first.shape} and {second.shape}: give two maps of each image.")
    shared = np.minimum(top_membership(first, top_k), top_membership(second, top_k))
    overlap: Array = shared.sum(axis=1) / top_k
    return overlap


def mean_pairwise_overlap(sets: Sequence[frozenset[int]]) -> float:
    """Mean over all pairs of sets of the share of their cells that they have in common; NaN for less than two sets.

    Args:
        sets: cells of each map, as many in each.
    """
    shares = [len(one & other) / len(one) for one, other in combinations(sets, 2)]
    return float(np.mean(shares)) if shares else float("nan")
