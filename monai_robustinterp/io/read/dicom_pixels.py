"""From a DICOM data set to its stored pixels, or a refusal that says why not."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.codestream import check_codestream
from monai_robustinterp.io.read.dicom_header import integer, numbers, text
from monai_robustinterp.io.read.source_image import check_size, has_jpeg_end

MIN_BITS_STORED = 6  # the least that the DX module allows
_JPEG_FAMILY = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)


def stored_pixels(dataset: Dataset) -> npt.NDArray[Any]:
    """Decode the one frame of a grayscale data set.

    Returns:
        Signed or unsigned 8- or 16-bit integers, shape [Rows, Columns], bits above BitsStored corrected.

    Raises:
        InputRefused: if there are no pixels, they are not one grayscale frame, or they cannot be decoded.
    """
    if not dataset.get("PixelData"):
        raise InputRefused(
            "The DICOM file has no integer Pixel Data: it is no image (a report, a DICOMDIR, a float map), or it ends "
            "before its pixels. Give the image object itself, and copy it again if its size differs from the source."
        )
    rows, columns = _check_frame(dataset)
    check_size(rows, columns)
    _check_bits(dataset)
    syntax = _transfer_syntax(dataset)
    if not syntax.is_encapsulated:
        _check_length(dataset, rows, columns)
    else:
        _check_codestream(dataset, syntax, rows, columns)
    pixels = _decode(dataset, syntax)
    if pixels.shape != (rows, columns):
        raise InputRefused(
            f"The decoded frame has shape {tuple(pixels.shape)}; Rows and Columns state {(rows, columns)}. "
            "The file contradicts itself: export it again."
        )
    return pixels


def _check_frame(dataset: Dataset) -> tuple[int, int]:
    frames = numbers(dataset, "NumberOfFrames") or [1.0]
    if frames != [1.0]:
        raise InputRefused(
            f"NumberOfFrames is {frames[0]:g}; one radiograph has one frame. Extract the frame to explain."
        )
    samples = integer(dataset, "SamplesPerPixel")
    if samples not in (None, 1) or text(dataset, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputRefused(
            f"The image has {samples} samples per pixel and is not plain grayscale; PhotometricInterpretation must be "
            "MONOCHROME1 or MONOCHROME2. Color images (photos, screenshots, results) are not explained: give the "
            "original radiograph."
        )
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if rows is None or columns is None:
        raise InputRefused("Rows or Columns is missing or no number; an image needs both. Export the file again.")
    return rows, columns


def _check_bits(dataset: Dataset) -> None:
    keywords = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    allocated, stored, high, sign = (integer(dataset, k) for k in keywords)
    if (
        allocated not in (8, 16)
        or stored is None
        or not MIN_BITS_STORED <= stored <= allocated
        or high != stored - 1
        or sign not in (0, 1)
    ):
        raise InputRefused(
            f"BitsAllocated is {allocated}, BitsStored {stored}, HighBit {high}, PixelRepresentation {sign}; the "
            f"reader takes 8 or 16 bits allocated, {MIN_BITS_STORED} or more stored, HighBit = BitsStored - 1, and "
            "PixelRepresentation 0 or 1. Export the image again as a DX or CR object."
        )


def _transfer_syntax(dataset: Dataset) -> UID:
    uid = UID(text(dataset.file_meta, "TransferSyntaxUID"))
    if uid.is_private or not uid.is_transfer_syntax:
        raise InputRefused(
            f"The transfer syntax is {'private' if uid and uid.is_private else 'missing or unknown'}; it must be one "
            "of the DICOM standard. Rewrite the file as Explicit VR Little Endian."
        )
    return uid


def _check_length(dataset: Dataset, rows: int, columns: int) -> None:
    allocated = integer(dataset, "BitsAllocated") or 8
    found, needed = len(dataset.PixelData), rows * columns * allocated // 8
    if found < needed:
        raise InputRefused(
            f"The pixel data has {found} bytes; {rows} rows of {columns} columns need {needed}. "
            "The file was cut short: copy it again from the source."
        )


def _check_codestream(dataset: Dataset, syntax: UID, rows: int, columns: int) -> None:
    samples, allocated = integer(dataset, "SamplesPerPixel") or 1, integer(dataset, "BitsAllocated") or 8
    check_codestream(_frame(dataset), syntax, rows=rows, columns=columns, samples=samples, allocated=allocated)


def _frame(dataset: Dataset) -> bytes:
    try:
        return get_frame(dataset.PixelData, 0, number_of_frames=1)
    except Exception as error:
        raise InputRefused(
            f"The compressed pixel data could not be taken apart ({type(error).__name__}); they must be whole "
            "fragments with their lengths. The file is damaged: copy or export it again."
        ) from None


def _decode(dataset: Dataset, syntax: UID) -> npt.NDArray[Any]:
    try:
        if syntax in _JPEG_FAMILY and not has_jpeg_end(_frame(dataset)):
            raise EOFError("no end marker")
        pixels: npt.NDArray[Any] = dataset.pixel_array
    except Exception as error:  # every decoder plugin has its own types
        raise InputRefused(
            f"The pixels could not be decoded ({type(error).__name__}); transfer syntax {syntax.name}. "
            "Either the file is damaged (copy it again) or no decoder reads this variant, such as 12-bit JPEG "
            "Extended: rewrite it as Explicit VR Little Endian, for example with DCMTK's dcmdjpeg."
        ) from None
    return pixels
