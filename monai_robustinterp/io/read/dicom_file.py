"""DICOM files: CR, DX, RG and Secondary Capture objects of one grayscale frame."""

from __future__ import annotations

import io
import zlib

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_display import displayed_pixels, padding_mask
from monai_robustinterp.io.read.dicom_header import admission_concerns, header_meta, pixel_spacing, text
from monai_robustinterp.io.read.dicom_pixels import stored_pixels
from monai_robustinterp.io.read.header_text import HeaderText
from monai_robustinterp.io.read.limits import check_inflated
from monai_robustinterp.io.read.source_image import SourceImage, check_content

_META_START = 132  # behind preamble and prefix
_PIECE = 2**24


def read_dicom(content: bytes, *, strict: bool) -> SourceImage:
    """Read one DICOM file.

    Args:
        content: of a file with the DICM prefix.
        strict: refuse, instead of warn about, what seems to be no chest radiograph for presentation.

    Returns:
        The image with air dark.

    Raises:
        InputRefused: if it is no readable grayscale radiograph.
    """
    dataset = _parse(content)
    # Copied before decoding: pydicom's decoders convert some of these elements.
    header = header_meta(dataset)
    stored = stored_pixels(dataset)
    concerns = admission_concerns(dataset)
    if strict and concerns:
        raise InputRefused(
            f"{'; '.join(concerns)}. A strict reader takes chest radiographs for presentation only: give another "
            "image, or read with strict=False if the header is wrong and the image was looked at."
        )
    padding = padding_mask(stored, dataset)
    check_content(stored[~padding])  # one value beside padding is no content either
    pixels = displayed_pixels(stored, dataset, padding)
    spacing_mm, spacing_source = pixel_spacing(dataset)
    return SourceImage(
        stored_pixels=stored,
        values=pixels.values,
        display_min=pixels.low,
        display_max=pixels.high,
        display_source=pixels.source,
        intensity_path=pixels.steps,
        slope=pixels.display_slope(),
        file_format="DICOM",
        spacing_mm=spacing_mm,
        spacing_source=spacing_source,
        dicom_header=HeaderText.of(content),
        header=header,
        warnings=(*concerns, *pixels.warnings),
    )


def _parse(content: bytes) -> FileDataset:
    try:
        _check_inflated(content)
        return dcmread(io.BytesIO(content))  # no name to log: file names may hold patient names
    except InputRefused:
        raise
    except Exception as error:  # pydicom's parser raises many types for damaged files, some with values in the text
        raise InputRefused(
            f"The DICOM file could not be parsed ({type(error).__name__}); it must be complete and follow PS3.10. "
            "The file is damaged: copy or export it again."
        ) from None


def _check_inflated(content: bytes) -> None:
    """Counts what a deflated data set inflates to, in pieces: pydicom takes all of it at once."""
    stream = io.BytesIO(content)
    stream.seek(_META_START)
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if text(meta, "TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, stream.read()
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, _PIECE))
        rest = inflater.unconsumed_tail
        check_inflated(size)
