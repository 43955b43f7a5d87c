"""Neyman-Pearson certificate (Cohen et al. 2019; Levine et al. 2019), T2 of docs/theory/map.md: what holds furthest."""

from __future__ import annotations

import numpy.typing as npt
from scipy.special import ndtri

from monai_robustinterp.certificates.overlap import BetaLike, Boundary, boundary


def neyman_pearson_radius(q: npt.ArrayLike, *, top_k: int, beta: BetaLike, sigma: float) -> float:
    """Sigma / 2 * (Phi^-1(q_(k-s+1)) - Phi^-1(q_(k+s))), with q sorted in descending order.

    Args:
        q: vote map in [0, 1], any shape, sum ``top_k``.
        top_k: k, a number of cells.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        sigma: standard deviation of the smoothing noise.

    Returns:
        The radius in the units of sigma; 0 is no claim; infinity where a share is exactly 0 or 1.

    Raises:
        ValueError: for an invalid vote map, k or beta.
    """
    return boundary_radius(boundary(q, top_k=top_k, beta=beta), sigma=sigma)


def boundary_radius(edge: Boundary, *, sigma: float) -> float:
    """The radius from the deciding cells (true shares, or bounds on them)."""
    largest_inside, smallest_outside = edge.inside[0], edge.outside[-1]
    if largest_inside <= smallest_outside:
        return 0.0
    return float(sigma / 2 * (ndtri(largest_inside) - ndtri(smallest_outside)))
