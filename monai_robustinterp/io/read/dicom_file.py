"""DICOM files: CR, DX, RG and Secondary Capture objects of one grayscale frame."""

from __future__ import annotations

from pydicom.dataset import Dataset

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_admission import (
    admission_concerns,
    body_part,
    display_oddities,
    view_position,
)
from monai_robustinterp.io.read.dicom_dataset import parse_dicom
from monai_robustinterp.io.read.dicom_display import displayed_pixels
from monai_robustinterp.io.read.dicom_header import header_meta, lossy_compression, pixel_aspect, pixel_spacing
from monai_robustinterp.io.read.dicom_padding import find_padding
from monai_robustinterp.io.read.dicom_pixels import stored_pixels
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
    # One value beside padding is no content either. Without padding there is nothing to copy, which takes seconds.
    check_content(stored.values[~padding.mask] if padding.mask.any() else stored.values)
    if stored.in_color:
        _delete_grayscale(dataset)
    pixels = displayed_pixels(stored.values, dataset, padding.mask)
    spacing_mm, spacing_source = pixel_spacing(dataset)
    aspect = pixel_aspect(dataset, spacing_mm)
    oddities = (*display_oddities(dataset), *aspect_warnings(aspect))
    return SourceImage(
        stored_pixels=stored.values,
        values=pixels.values,
        display_min=pixels.low,
        display_max=pixels.high,
        display_source=pixels.source,
        intensity_path=(*pixels.steps[:1], *filter(None, (stored.step,)), *pixels.steps[1:]),
        slope=no_slope(stored.content) if stored.content else pixels.display_slope(),
        file_format="DICOM",
        spacing_mm=spacing_mm,
        spacing_source=spacing_source,
        pixel_aspect=aspect,
        dicom_header=HeaderText.of(content),
        header=header,
        lossy_compression=compression,
        warnings=(*concerns, *oddities, *found, *stored.warnings, *filter(None, (padding.warning,)), *pixels.warnings),
    )


def _delete_grayscale(dataset: Dataset) -> None:
    for keyword in _GRAYSCALE:
        dataset.pop(keyword, None)
