"""Levine, Singla and Feizi 2019 (arXiv:1905.12105): Hoeffding bounds and the shift of a smoothed [0, 1] score.

Source: the official code (anonICLR5/robust-interpretation, certification.py). With x the mean of q maps with values in
[0, 1], sorted in descending order, and err the two-sided Hoeffding error for all n cells at once, the certified overlap
at radius rho is

    #{ i <= K : Phi(Phi^-1(x_(i) - err) - 2 rho / sigma) - err > x_(2K+1-i) }.

Level: population (D9 of docs/theory/objects.md), with the given confidence: the reported top-K and the top-K of the
*expected* map at every x + delta. Of the two err, one is for x_(i) and one for x_(2K+1-i), both at the clean image; no
error of a fresh sample at x + delta is in it, so it says nothing about the map that a second run would show.

A hard top-k vote is a score in {0, 1}, and a relaxed sparsified map one in [0, 1]: the formula is the same for both.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from monai_robustinterp.certificates.overlap import BetaLike, exact_beta, required_overlap, swap_count

LEVEL = "population"

Array = npt.NDArray[np.float64]


def hoeffding_error(n_cells: int, n_samples: int, *, confidence: float = 0.95) -> float:
    """Sqrt(ln(2n / (1 - confidence)) / (2q)): all n means are this close to their expectations, at once.

    Args:
        n_cells: n.
        n_samples: q, the number of noisy copies.
        confidence: probability in (0, 1), the paper's eta.

    Raises:
        ValueError: if a number is out of range.
    """
    if n_cells < 1 or n_samples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"n_cells, n_samples, confidence are {n_cells}, {n_samples}, {confidence}; they must be >= 1, >= 1 and in "
            "(0, 1). The paper's eta is the confidence, 0.95, and not the failure probability."
        )
    return math.sqrt(math.log(2 * n_cells / (1 - confidence)) / (2 * n_samples))


def levine_overlap(
    mean_map: npt.ArrayLike, *, top_k: int, radius: float, sigma: float, n_samples: int, confidence: float = 0.95
) -> int:
    """How many cells of the reported top-K are certified to stay in the top-K of the expected map at this distance.

    Args:
        mean_map: mean score of each cell in [0, 1], any shape: shares of votes, or means of :func:`relaxed_scores`.
        top_k: K.
        radius: rho >= 0, l2 norm of the perturbation.
        sigma: standard deviation of the smoothing noise.
        n_samples: q.
        confidence: the paper's eta.

    Raises:
        ValueError: if a value is out of range.
    """
    ordered = _ordered(mean_map, top_k)
    if not radius >= 0:
        raise ValueError(f"the radius is {radius}; it must be >= 0, in the units of sigma.")
    error = hoeffding_error(ordered.size, n_samples, confidence=confidence)
    rank = np.arange(1, top_k + 1)
    # A rank beyond the map has no cell to be overtaken by.
    rivals = np.concatenate([ordered, np.full(max(0, 2 * top_k - ordered.size), -np.inf)])[2 * top_k - rank]
    shifted = ndtr(ndtri(np.maximum(ordered[:top_k] - error, 0)) - 2 * radius / sigma) - error
    return int(np.count_nonzero(shifted > rivals))


def levine_radius(
    mean_map: npt.ArrayLike, *, top_k: int, beta: BetaLike, sigma: float, n_samples: int, confidence: float = 0.95
) -> float:
    """The radius below which :func:`levine_overlap` is at least ceil(beta K).

    Args:
        mean_map: mean score of each cell in [0, 1], any shape.
        top_k: K.
        beta: certified share of the top-K, a decimal string or a number in (0, 1].
        sigma: standard deviation of the smoothing noise.
        n_samples: q.
        confidence: the paper's eta.

    Returns:
        The radius in the units of sigma; 0 is no claim.

    Raises:
        ValueError: if a value is out of range, or the claim is trivial.
    """
    ordered = _ordered(mean_map, top_k)
    s = swap_count(top_k, beta, ordered.size)
    error = hoeffding_error(ordered.size, n_samples, confidence=confidence)
    inside = ordered[required_overlap(top_k, beta) - 1] - error
    outside = ordered[top_k + s - 1] + error
    return float(sigma / 2 * (ndtri(inside) - ndtri(outside))) if 0 < outside < inside else 0.0


def relaxed_scores(maps: npt.ArrayLike, *, tau: float, gamma: float) -> Array:
    """Relaxed sparsification of each map: over its (gamma n)-th largest value, cut at 1, and 0 outside its top tau n.

    Args:
        maps: attribution magnitudes >= 0 of the noisy copies, shape [q, n].
        tau: share of the cells that are kept, in (0, 1].
        gamma: share of the cells that get 1, in (0, tau].

    Returns:
        Scores in [0, 1], shape [q, n]; their mean over the copies is a mean map. Cells equal to the last one kept are
        kept too. Where the (gamma n)-th largest value is 0, the values above it get 1.

    Raises:
        ValueError: if a share is out of range or a value negative or not finite.
    """
    values = np.asarray(maps, dtype=np.float64)
    n_full, n_kept = (max(1, int(exact_beta(share) * values.shape[1])) for share in (gamma, tau))
    if n_full > n_kept or not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(
            f"gamma is {gamma} and tau {tau}, and the values span {values.min():g} to {values.max():g}; it must be "
            "gamma <= tau, and magnitudes are finite and >= 0: take absolute values."
        )
    ordered = -np.sort(-values, axis=1)
    full, kept = ordered[:, n_full - 1, None], ordered[:, n_kept - 1, None]
    scores = np.where(values < full, values / np.where(full > 0, full, 1), values > 0)
    relaxed: Array = np.where(values >= kept, scores, 0.0)
    return relaxed


def _ordered(mean_map: npt.ArrayLike, top_k: int) -> Array:
    flat = np.asarray(mean_map, dtype=np.float64).ravel()
    if not np.isfinite(flat).all() or flat.min() < 0 or flat.max() > 1 or not 1 <= top_k <= flat.size:
        raise ValueError(
            f"the mean map spans {flat.min():g} to {flat.max():g} over {flat.size} cells and top_k is {top_k}; scores "
            "lie in [0, 1] and top_k in [1, number of cells]. Pass shares (counts / m) or relaxed scores."
        )
    ordered: Array = -np.sort(-flat)
    return ordered
