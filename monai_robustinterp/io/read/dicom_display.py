"""From stored DICOM pixels to values with air dark: modality LUT, VOI, inversion, padding, in this order.

Linear windows are not applied, since they clip: they are recorded as the range that ``ScaleDisplayRange`` maps to
[0, 1]. Lookup tables and sigmoid windows are not linear, so there is no such range for them: they are applied here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy.special import expit

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_header import first_item, integer, numbers, shown_code, stored_integer, text
from monai_robustinterp.io.read.source_image import LOOKUP_TABLE, DisplaySlope, affine_slope, no_slope

_WIDTHS = 2.0**20

FloatImage = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DisplayedPixels:
    """Values with the range that is shown from black to white.

    Attributes:
        values: float64, shape [H, W].
        low: the value at the dark end.
        high: the value at the bright end.
        source: where the range came from.
        slope: largest change of a value per stored unit; NaN after a lookup table.
        intercept: what the rescale added.
        fixed_range: whether the range is the same for all pixels with this header.
        padded: whether pixels were set to black.
        steps: what was applied to the stored pixels, in order.
        warnings: sentences about what was odd.
    """

    values: FloatImage
    low: float
    high: float
    source: str
    slope: float = 1.0
    intercept: float = 0.0
    fixed_range: bool = True
    padded: bool = False
    steps: tuple[str, ...] = ("stored values",)
    warnings: tuple[str, ...] = ()

    def display_slope(self) -> DisplaySlope:
        """How a change of a stored pixel reaches the display."""
        if math.isnan(self.slope):
            return no_slope(LOOKUP_TABLE)
        if self.padded:
            return no_slope("pixels at the padding value become black: a pixel that takes or leaves it jumps.")
        if not self.fixed_range:
            return no_slope(
                "the header's smallest and largest pixel value are the display range only while all pixels lie between "
                "them, so it depends on the content."
            )
        return affine_slope(self.slope, self.low, self.high, intercept=self.intercept)


def displayed_pixels(stored: npt.NDArray[Any], dataset: Dataset, padding: npt.NDArray[np.bool_]) -> DisplayedPixels:
    """Apply the grayscale pipeline of PS3.3 C.11 and PS3.4 N.2 up to, and without, a linear window.

    Args:
        stored: stored pixels, shape [H, W].
        dataset: their header.
        padding: pixels outside the exposed field, shape [H, W]; they become black.

    Returns:
        Values with air dark.

    Raises:
        InputRefused: if a lookup table is malformed.
    """
    pixels = _with_inversion(_with_voi(_with_modality(stored, dataset, padding), dataset), dataset)
    if not padding.any():
        return pixels
    pixels.values[padding] = pixels.low
    return replace(pixels, padded=True, steps=(*pixels.steps, "padding set to black"))


def padding_mask(stored: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Pixels at PixelPaddingValue, or from there to PixelPaddingRangeLimit; bool, shape [H, W]."""
    first = stored_integer(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = stored_integer(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    return (stored >= low) & (stored <= high)


def _with_modality(stored: npt.NDArray[Any], dataset: Dataset, padding: npt.NDArray[np.bool_]) -> DisplayedPixels:
    """Modality LUT or rescale, with the range that holds where there is no VOI."""
    item, _ = first_item(dataset, "ModalityLUTSequence")
    if item is not None:
        values, top = _lookup(stored, item)
        steps = ("stored values", "modality LUT")
        source = "full output range of the modality LUT"
        return DisplayedPixels(values=values, low=0.0, high=top, source=source, slope=math.nan, steps=steps)
    low, high, source, fixed = _stored_range(stored[~padding], dataset)
    slope, intercept = _rescale(dataset)
    if (slope, intercept) == (1.0, 0.0):
        values = stored.astype(np.float64)
        return DisplayedPixels(values=values, low=low, high=high, source=source, fixed_range=fixed)
    ends = sorted((slope * low + intercept, slope * high + intercept))
    # In place here and below: the largest image takes 800 MB, and the process that reads has 2 GB.
    values = stored * slope
    values += intercept
    return DisplayedPixels(
        values=values,
        low=ends[0],
        high=ends[1],
        source=f"{source}, rescaled",
        slope=abs(slope),
        intercept=intercept,
        fixed_range=fixed,
        steps=("stored values", f"rescale slope {slope:g} intercept {intercept:g}"),
    )


def _rescale(dataset: Dataset) -> tuple[float, float]:
    pair = []
    for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        values = numbers(dataset, keyword)
        if not values and text(dataset, keyword):
            raise InputRefused(f"{keyword} is no number; pixel values depend on it. Export the file again.")
        pair.append(values[0] if values else default)
    return pair[0], pair[1]


def _stored_range(stored: npt.NDArray[Any], dataset: Dataset) -> tuple[float, float, str, bool]:
    """Range, its source, and whether it is the same for all pixels with this header."""
    low, high = stored_integer(dataset, "SmallestImagePixelValue"), stored_integer(dataset, "LargestImagePixelValue")
    stated = (float(low), float(high)) if low is not None and high is not None and low < high else None
    if stated and stated[0] <= stored.min() and stored.max() <= stated[1]:
        return *stated, "header: SmallestImagePixelValue, LargestImagePixelValue", False
    bits = integer(dataset, "BitsStored") or 16
    offset = 2 ** (bits - 1) if integer(dataset, "PixelRepresentation") == 1 else 0
    return float(-offset), float(2**bits - 1 - offset), f"full {bits}-bit range", not stated


def _with_voi(pixels: DisplayedPixels, dataset: Dataset) -> DisplayedPixels:
    """The first VOI LUT table if there is one, else the first window, else the fallback range as it is."""
    item, count = first_item(dataset, "VOILUTSequence")
    if item is not None:
        name = f"VOI LUT table 1 of {count}"
        values, top = _lookup(pixels.values, item)
        steps = (*pixels.steps, name)
        return replace(pixels, values=values, low=0.0, high=top, source=name, slope=math.nan, steps=steps)
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centers and not widths:
        return pixels
    if not centers or not widths:
        return replace(pixels, warnings=("WindowCenter or WindowWidth is missing or no number; the window is ignored",))
    return _with_window(pixels, centers[0], widths[0], len(centers), text(dataset, "VOILUTFunction") or "LINEAR")


def _with_window(pixels: DisplayedPixels, center: float, width: float, count: int, function: str) -> DisplayedPixels:
    name = f"window 1 of {count} ({function})"
    if function == "SIGMOID" and width > 0:
        values = expit(4 * (pixels.values - center) / width)
        # expit is steepest at 0, where its slope is 1/4. Far from 0 its argument would be rounded to steps (L11).
        near = max(abs(center), abs(pixels.intercept)) <= _WIDTHS * width
        return replace(
            pixels,
            values=values,
            low=0.0,
            high=1.0,
            source=name,
            slope=pixels.slope / width if near else math.inf,
            intercept=0.0,
            fixed_range=True,
            steps=(*pixels.steps, name),
        )
    if function == "LINEAR":
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    elif function == "LINEAR_EXACT":
        low, high = center - width / 2, center + width / 2
    else:
        low = high = center
    if not low < high:
        warning = (
            f"window 1 of {count} has function {shown_code(function)} and width {width:g}; LINEAR needs a width above "
            "1, LINEAR_EXACT and SIGMOID above 0; the window is ignored"
        )
        return replace(pixels, warnings=(warning,))
    steps = (*pixels.steps, f"{name} recorded, not applied")
    return replace(pixels, low=low, high=high, source=name, fixed_range=True, steps=steps)


def _with_inversion(pixels: DisplayedPixels, dataset: Dataset) -> DisplayedPixels:
    """Reflect the values in their range where low values are shown bright.

    MONOCHROME1 says so by itself, and DX repeats it as shape INVERSE: that is one inversion, not two.
    """
    photometric, shape = text(dataset, "PhotometricInterpretation"), text(dataset, "PresentationLUTShape")
    if photometric != "MONOCHROME1" and shape != "INVERSE":
        return pixels
    reason = photometric if photometric == "MONOCHROME1" else "PresentationLUTShape INVERSE"
    values = np.subtract(pixels.low + pixels.high, pixels.values, out=pixels.values)
    return replace(pixels, values=values, steps=(*pixels.steps, f"inverted ({reason})"))


def _lookup(values: npt.NDArray[Any], item: Dataset) -> tuple[FloatImage, float]:
    """Map values through a table; those outside it take its first or last entry. Also gives the largest output."""
    try:
        entries, first, bits = (int(v) for v in item.LUTDescriptor)
        table = _table_entries(item, entries % 2**16 or 2**16)
    except Exception:  # malformed tables fail in many ways inside pydicom
        raise InputRefused(
            "A lookup table (modality or VOI LUT) of the file is malformed; its descriptor and data must agree. "
            "Export the image again, with a window instead of a table."
        ) from None
    if first >= 2**15 and values.min() < 0:
        first -= 2**16  # a signed first value that was written as US
    rounded = np.rint(values)
    rounded -= first
    index = np.clip(rounded, 0, table.size - 1, out=rounded).astype(np.int32)
    return table[index].astype(np.float64), float(2**bits - 1)


def _table_entries(item: Dataset, count: int) -> npt.NDArray[Any]:
    element: Any = item.get_item("LUTData")  # raw bytes, whatever the value representation says
    if len(element.value) >= 2 * count:
        table = np.frombuffer(element.value, dtype="<u2" if element.is_little_endian else ">u2")
    else:
        table = np.frombuffer(element.value, dtype=np.uint8)  # 8-bit entries, two to a word
    if table.size < count:
        raise ValueError("the table is shorter than its descriptor says")
    return table[:count]
