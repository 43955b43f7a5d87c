"""The gray levels of integer pixels. What a display makes of a pixel depends on its value only: once a level is enough.

The largest images have 100 million pixels, and 65,536 levels at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_BLOCK_ROWS = 64

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GrayLevels:
    """The values that occur in an image.

    Attributes:
        values: each once, in the type of the pixels, shape [N].
        counts: how many of the pixels that count have each, shape [N]; 0 where only other pixels have it.
    """

    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]

    def counted(self) -> npt.NDArray[Any]:
        """The values of the pixels that count, each once."""
        return self.values[self.counts > 0]


def gray_levels(pixels: npt.NDArray[Any], left_out: Mask | None = None) -> GrayLevels:
    """Find the levels of an image.

    Args:
        pixels: signed or unsigned integers of 8 or 16 bits, shape [H, W].
        left_out: pixels that do not count, shape [H, W]; None if all do.
    """
    codes = _codes(pixels)
    found = _histogram(codes)
    counts = found if left_out is None else found - _histogram(codes, left_out)
    present = np.flatnonzero(found)
    return GrayLevels(present.astype(codes.dtype).view(pixels.dtype), counts[present])


def spread(pixels: npt.NDArray[Any], levels: GrayLevels, shown: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Give each pixel what its level became, rounded to float32.

    Args:
        pixels: those that the levels were found in, shape [H, W].
        levels: of them.
        shown: a value for each level, shape [N].
    """
    codes = _codes(pixels)
    table = np.zeros(_size(codes), dtype=np.float32)
    table[_codes(levels.values)] = shown
    image = np.empty(pixels.shape, dtype=np.float32)
    for rows in _blocks(codes):
        image[rows] = table[codes[rows]]
    return image


def _codes(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same bits without a sign: indices."""
    return pixels.view(pixels.dtype.str.replace("i", "u"))


def _size(codes: npt.NDArray[Any]) -> int:
    return 1 << 8 * codes.itemsize


def _histogram(codes: npt.NDArray[Any], where: Mask | None = None) -> npt.NDArray[np.int64]:
    total = np.zeros(_size(codes), dtype=np.int64)
    for rows in _blocks(codes):
        block = codes[rows].ravel() if where is None else codes[rows][where[rows]]
        total += np.bincount(block, minlength=total.size)
    return total


def _blocks(pixels: npt.NDArray[Any]) -> Iterator[slice]:
    """Rows in pieces: numpy makes indices of 8 bytes a pixel."""
    return (slice(first, first + _BLOCK_ROWS) for first in range(0, len(pixels), _BLOCK_ROWS))
