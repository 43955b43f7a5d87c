"""Rank scores instead of 0/1 votes: the generalization of US 11,687,777.

Source: each copy's cells get v_1 >= v_2 >= ... by their rank, sum v = 1, and p = E[v_rank] is the map; v = (1/k, ...,
1/k, 0, ...) is the top-k vote. Drawing one cell with the scores of a noisy copy as its probabilities has law p, so the
Renyi bound of T1 (docs/theory/map.md) holds for p as it stands. The score of one cell, brought to [0, 1] by
(v_rank - v_last) / (v_first - v_last), is a randomized test, for which the mean bound L3 holds as well.

Level: plug-in where p is a mean over copies (no claim); with the expected p the radius holds for the expected map:
every input within it has a top-k of p that shares at least beta k cells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monai_robustinterp.certificates import neyman_pearson, renyi
from monai_robustinterp.certificates.overlap import BetaLike, Boundary, swap_count

LEVEL = "plug-in"

Array = npt.NDArray[np.float64]


def scoring_renyi_radius(mean_scores: npt.ArrayLike, *, top_k: int, beta: BetaLike, sigma: float) -> float:
    """Renyi radius of the top-k of a mean score map, sound form.

    Args:
        mean_scores: p, mean of the rank scores of each cell, any shape, sum 1.
        top_k: k, the cells of p that are reported.
        beta: share of them that is to stay, a decimal string or a number in (0, 1].
        sigma: standard deviation of the smoothing noise.

    Returns:
        The radius in the units of sigma; 0 is no claim.

    Raises:
        ValueError: if p is no such map, or k or beta is invalid.
    """
    return renyi.boundary_radius(_boundary(_checked_map(mean_scores), top_k, beta), sigma=sigma)[0]


def scoring_neyman_pearson_radius(
    mean_scores: npt.ArrayLike, vector: npt.ArrayLike, *, top_k: int, beta: BetaLike, sigma: float
) -> float:
    """Neyman-Pearson radius of the top-k of a mean score map.

    Args:
        mean_scores: p, any shape, sum 1.
        vector: v, non-increasing, >= 0, sum 1, one entry for each cell.
        top_k: k, the cells of p that are reported.
        beta: share of them that is to stay.
        sigma: standard deviation of the smoothing noise.

    Returns:
        The radius in the units of sigma; 0 is no claim; infinity where a cell always has the first or the last score.

    Raises:
        ValueError: if p and v do not belong together, v is no scoring vector, or k or beta is invalid.
    """
    p = _checked_map(mean_scores)
    v = np.asarray(vector, dtype=np.float64)
    if v.shape != p.shape or not np.isfinite(v).all() or (np.diff(v) > 0).any() or v[-1] < 0 or abs(v.sum() - 1) > 1e-6:
        raise ValueError(
            f"the scoring vector has shape {v.shape} and sum {v.sum():g} for {p.size} cells; it must be "
            "non-increasing, >= 0, of sum 1, with one entry for each cell. Fill it up with zeros."
        )
    span = v[0] - v[-1]
    scores = (p - v[-1]) / span if span > 0 else np.full(p.shape, 0.5)
    if scores.min() < -1e-9 or scores.max() > 1 + 1e-9:
        raise ValueError(
            f"the mean scores span {p.min():g} to {p.max():g} and the vector {v[-1]:g} to {v[0]:g}; means lie between "
            "them. Pass the vector that the scores were made with."
        )
    return neyman_pearson.boundary_radius(_boundary(np.clip(scores, 0, 1), top_k, beta), sigma=sigma)


def _checked_map(mean_scores: npt.ArrayLike) -> Array:
    p: Array = np.asarray(mean_scores, dtype=np.float64).ravel()
    if not np.isfinite(p).all() or p.min() < 0 or abs(p.sum() - 1) > 1e-6:
        raise ValueError(
            f"the mean scores have sum {p.sum():g} and minimum {p.min():g}; they must be >= 0 and sum to 1, as the "
            "scoring vector does. Divide by the number of copies."
        )
    return p


def _boundary(values: Array, top_k: int, beta: BetaLike) -> Boundary:
    s = swap_count(top_k, beta, values.size)
    ordered = -np.sort(-values)
    # top_k = 1 because the values are probabilities already, where a vote map would be divided by k.
    return Boundary(inside=ordered[top_k - s : top_k], outside=ordered[top_k : top_k + s], top_k=1)
