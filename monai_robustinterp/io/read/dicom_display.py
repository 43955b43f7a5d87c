"""From stored DICOM pixels to values with air dark: modality LUT, VOI, inversion, padding, in this order.

Linear windows are not applied, since they clip: they are recorded as the range that ``ScaleDisplayRange`` maps to
[0, 1]. Lookup tables and sigmoid windows are not linear, so there is no such range for them: they are applied here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy.special import expit

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_header import integer, items, numbers, shown_term, stored_integer, text
from monai_robustinterp.io.read.display_fit import (
    BITS_DEPEND_ON_CONTENT,
    MOST_CLIPPED,
    Counts,
    bits_warning,
    range_fit,
    range_in_use,
)
from monai_robustinterp.io.read.gray_levels import GrayLevels
from monai_robustinterp.io.read.lookup_table import is_empty, look_up
from monai_robustinterp.io.read.source_image import LOOKUP_TABLE, DisplaySlope, affine_slope, no_slope

_WIDTHS = 2.0**20
_MOST_TRIED = 8  # tables, and windows, of one file
_ROUND_OFF = 1e-9  # of a standard deviation of display values
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_STATED_RANGE = (
    "the header's smallest and largest pixel value are the display range only while all pixels lie between them, so it "
    "depends on the content."
)
_ANOTHER_RANGE = "a table or window of the header does not fit the pixels, so the display range depends on the content."


@dataclass(frozen=True, kw_only=True)
class DisplayedLevels:
    """Values of gray levels with the range that is shown from black to white.

    Attributes:
        values: integers where no step needs more, else float64; shape [N], one for each level.
        low: the value at the dark end.
        high: the value at the bright end.
        source: where the range came from.
        slope: largest change of a value per stored unit; NaN after a lookup table.
        intercept: what the rescale added.
        content: why the range depends on the content; "" if it does not within ``margin``.
        margin: l2 norm of a change of the stored pixels within which the range stays this one.
        padded: whether pixels were set to black.
        steps: what was applied to the stored pixels, in order.
        range_warning: what is odd about a range that no table or window stated; "" if nothing is.
        warnings: sentences about what was odd.
    """

    values: npt.NDArray[Any]
    low: float
    high: float
    source: str
    slope: float = 1.0
    intercept: float = 0.0
    content: str = ""
    margin: float = math.inf
    padded: bool = False
    steps: tuple[str, ...] = ("stored values",)
    range_warning: str = ""
    warnings: tuple[str, ...] = ()

    def display_slope(self) -> DisplaySlope:
        """How a change of a stored pixel reaches the display."""
        if math.isnan(self.slope):
            return no_slope(LOOKUP_TABLE)
        if self.padded:
            return no_slope("pixels at the padding value become black: a pixel that takes or leaves it jumps.")
        if self.content:
            return no_slope(self.content)
        return affine_slope(self.slope, self.low, self.high, intercept=self.intercept, margin=self.margin)


def displayed_levels(levels: GrayLevels, dataset: Dataset, *, padded: bool) -> DisplayedLevels:
    """Apply the grayscale pipeline of PS3.3 C.11 and PS3.4 N.2 up to, and without, a linear window.

    Args:
        levels: of the stored pixels; those that count are the exposed ones, at least one.
        dataset: their header.
        padded: whether there are pixels outside the exposed field, which are to become black.

    Returns:
        Values with air dark.

    Raises:
        InputRefused: if a lookup table is malformed.
    """
    display = _with_inversion(_with_voi(_with_modality(levels, dataset), dataset, levels.counts), dataset)
    return replace(display, padded=True, steps=(*display.steps, "padding set to black")) if padded else display


def _with_modality(levels: GrayLevels, dataset: Dataset) -> DisplayedLevels:
    """Modality LUT or rescale, with the range that holds where there is no VOI."""
    bits, signed = integer(dataset, "BitsStored") or 16, integer(dataset, "PixelRepresentation") == 1
    tables = items(dataset, "ModalityLUTSequence")
    if tables and not is_empty(tables[0]):
        table = look_up(levels.values, tables[0], lowest=-(2.0 ** (bits - 1)) if signed else 0.0)
        _check_contrast(table.values[levels.counts > 0], tables[0])
        used = range_in_use(table.values, levels.counts, bits=table.bits, signed=False)
        whole = used.bits == table.bits
        return DisplayedLevels(
            values=table.values,
            low=0.0,
            high=used.high,
            source="full output range of the modality LUT" if whole else f"{used.bits}-bit range in use",
            slope=math.nan,
            steps=("stored values", "modality LUT"),
            range_warning="" if whole else bits_warning(used.bits, table.bits),
            warnings=table.warnings,
        )
    display = _stored_range(levels, dataset)
    if tables:
        display = replace(display, warnings=("ModalityLUTSequence has an empty item: it is ignored",))
    slope, intercept = _rescale(dataset)
    if (slope, intercept) == (1.0, 0.0):
        return display
    ends = sorted((slope * display.low + intercept, slope * display.high + intercept))
    return replace(
        display,
        values=display.values.astype(np.float64) * slope + intercept,
        low=ends[0],
        high=ends[1],
        source=f"{display.source}, rescaled",
        slope=abs(slope),
        intercept=intercept,
        steps=("stored values", f"rescale slope {slope:g} intercept {intercept:g}"),
    )


def _check_contrast(values: npt.NDArray[Any], table: Dataset) -> None:
    if values.min() == values.max():
        count, _, bits = (int(number) for number in table.LUTDescriptor)
        raise InputRefused(
            f"The modality LUT gives all pixels the same value, and its descriptor states {count} entries of {bits} "
            "bits; a table must tell the pixels apart, with an entry for each of their values and 8 to 16 bits. Export "
            "the image again, with RescaleSlope and RescaleIntercept instead of a table."
        )


def _rescale(dataset: Dataset) -> tuple[float, float]:
    pair = []
    for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        values = numbers(dataset, keyword)
        if not values and text(dataset, keyword):
            raise InputRefused(f"{keyword} is no number; pixel values depend on it. Export the file again.")
        pair.append(values[0] if values else default)
    return pair[0], pair[1]


def _stored_range(levels: GrayLevels, dataset: Dataset) -> DisplayedLevels:
    """Stored values as they are, with the range that the header states or that their bits have."""
    low, high = stored_integer(dataset, "SmallestImagePixelValue"), stored_integer(dataset, "LargestImagePixelValue")
    stated, found = low is not None and high is not None and low < high, levels.counted()
    if low is not None and high is not None and stated and low <= found.min() and found.max() <= high:
        source = "header: SmallestImagePixelValue, LargestImagePixelValue"
        return DisplayedLevels(values=levels.values, low=low, high=high, source=source, content=_STATED_RANGE)
    bits = integer(dataset, "BitsStored") or 16
    used = range_in_use(levels.values, levels.counts, bits=bits, signed=integer(dataset, "PixelRepresentation") == 1)
    whole = used.bits == bits
    return DisplayedLevels(
        values=levels.values,
        low=used.low,
        high=used.high,
        source=f"full {bits}-bit range" if whole else f"{used.bits}-bit range in use",
        content=_STATED_RANGE if stated else "" if whole else BITS_DEPEND_ON_CONTENT,
        margin=used.margin,
        range_warning="" if whole else bits_warning(used.bits, bits),
    )


def _with_voi(display: DisplayedLevels, dataset: Dataset, counts: Counts) -> DisplayedLevels:
    """The first VOI LUT table that fits the pixels, else the first such window, else the fallback range as it is.

    Where none of them fits, the fallback neither, the one that shows most is taken.
    """
    unused: list[str] = []
    misfit: tuple[float, DisplayedLevels] | None = None
    for voi in _voi(display, dataset):
        if isinstance(voi, str):
            unused.append(voi)
            continue
        fit = range_fit(voi.values, counts, voi.low, voi.high)
        if fit.fits:
            margin = fit.margin / (voi.slope / (voi.high - voi.low)) if voi.slope > 0 else math.inf
            content = _ANOTHER_RANGE if misfit else ""
            return replace(voi, content=content, margin=margin, warnings=(*voi.warnings, *unused))
        visible = 0.0 if fit.clipped >= MOST_CLIPPED else fit.deviation
        if misfit is None or visible > misfit[0]:
            misfit = visible, voi
        unused.append(
            f"{voi.source} does not fit the pixels: {fit.clipped:.0%} of them would be black or white, with a standard "
            f"deviation of {fit.deviation:.3f}"
        )
    content = display.content
    if misfit and display.low < display.high:
        content = _ANOTHER_RANGE
        whole = range_fit(display.values, counts, display.low, display.high)
        most, voi = misfit
        if not whole.fits and most > whole.deviation + _ROUND_OFF:
            return replace(voi, content=content, warnings=(*voi.warnings, *unused))
        unused[-1] += f"; the {display.source} is shown"
    warnings = (*display.warnings, *unused, *filter(None, (display.range_warning,)))
    return replace(display, content=content, warnings=warnings)


def _voi(display: DisplayedLevels, dataset: Dataset) -> Iterator[DisplayedLevels | str]:
    """What the header offers, in order; a sentence for what cannot be used."""
    tables = items(dataset, "VOILUTSequence")
    for number, item in enumerate(tables[:_MOST_TRIED], start=1):
        name = f"VOI LUT table {number} of {len(tables)}"
        if is_empty(item):
            yield f"{name} is empty: it is ignored"
            continue
        table = look_up(display.values, item, lowest=min(display.low, display.intercept))
        yield replace(
            display,
            values=table.values,
            low=0.0,
            high=2.0**table.bits - 1,
            source=name,
            slope=math.nan,
            steps=(*display.steps, name),
            warnings=(*display.warnings, *table.warnings),
        )
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if bool(centers) != bool(widths):
        yield "WindowCenter or WindowWidth is missing or no number; the window is ignored"
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    for number, (center, width) in enumerate(zip(centers[:_MOST_TRIED], widths), start=1):
        yield _window(display, center, width, f"window {number} of {len(centers)}", function)


def _window(display: DisplayedLevels, center: float, width: float, name: str, function: str) -> DisplayedLevels | str:
    shown = f"{name} ({function})"
    if function == "SIGMOID" and width > 0:
        # expit is steepest at 0, where its slope is 1/4. Far from 0 its argument would be rounded to steps (L11).
        near = max(abs(center), abs(display.intercept)) <= _WIDTHS * width
        return replace(
            display,
            values=expit(4 * (display.values.astype(np.float64) - center) / width),
            low=0.0,
            high=1.0,
            source=shown,
            slope=display.slope / width if near else math.inf,
            intercept=0.0,
            steps=(*display.steps, shown),
        )
    low = high = center
    if function == "LINEAR":
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    elif function == "LINEAR_EXACT":
        low, high = center - width / 2, center + width / 2
    if not low < high:
        return (
            f"{name} has function {shown_term(function, _FUNCTIONS)} and width {width:g}; LINEAR needs a width above "
            "1, LINEAR_EXACT and SIGMOID above 0; the window is ignored"
        )
    return replace(display, low=low, high=high, source=shown, steps=(*display.steps, f"{shown} recorded, not applied"))


def _with_inversion(display: DisplayedLevels, dataset: Dataset) -> DisplayedLevels:
    """Reflect the values in their range where low values are shown bright.

    MONOCHROME1 says so by itself, and DX repeats it as shape INVERSE: that is one inversion, not two.
    """
    photometric, shape = text(dataset, "PhotometricInterpretation"), text(dataset, "PresentationLUTShape")
    if photometric != "MONOCHROME1" and shape != "INVERSE":
        return display
    reason = photometric if photometric == "MONOCHROME1" else "PresentationLUTShape INVERSE"
    values = display.low + display.high - display.values.astype(np.float64)
    return replace(display, values=values, steps=(*display.steps, f"inverted ({reason})"))
