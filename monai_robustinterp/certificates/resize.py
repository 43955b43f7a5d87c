"""Norms of the resize between the detector and the network: how much it can magnify a perturbation (T17)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ResizeNorms:
    """Operator norms of a separable resize, rounded up.

    Attributes:
        l2: the largest ||R d||_2 / ||d||_2.
        l_inf: the largest ||R d||_inf / ||d||_inf.
    """

    l2: float
    l_inf: float


def area_resize_matrix(size_in: int, size_out: int) -> Array:
    """One axis of MONAI's ``Resized(mode="area")``, which is torch's adaptive average pooling.

    Output i is the mean of the inputs floor(i in/out) to ceil((i + 1) in/out) - 1. Windows overlap where the sizes do
    not divide; an image is resized by the Kronecker product of its two axes' matrices. A crop before it adds zero
    columns, which change no norm.

    Args:
        size_in: pixels before, >= 1.
        size_out: pixels after, >= 1; may be the larger one.

    Returns:
        The matrix, float64, shape [size_out, size_in].

    Raises:
        ValueError: if a size is below 1.
    """
    if size_in < 1 or size_out < 1:
        raise ValueError(f"the sizes are {size_in} and {size_out}; an axis has at least 1 pixel: pass the image's own.")
    output = np.arange(size_out)
    start = output * size_in // size_out
    end = -(-(output + 1) * size_in // size_out)
    pixel = np.arange(size_in)
    inside = (pixel >= start[:, None]) & (pixel < end[:, None])
    matrix: Array = inside / (end - start)[:, None]
    return matrix


def resize_norms(rows: Array, columns: Array) -> ResizeNorms:
    """Norms of the two-dimensional resize whose axes have these matrices (any separable linear kernel).

    The norms of a Kronecker product are the products: largest singular values for l2, largest absolute row sums for
    l_inf.

    Args:
        rows: matrix along the rows, shape [out, in].
        columns: matrix along the columns, shape [out, in].
    """
    l2 = l_inf = 1.0
    for matrix in (rows, columns):
        # With p rows and q columns, rounding moves the eigenvalues of the Gram matrix by at most q eps || |R||R|' ||_2
        # <= q eps ||R||_F^2 <= p q eps ||R||_2^2, and LAPACK by a small multiple of p eps ||R||_2^2. Rounded up, then.
        margin = 1 + 8 * matrix.size * np.finfo(np.float64).eps
        gram = matrix @ matrix.T if len(matrix) <= len(matrix.T) else matrix.T @ matrix
        l2 *= math.sqrt(np.linalg.eigvalsh(gram)[-1]) * margin
        l_inf *= float(np.abs(matrix).sum(axis=1).max()) * margin
    return ResizeNorms(l2=l2, l_inf=l_inf)


_U = 2.0**-24


def display_round_off(rho: float) -> float:
    """Upper bound of |computed - exact| of a display value in [0, 1] in float32 (L11).

    Args:
        rho: largest of |black|, |white| and |intercept| over the width of the display range.
    """
    return (8 * rho + 5) * _U


def resize_round_off(input_shape: tuple[int, int], output_shape: tuple[int, int], *, display: float) -> float:
    """Upper bound of ||computed - exact||_2 of the network's input in float32, for clipped display values (L12).

    It holds for any order in which the values of a window are added up.

    Args:
        input_shape: height and width before the resize, after a crop.
        output_shape: height and width of the network's input.
        display: bound of a display value, :func:`display_round_off`.
    """
    window = math.prod(
        max(-(-(i + 1) * size_in // size_out) - i * size_in // size_out for i in range(size_out))
        for size_in, size_out in zip(input_shape, output_shape)
    )
    mean = (sum_round_off(window) / (2 * window) + 3) * _U
    return math.sqrt(math.prod(output_shape)) * (display + mean) * (1 + 2**-20)


def sum_round_off(window: int) -> int:
    """F(w), the sum of 2^ceil(log2 j) for j = 2 .. w: w values in [0, 1] are summed to within F u / 2 (L12)."""
    full = (window - 1).bit_length()  # w lies in (2^(full - 1), 2^full]
    return (4**full // 4 - 1) * 2 // 3 + (window - 2**full // 2) * 2**full if window > 1 else 0
