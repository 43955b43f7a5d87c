"""The claim in whole cells: how many must stay, how many must be swapped to break it (D8, L1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

BetaLike = str | float | int | Fraction


@dataclass(frozen=True)
class Boundary:
    """The cells that decide the claim, from a vote map sorted in descending order.

    Attributes:
        inside: the s smallest values of the top-k set, descending, shape [s].
        outside: the s largest values outside it, descending, shape [s].
        top_k: k.
    """

    inside: npt.NDArray[np.float64]
    outside: npt.NDArray[np.float64]
    top_k: int

    @property
    def contested(self) -> Boundary:
        """Without the cells on the right side of every common value that a swap can have (L5).

        That value lies between the lowest outside and the highest inside; cells beyond these are never tied to it.
        """
        inside, outside = self.inside, self.outside
        return Boundary(
            inside=inside[inside > outside.min()], outside=outside[outside < inside.max()], top_k=self.top_k
        )


def exact_beta(beta: BetaLike) -> Fraction:
    """The decimal that was written, exactly: 0.9 is 9/10 and not the nearest float.

    Raises:
        ValueError: if beta is no decimal in (0, 1].
    """
    try:
        # As an exact number 1e-999999999 would fill the memory; as a float it is 0.
        if isinstance(beta, str) and "/" not in beta and not 0 < float(beta) <= 1:
            raise ValueError
        # float() unwraps numpy scalars, whose repr is not a decimal.
        exact = Fraction(beta if isinstance(beta, str | int | Fraction) else repr(float(beta)))
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        exact = Fraction(0)
    if not 0 < exact <= 1:
        raise ValueError(f"beta is {beta!r}; it must be a decimal in (0, 1], such as 0.5.")
    return exact


def required_overlap(top_k: int, beta: BetaLike) -> int:
    """ceil(beta * k): the number of cells of the top-k set that must stay."""
    return math.ceil(exact_beta(beta) * top_k)


def swap_count(top_k: int, beta: BetaLike, n_cells: int) -> int:
    """S = k - ceil(beta k) + 1: the number of cells that must be swapped to break the claim.

    Args:
        top_k: k.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        n_cells: c, the number of cells of the map.

    Raises:
        ValueError: if k does not fit into the map, or if no s cells can be swapped at all (k + s > c), where the claim
            would hold trivially.
    """
    if isinstance(top_k, bool) or int(top_k) != top_k or not 1 <= top_k <= n_cells:
        raise ValueError(f"top_k is {top_k}; it must be a whole number of cells in [1, {n_cells}].")
    s = int(top_k) - required_overlap(int(top_k), beta) + 1
    if top_k + s > n_cells:
        raise ValueError(
            f"top_k = {top_k} of {n_cells} cells at beta = {beta} leaves fewer than s = {s} cells to swap with: the "
            f"claim is trivially true. Choose top_k with k + s <= {n_cells}."
        )
    return s


def boundary(q: npt.ArrayLike, *, top_k: int, beta: BetaLike) -> Boundary:
    """Checks a vote map and cuts out the cells that decide the claim.

    Args:
        q: vote map in [0, 1], any shape, sum ``top_k``.
        top_k: k.
        beta: certified share of the top-k.

    Raises:
        ValueError: if q is no vote map, or the claim is trivial.
    """
    flat = np.asarray(q, dtype=np.float64).ravel()
    s = swap_count(top_k, beta, flat.size)
    if not np.isfinite(flat).all() or flat.min() < 0 or flat.max() > 1:
        raise ValueError("the vote map has values that are not in [0, 1]: it must hold the share of copies per cell.")
    if abs(flat.sum() - top_k) > 1e-6 * top_k:
        raise ValueError(
            f"the vote map sums to {flat.sum():.9g} and top_k is {top_k}: a vote map sums to top_k. Pass the shares "
            f"(counts / m), not counts or a map normalized to sum 1."
        )
    ordered = -np.sort(-flat)
    return Boundary(inside=ordered[top_k - s : top_k], outside=ordered[top_k : top_k + s], top_k=int(top_k))
