"""DICOM files: CR, DX, RG and Secondary Capture objects of one grayscale frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_admission import (
    admission_concerns,
    body_part,
    display_oddities,
    view_position,
)
from monai_robustinterp.io.read.dicom_dataset import parse_dicom
from monai_robustinterp.io.read.dicom_display import DisplayedLevels, displayed_levels
from monai_robustinterp.io.read.dicom_header import header_meta, lossy_compression, pixel_aspect, pixel_spacing
from monai_robustinterp.io.read.dicom_padding import find_padding
from monai_robustinterp.io.read.dicom_pixels import stored_pixels
from monai_robustinterp.io.read.dicom_shutter import find_shutter
from monai_robustinterp.io.read.gray_levels import GrayLevels, Mask, gray_levels, spread
from monai_robustinterp.io.read.header_text import HeaderText
from monai_robustinterp.io.read.source_image import SourceImage, aspect_warnings, check_content, no_slope

# Of gray values; captures in color often keep those of their source.
_GRAYSCALE = (
    "ModalityLUTSequence",
    "PresentationLUTShape",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)

_META_START = 132  # behind preamble and prefix
_PIECE = 2**24


def read_dicom(content: bytes, *, strict: bool) -> SourceImage:
    """Read one DICOM file.

    Args:
        content: of a file that begins like DICOM.
        strict: refuse, instead of warn about, what seems to be no chest radiograph for presentation.

    Returns:
        The image with air dark.

    Raises:
        InputRefused: if it is no readable grayscale radiograph.
    """
    dataset, found = parse_dicom(content)
    # Copied before decoding: pydicom's decoders convert some of these elements.
    header = header_meta(dataset) | {"body_part": body_part(dataset), "view_position": view_position(dataset)}
    compression = lossy_compression(dataset)
    stored = stored_pixels(dataset)
    concerns = admission_concerns(dataset)
    if strict and concerns:
        raise InputRefused(
            f"{'; '.join(concerns)}. A strict reader takes chest radiographs for presentation only: give another "
            "image, or read with strict=False if the header is wrong and the image was looked at."
        )
    padding = find_padding(stored.values, dataset)
    shutter = find_shutter(dataset, stored.values.shape)
    black, of_black = _either(padding.mask, shutter.mask), (*filter(None, (padding.warning,)), *shutter.warnings)
    levels = gray_levels(stored.values, black)
    check_content(levels.counted())  # one value beside padding is no content either
    if stored.in_color:
        _delete_grayscale(dataset)
    display = displayed_levels(levels, dataset, padded=padding.mask is not None)
    spacing_mm, spacing_source = pixel_spacing(dataset)
    aspect = pixel_aspect(dataset, spacing_mm)
    oddities = (*display_oddities(dataset), *aspect_warnings(aspect))
    return SourceImage(
        stored_pixels=stored.values,
        values=_displayed(stored.values, levels, display, black),
        display_min=display.low,
        display_max=display.high,
        display_source=display.source,
        intensity_path=(*display.steps[:1], *filter(None, (stored.step,)), *display.steps[1:], *shutter.steps),
        slope=no_slope(stored.content) if stored.content else display.display_slope(),
        file_format="DICOM",
        spacing_mm=spacing_mm,
        spacing_source=spacing_source,
        pixel_aspect=aspect,
        dicom_header=HeaderText.of(content),
        header=header,
        lossy_compression=compression,
        warnings=(*concerns, *oddities, *found, *stored.warnings, *of_black, *display.warnings),
    )


def _displayed(
    stored: npt.NDArray[Any], levels: GrayLevels, display: DisplayedLevels, black: Mask | None
) -> npt.NDArray[np.float32]:
    """The pixels as they are displayed, with padding and what a shutter covers black, shape [H, W]."""
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which the reader refuses
        values = spread(stored, levels, display.values)
        if black is not None:
            values[black] = display.low
    return values


def _either(first: Mask | None, second: Mask | None) -> Mask | None:
    return second if first is None else first if second is None else first | second


def _delete_grayscale(dataset: Dataset) -> None:
    for keyword in _GRAYSCALE:
        dataset.pop(keyword, None)
