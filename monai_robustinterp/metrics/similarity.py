"""How alike two maps are: structural similarity, rank correlation, and that of their gradients' histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from monai_robustinterp.metrics.ranks import spearman

Array = npt.NDArray[np.float64]

_C1, _C2 = 0.01**2, 0.03**2
_CELLS_A_SIDE, _BLOCK, _ORIENTATIONS = 14, 3, 9
_CLIP, _EPSILON = 0.2, 1e-5


def ssim(first: Array, second: Array) -> float:
    """Structural similarity of two maps, each scaled to [0, 1] (Wang et al., IEEE TIP 13:600, 2004).

    Windows are Gaussian, of standard deviation 1.5 and radius 5. They mirror the map at its edges, so that a map of
    fewer cells than a window has a value too; the mean is over all cells.

    Args:
        first: [h, w].
        second: [h, w].

    Returns:
        In [-1, 1]; 1 for equal maps. A constant map is taken as 0 everywhere.
    """
    a, b = unit_range(first), unit_range(second)
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return float((luminance * (2 * covariance + _C2) / (var_a + var_b + _C2)).mean())


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman correlation over the cells of two maps [h, w]; 0 where one is constant."""
    return float(spearman(first.reshape(1, -1), second.reshape(1, -1))[0])


def hog_correlation(first: Array, second: Array) -> float:
    """Spearman correlation of the histograms of oriented gradients of two maps [h, w]; 0 where one is constant."""
    return rank_correlation(hog(unit_range(first)), hog(unit_range(second)))


SIMILARITIES: Mapping[str, Callable[[Array, Array], float]] = {
    "ssim": ssim,
    "spearman": rank_correlation,
    "hog": hog_correlation,
}
"""By name, each of two maps [h, w]; 1 for equal maps."""


def hog(values: Array) -> Array:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), nine orientations without sign.

    A histogram's cell has 1/14 of the shorter side, 16 of 224 pixels, one cell of the map at least; blocks of 3 x 3 of
    them are scaled to norm 1, clipped at 0.2, and scaled again.

    Args:
        values: [h, w].

    Returns:
        Of all blocks, one after the other, shape (n,).
    """
    side = max(1, round(min(values.shape) / _CELLS_A_SIDE))
    rows, columns = values.shape[0] // side, values.shape[1] // side
    down, across = np.zeros_like(values), np.zeros_like(values)
    down[1:-1], across[:, 1:-1] = values[2:] - values[:-2], values[:, 2:] - values[:, :-2]
    angle = np.rad2deg(np.arctan2(down, across)) % 180
    orientation = np.minimum(angle // (180 / _ORIENTATIONS), _ORIENTATIONS - 1)
    one_hot = orientation[..., None] == np.arange(_ORIENTATIONS)
    votes = (np.hypot(down, across)[..., None] * one_hot)[: rows * side, : columns * side]
    histograms = votes.reshape(rows, side, columns, side, _ORIENTATIONS).mean(axis=(1, 3))
    block = (min(_BLOCK, rows), min(_BLOCK, columns))
    blocks = np.lib.stride_tricks.sliding_window_view(histograms, block, axis=(0, 1))
    flat = blocks.reshape(-1, _ORIENTATIONS * block[0] * block[1])
    return _unit_norm(np.minimum(_unit_norm(flat), _CLIP)).ravel()


def unit_range(values: Array) -> Array:
    """Values scaled from their range to [0, 1]; 0 where all are equal."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _window(values: Array) -> Array:
    smoothed: Array = gaussian_filter(values, 1.5, radius=5)
    return smoothed


def _unit_norm(rows: Array) -> Array:
    scaled: Array = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True) + _EPSILON**2)
    return scaled
