"""What every file format is turned into, and the rules that every format must meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.header_text import NO_HEADER, HeaderText
from monai_robustinterp.io.read.limits import allow_pixels

MIN_SIDE = 64
MAX_SIDE = 10_000
SQUARE_WITHIN = 0.02
MOST_ASPECT = 4.0
UNKNOWN_SPACING = (float("nan"), float("nan"))
LOOKUP_TABLE = "a lookup table is a step function, so no bound on its slope exists."

_UP = 1 + 1e-6  # more than float32 loses where the width of the display range divides
FLOAT32_RANGES = 2**7  # float32 has 24 bits: so many ranges from 0, values are still rounded to 16 bits of the range


@dataclass(frozen=True)
class DisplaySlope:
    """How a change of a stored pixel reaches its display value, 0 at ``display_min`` and 1 at ``display_max``.

    Attributes:
        value: largest change of the display value per unit of a stored pixel, rounded up; NaN where there is no bound.
        rho: largest of |black|, |white| and |intercept| over the width of the range, which bounds the round-off (L11);
            NaN where there is no bound.
        margin: l2 norm of a change of the stored pixels within which both hold; NaN where there is no bound.
        reason: a sentence why there is none; "" otherwise.
    """

    value: float
    rho: float
    margin: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class SourceImage:
    """One image, rows first, air dark.

    Attributes:
        stored_pixels: decoded pixels as the file stores them, shape [H, W].
        values: the same after all steps of ``intensity_path``, shape [H, W].
        display_min: the value that is shown black.
        display_max: the value that is shown white; larger than ``display_min`` unless the image is constant.
        display_source: where that range came from.
        intensity_path: the steps from stored pixels to values, in order.
        slope: how a change of a stored pixel reaches its display value.
        file_format: ``DICOM``, ``NIfTI`` or ``image``.
        spacing_mm: distance of rows and of columns in mm, NaN where unknown.
        spacing_source: the attribute that stated it, or ``none``.
        pixel_aspect: height of a pixel over its width.
        dicom_header: header of a DICOM file; "" of other formats.
        header: further entries of the meta dictionary (DICOM codes and UIDs).
        lossy_compression: "JPEG" if the file says that its pixels have been through it; else "".
        warnings: sentences about what is odd but readable.
    """

    stored_pixels: npt.NDArray[Any]
    values: npt.NDArray[Any]
    display_min: float
    display_max: float
    display_source: str
    intensity_path: tuple[str, ...]
    slope: DisplaySlope
    file_format: str
    spacing_mm: tuple[float, float] = UNKNOWN_SPACING
    spacing_source: str = "none"
    pixel_aspect: float = 1.0
    dicom_header: HeaderText = NO_HEADER
    header: dict[str, str] = field(default_factory=dict)
    lossy_compression: str = ""
    warnings: tuple[str, ...] = ()


def affine_slope(
    values_per_stored_unit: float, low: float, high: float, *, intercept: float = 0.0, margin: float = math.inf
) -> DisplaySlope:
    """Slope of values that are affine in the stored pixels, or the reason why there is none.

    Args:
        values_per_stored_unit: largest change of a value per stored unit, >= 0.
        low: the value that is shown black.
        high: the value that is shown white.
        intercept: what is added on the way from stored pixels to values.
        margin: l2 norm of a change of the stored pixels within which the path stays this one.
    """
    largest, width = max(abs(low), abs(high), abs(intercept)), high - low
    if not (0 < largest <= FLOAT32_RANGES * width < math.inf and values_per_stored_unit < math.inf):
        return no_slope("the values are so far from 0, or their range so narrow, that float32 rounds them to steps.")
    return DisplaySlope(values_per_stored_unit / width * _UP, largest / width, margin / _UP, "")


def no_slope(reason: str) -> DisplaySlope:
    """No bound, and a sentence why."""
    return DisplaySlope(math.nan, math.nan, math.nan, reason)


def check_size(rows: int, columns: int) -> None:
    """Check the size that a header states, before anything of that size is allocated.

    Raises:
        InputRefused: if a side is below 64 or above 10000 pixels.
    """
    if min(rows, columns) < MIN_SIDE or max(rows, columns) > MAX_SIDE:
        raise InputRefused(
            f"The image has {rows} rows and {columns} columns; each must be {MIN_SIDE} to {MAX_SIDE} pixels. "
            "Give the original radiograph, neither a thumbnail nor a mosaic."
        )
    allow_pixels(rows, columns)


def checked_aspect(spacing: Sequence[float]) -> float:
    """Height of a pixel over its width; 1 where it is unknown, or within 2 % of it.

    Args:
        spacing: distance of rows and of columns in any unit, NaN where unknown.

    Raises:
        InputRefused: if it is above 4 or below a quarter.
    """
    aspect = spacing[0] / spacing[1]
    if math.isnan(aspect) or abs(aspect - 1) <= SQUARE_WITHIN:
        return 1.0
    if not 1 / MOST_ASPECT <= aspect <= MOST_ASPECT:
        raise InputRefused(
            f"The pixels are {aspect:.3g} times as high as wide; this must be {1 / MOST_ASPECT:g} to {MOST_ASPECT:g}. "
            "Check the spacing and the aspect ratio that the file states, and export it again."
        )
    return aspect


def aspect_warnings(aspect: float) -> tuple[str, ...]:
    """What to say of pixels that are not square."""
    if aspect == 1:
        return ()
    return (
        f"the pixels are {aspect:.3g} times as high as wide: the crop takes the part that is square in mm, and "
        "preprocessing without it squeezes the image",
    )


def check_content(values: npt.NDArray[Any]) -> None:
    """Check that there is something to explain.

    Raises:
        InputRefused: if a value is NaN or infinite, or all values are equal.
    """
    # The least and the largest value are NaN or infinite if any value is.
    ends = (values.min(), values.max()) if values.size else ()
    if not np.isfinite(ends).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        raise InputRefused(
            f"{count} of {values.size} pixels are NaN or infinite; every pixel must be a finite number. "
            "Export the image again without masking."
        )
    if not ends or ends[0] == ends[1]:
        raise InputRefused(
            "All pixels have the same value; a radiograph has at least two. "
            "Check the exposure and the export: there is nothing to explain in this image."
        )


def has_jpeg_end(stream: bytes) -> bool:
    """Whether a stream of the JPEG family (JPEG, JPEG-LS, JPEG 2000) has its end marker, after its last scan.

    Not every decoder minds: where an application sets ``LOAD_TRUNCATED_IMAGES``, Pillow fills up a cut image with gray.
    """
    return stream.rfind(b"\xff\xd9") > stream.rfind(b"\xff\xda")
