"""From a DICOM data set to its stored pixels, or a refusal that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.codestream import check_codestream
from monai_robustinterp.io.read.dicom_header import integer, numbers, text
from monai_robustinterp.io.read.gray_channels import NO_CHANNEL_SLOPE, gray_of_channels
from monai_robustinterp.io.read.jpeg_extended import decode_12_bits, has_12_bits
from monai_robustinterp.io.read.source_image import check_size, has_jpeg_end

MIN_BITS_STORED = 6  # the least that the DX module allows
_JPEG_FAMILY = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_BITS_BY_CONTENT = "HighBit contradicts BitsStored, so which bits are read depends on the content."


@dataclass(frozen=True)
class StoredPixels:
    """The one frame of a data set.

    Attributes:
        values: signed or unsigned 8- or 16-bit integers, [Rows, Columns], bits above BitsStored corrected.
        step: what was done to get gray values, "" if nothing was.
        content: why the values depend on the content in a way that has no bound; "" if they do not.
        in_color: whether the gray values are those of a color object.
        warnings: sentences about what the header says wrongly.
    """

    values: npt.NDArray[Any]
    step: str = ""
    content: str = ""
    in_color: bool = False
    warnings: tuple[str, ...] = ()


def stored_pixels(dataset: Dataset) -> StoredPixels:
    """Decode the one frame of a grayscale data set, or of one in color with equal channels.

    Raises:
        InputRefused: if there are no pixels, they are not one gray frame, or they cannot be decoded.
    """
    if not _pixel_data(dataset):
        raise InputRefused(
            "The DICOM file has no integer Pixel Data: it is no image (a report, a DICOMDIR, a float map), or it ends "
            "before its pixels. Give the image object itself, and copy it again if its size differs from the source."
        )
    rows, columns, samples = _check_frame(dataset)
    check_size(rows, columns)
    bits, high = _check_bits(dataset, samples)
    syntax = _transfer_syntax(dataset)
    if not syntax.is_encapsulated:
        _check_length(dataset, rows, columns * samples)
    else:
        _check_codestream(dataset, syntax, rows, columns)
    if high != bits - 1:
        # Bits below or above those that are stored: all are decoded, and then those that are meant are taken.
        dataset.BitsStored, dataset.HighBit = max(bits, high + 1), max(bits, high + 1) - 1
    pixels = _decode(dataset, syntax)
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    expected = (rows, columns) if samples == 1 else (rows, columns, samples)
    if pixels.shape != expected:
        raise InputRefused(
            f"The decoded frame has shape {tuple(pixels.shape)}; Rows and Columns state {(rows, columns)}. "
            "The file contradicts itself: export it again."
        )
    if samples > 1:
        gray = gray_of_channels(pixels)
        equal = "nearly equal" if gray.warning else "equal"
        step = f"{equal} channels of {text(dataset, 'PhotometricInterpretation')} read as gray"
        warning = gray.warning or "the image is a color object whose channels are equal: it is read as gray"
        content = NO_CHANNEL_SLOPE if gray.warning else ""
        return StoredPixels(gray.pixels, step=step, content=content, in_color=True, warnings=(warning,))
    return _aligned(pixels, dataset, bits, high) if high != bits - 1 else StoredPixels(pixels)


def _pixel_data(dataset: Dataset) -> Any:
    try:
        return dataset.get("PixelData")
    except NotImplementedError:  # of pydicom
        raise InputRefused(
            "PixelData has a value representation that is none of DICOM's; it must be OB or OW. Without it the length "
            "of the pixels is unknown: the file is damaged, copy or export it again."
        ) from None


def _aligned(pixels: npt.NDArray[Any], dataset: Dataset, bits: int, high: int) -> StoredPixels:
    """The bits that are meant where HighBit is not BitsStored - 1, as the standard wants it."""
    found = f"HighBit is {high} with {bits} bits stored"
    low_bits = high + 1 - bits
    if low_bits < 0:
        # More bits are claimed than there are below the high one: the pixels say which of the two is wrong.
        if pixels.min() >= 0 and pixels.max() < 2 ** (high + 1):
            dataset.BitsStored, dataset.HighBit = high + 1, high
        warning = f"{found}: {dataset.BitsStored} bits are read"
        return StoredPixels(pixels, content=_BITS_BY_CONTENT, warnings=(warning,))
    in_low_bits = bool((pixels & (2**low_bits - 1)).any())
    if in_low_bits and pixels.min() >= 0 and pixels.max() < 2**bits:
        warning = f"{found}, but no pixel has a bit above the lowest {bits}: these are read"
        return StoredPixels(pixels, content=_BITS_BY_CONTENT, warnings=(warning,))
    step = f"shifted right by {low_bits} bits"
    warning = f"{found}: the pixels are {step}"
    return StoredPixels(pixels >> low_bits, step=step, content=_BITS_BY_CONTENT, warnings=(warning,))


def _check_frame(dataset: Dataset) -> tuple[int, int, int]:
    frames = numbers(dataset, "NumberOfFrames") or [1.0]
    if frames != [1.0]:
        raise InputRefused(
            f"NumberOfFrames is {frames[0]:g}; one radiograph has one frame. Extract the frame to explain."
        )
    samples, photometric = integer(dataset, "SamplesPerPixel"), text(dataset, "PhotometricInterpretation")
    if samples in (None, 1) and not photometric:
        raise InputRefused(
            "PhotometricInterpretation is missing; without it nothing says whether low values are dark (MONOCHROME2) "
            "or bright (MONOCHROME1). Add it, or PresentationLUTShape."
        )
    gray = samples in (None, 1) and photometric in ("MONOCHROME1", "MONOCHROME2")
    if not gray and not (samples == 3 and photometric in _COLORS):
        raise InputRefused(
            f"The image has {samples} samples per pixel and is not plain grayscale; PhotometricInterpretation must be "
            "MONOCHROME1 or MONOCHROME2, or a color space of three equal channels. Color images (photos, screenshots, "
            "results) are not explained: give the original radiograph."
        )
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if rows is None or columns is None:
        raise InputRefused("Rows or Columns is missing or no number; an image needs both. Export the file again.")
    return rows, columns, 3 if samples == 3 else 1


def _check_bits(dataset: Dataset, samples: int) -> tuple[int, int]:
    """BitsStored, and HighBit (one below it where it is missing)."""
    keywords = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    allocated, stored, high, sign = (integer(dataset, k) for k in keywords)
    if high is None and stored is not None:
        high = stored - 1
    if (
        allocated is None
        or allocated not in ((8, 16) if samples == 1 else (8,))
        or stored is None
        or high is None
        or not MIN_BITS_STORED <= stored <= allocated
        or not MIN_BITS_STORED <= high + 1 <= allocated
        or (high != stored - 1 and (sign == 1 or samples > 1))
        or sign not in (0, 1)
    ):
        raise InputRefused(
            f"BitsAllocated is {allocated}, BitsStored {stored}, HighBit {high}, PixelRepresentation {sign}; the "
            f"reader takes 8 or 16 bits allocated (color: 8), {MIN_BITS_STORED} or more stored, HighBit below "
            "BitsAllocated (signed or color: BitsStored - 1), and PixelRepresentation 0 or 1. Export the image again "
            "as a DX or CR object."
        )
    return stored, high


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
        if syntax == JPEGExtended12Bit and has_12_bits(get_frame(dataset.PixelData, 0, number_of_frames=1)):
            return decode_12_bits(dataset)
        if syntax in JPEG2000TransferSyntaxes:
            # OpenJPEG, as in GDCM, which hands the pixels on as a text: that takes seconds of the largest films.
            dataset.pixel_array_options(decoding_plugin="pylibjpeg")
        pixels: npt.NDArray[Any] = dataset.pixel_array
    except Exception as error:  # every decoder plugin has its own types
        raise InputRefused(
            f"The pixels could not be decoded ({type(error).__name__}); transfer syntax {syntax.name}. "
            "Either the file is damaged (copy it again) or no decoder reads this variant: rewrite it as Explicit VR "
            "Little Endian, for example with DCMTK's dcmdjpeg."
        ) from None
    return pixels
