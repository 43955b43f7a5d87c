"""Whether a display range fits the pixels that it is for, and the range of the bits that pixels use.

A header may claim 16 bits for 12 bits of data, or state a window that lies beside them: the network would see black.
What is found here depends on the pixels, so each answer comes with the change of the pixels within which it stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_SD = 0.02
"""Least standard deviation of display values in [0, 1]; a radiograph has 0.1 and more."""
MOST_CLIPPED = 0.9
"""Least share of pixels that are black or white in a range that does not fit."""

_UNSEEN = 1 / 512  # what lies so near to black or white is rounded to it on a display of 8 bits
_SPARE_BITS = 3
_LEAST_BITS = 8
_BINS = 2**12

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RangeFit:
    """How pixels look in a display range.

    Attributes:
        deviation: standard deviation of the clipped display values, black 0 and white 1.
        clipped: share of the pixels that are black or white.
        margin: l2 norm of a change of the display values that the range at least stands before it does not fit.
    """

    deviation: float
    clipped: float
    margin: float

    @property
    def fits(self) -> bool:
        """Whether there is something to see."""
        return self.deviation >= LEAST_SD and self.clipped < MOST_CLIPPED


@dataclass(frozen=True)
class UsedRange:
    """The full range of the bits that pixels use.

    Attributes:
        low: smallest value.
        high: largest value.
        bits: how many they are.
        margin: l2 norm of a change of the pixels within which the range stays this one; 0 if it is smaller than the
            header's, infinite if no pixels would make it smaller.
    """

    low: float
    high: float
    bits: int
    margin: float


def range_fit(values: npt.NDArray[Any], counts: Counts, low: float, high: float) -> RangeFit:
    """Look at values in a display range.

    Args:
        values: of the pixels, shape [N].
        counts: how many pixels have each, shape [N], not all 0.
        low: the value that is shown black.
        high: the value that is shown white, above ``low``.
    """
    display = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    to_end = np.minimum(display, 1 - display) - _UNSEEN
    size, clipped, seen = int(counts.sum()), int(counts[to_end <= 0].sum()), to_end > 0
    mean = float(display @ counts) / size
    deviation = math.sqrt(float((display - mean) ** 2 @ counts) / size)
    fit = RangeFit(deviation, clipped / size, 0.0)
    if not fit.fits:
        return fit
    # Clipping shortens changes, and the standard deviation is a distance over the square root of the size.
    flattened = (deviation - LEAST_SD) * math.sqrt(size)
    missing = math.ceil(MOST_CLIPPED * size) - clipped
    # Pixels by their distance from black or white, whichever is nearer.
    nearness = np.bincount((to_end[seen] * (2 * _BINS)).astype(np.intp), counts[seen], minlength=_BINS)
    taken = np.diff(np.minimum(np.cumsum(nearness), missing), prepend=0)
    moved = float(np.linalg.norm(np.sqrt(taken) * np.arange(_BINS) / (2 * _BINS)))
    return RangeFit(deviation, fit.clipped, min(flattened, moved))


def range_in_use(values: npt.NDArray[Any], counts: Counts, *, bits: int, signed: bool) -> UsedRange:
    """The full range of ``bits``, or the smallest one that holds the values if that is at most an eighth of it.

    Args:
        values: of the pixels, shape [N].
        counts: how many pixels have each, shape [N], not all 0.
        bits: that the header claims.
        signed: whether half of the range is below 0.
    """
    found = values[counts > 0].astype(np.float64)
    most, smallest, largest = bits - _SPARE_BITS, float(found.min()), float(found.max())
    for count in range(_LEAST_BITS, most + 1):
        for low in _starts(count, signed):
            if low <= smallest and largest < low + 2**count:
                return UsedRange(float(low), float(low + 2**count - 1), count, 0.0)
    low = -(2 ** (bits - 1)) if signed else 0
    margin = math.inf
    for start in _starts(most, signed) if most >= _LEAST_BITS else ():
        beyond = found - np.clip(found, start, start + 2**most - 1)
        margin = min(margin, math.sqrt(float(beyond**2 @ counts[counts > 0])))
    return UsedRange(float(low), float(low + 2**bits - 1), bits, margin)


def _starts(count: int, signed: bool) -> tuple[int, ...]:
    return (0, -(2 ** (count - 1))) if signed else (0,)


def bits_warning(bits: int, claimed: int) -> str:
    """The sentence about pixels that use fewer bits than the header claims."""
    return (
        f"{claimed} bits are claimed and all pixel values lie in {bits}: the range of {bits} bits is shown, which "
        "depends on the content. State a window, or the bits in use, to fix it"
    )


BITS_DEPEND_ON_CONTENT = "the display range is that of the bits that the pixels use, so it depends on the content."
