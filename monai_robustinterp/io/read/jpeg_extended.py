"""JPEG Extended streams of 12 bits: GDCM reads them, while pydicom's plugins refuse."""

from __future__ import annotations

from typing import Any

import gdcm  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

PRECISION = 12
_EXTENDED_FRAME = b"\xff\xc1"  # SOF1: length (2 bytes), precision (1), rows (2), columns (2), components (1)


def has_12_bits(stream: bytes) -> bool:
    """Whether a JPEG stream has the frame header of extended sequential coding with 12 bits."""
    start = stream.find(_EXTENDED_FRAME)
    return 0 <= start < len(stream) - 10 and stream[start + 4] == PRECISION


def decode_12_bits(dataset: Dataset) -> npt.NDArray[np.uint16]:
    """Decode the one frame of a grayscale data set whose stream has 12 bits.

    Lossy compression may overshoot the bits that the header states: such values are clipped to them.

    Returns:
        Pixels [Rows, Columns].

    Raises:
        ValueError: if header and stream do not agree, or GDCM does not decode it.
    """
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    start = stream.find(_EXTENDED_FRAME)
    # GDCM trusts the header that it is given.
    stated = int.from_bytes(stream[start + 5 : start + 7]), int.from_bytes(stream[start + 7 : start + 9])
    shape = (int(dataset.Rows), int(dataset.Columns))
    header = (int(dataset.SamplesPerPixel), int(dataset.BitsAllocated), int(dataset.PixelRepresentation))
    if (*stated, stream[start + 9]) != (*shape, 1) or header != (1, 16, 0):
        raise ValueError("header and stream do not agree")
    buffer = _image(stream, *shape).GetBuffer()
    pixels: npt.NDArray[np.uint16] = np.frombuffer(
        buffer.encode("utf-8", "surrogateescape"), dtype="<u2"
    )  # GDCM gives bytes as a text
    if pixels.size != shape[0] * shape[1]:
        raise ValueError("the decoded frame has another size")
    clipped: npt.NDArray[np.uint16] = np.minimum(pixels.reshape(shape), np.uint16(2 ** int(dataset.BitsStored) - 1))
    return clipped


def _image(stream: bytes, rows: int, columns: int) -> Any:
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(stream)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    gray = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    image.SetPhotometricInterpretation(gray)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    # The stream's bits, not the header's: GDCM would keep the header's of an overshooting value.
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, PRECISION, PRECISION - 1, 0))
    return image
