"""How a presentation state shows the source image: by the table or window of its header that the reader took."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from monai_robustinterp.io.read.dicom_header import items, numbers, text
from monai_robustinterp.io.read.lookup_table import is_empty

_ASPECT_TERMS = 1000  # numerator and denominator at most of a pixel's aspect


def show_as_read(made: Dataset, header: Dataset, meta: Mapping[str, Any]) -> None:
    """Gives a grayscale state the modality transformation, the window or table, and the polarity of its image.

    What a state leaves out is not taken from the image: without a window the film would be shown without one.

    Args:
        made: the state; changed in place.
        header: of the source.
        meta: what the reader said of it: display range, and where that came from.
    """
    _modality(made, header)
    made.SoftcopyVOILUTSequence = [_voi(header, meta)]
    inverse = (
        text(header, "PhotometricInterpretation") == "MONOCHROME1" or text(header, "PresentationLUTShape") == "INVERSE"
    )
    made.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def show_pixels_as_they_are(made: Dataset, meta: Mapping[str, Any]) -> None:
    """Gives the displayed area the shape of the source's pixels, in mm where it is known."""
    area = made.DisplayedAreaSelectionSequence[0]
    spacing = np.asarray(meta["spacing_mm"], dtype=np.float64)
    if not np.isnan(spacing).any():
        del area.PresentationPixelAspectRatio
        area.PresentationPixelSpacing = [format_number_as_ds(float(value)) for value in spacing]
    elif meta["pixel_aspect"] != 1:
        aspect = Fraction(float(meta["pixel_aspect"])).limit_denominator(_ASPECT_TERMS)
        area.PresentationPixelAspectRatio = [aspect.numerator, aspect.denominator]


def _modality(made: Dataset, header: Dataset) -> None:
    tables = [item for item in items(header, "ModalityLUTSequence")[:1] if not is_empty(item)]
    if tables:
        table = _table(tables[0])
        table.ModalityLUTType = "US"
        made.ModalityLUTSequence = [table]
        return
    slope, intercept = numbers(header, "RescaleSlope"), numbers(header, "RescaleIntercept")
    if slope or intercept:
        made.RescaleSlope = format_number_as_ds(slope[0] if slope else 1.0)
        made.RescaleIntercept = format_number_as_ds(intercept[0] if intercept else 0.0)
        made.RescaleType = "US"


def _voi(header: Dataset, meta: Mapping[str, Any]) -> Dataset:
    voi, shown = Dataset(), str(meta["display_source"])
    table, window = (re.match(rf"{kind} (\d+) of", shown) for kind in ("VOI LUT table", "window"))
    if table:
        voi.VOILUTSequence = [_table(items(header, "VOILUTSequence")[int(table[1]) - 1])]
        return voi
    if window:
        center, width = (numbers(header, keyword)[int(window[1]) - 1] for keyword in ("WindowCenter", "WindowWidth"))
        function = text(header, "VOILUTFunction")
    else:
        low, high = float(meta["display_min"]), float(meta["display_max"])
        center, width, function = (low + high + 1) / 2, high - low + 1, ""
    voi.WindowCenter, voi.WindowWidth = format_number_as_ds(center), format_number_as_ds(width)
    if function:
        voi.VOILUTFunction = function
    return voi


def _table(item: Dataset) -> Dataset:
    table = Dataset()
    for keyword in ("LUTDescriptor", "LUTData"):
        table[keyword] = copy.deepcopy(item[keyword])
    return table
