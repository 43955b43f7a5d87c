"""Ranks: of a class among the logits, and how alike two maps rank their cells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

Array = npt.NDArray[np.float64]


def class_ranks(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Rank of one class a row among the row's logits, 1 for the largest; of equal ones the lower index is first.

    Args:
        logits: [N, classes].
        classes: index of a class a row, int64 [N].

    Returns:
        int64 [N], from 1 to the number of classes.
    """
    order = logits.argsort(dim=1, descending=True, stable=True)
    return (order == classes[:, None]).int().argmax(dim=1) + 1


def spearman(first: Array, second: Array) -> Array:
    """Rank correlation of two maps over their cells, row by row (Spearman, Am. J. Psychol. 15:72, 1904).

    Ties have their mean rank: it is the Pearson correlation of the ranks.

    Args:
        first: maps, [N, cells].
        second: maps of the same shape.

    Returns:
        [N] in [-1, 1]; 0 where one map is constant, for which no correlation is defined.
    """
    a, b = (rankdata(values, axis=1) for values in (first, second))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    correlation: Array = np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(a)), where=scale > 0)
    return correlation
