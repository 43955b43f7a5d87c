"""From the bytes of a file to a DICOM data set, also where they leave out what the standard wants in front of it."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_header import integer, items, text
from monai_robustinterp.io.read.limits import check_inflated

HEAD_BYTES = 132
_PIECE = 2**24
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_LARGEST_FIRST_ELEMENT = 0x70
_LONGEST_FIRST_VALUE = 2**16
_FIRST_REPRESENTATIONS = (b"AE", b"CS", b"DA", b"IS", b"LO", b"LT", b"OB", b"SH", b"SQ", b"TM", b"UI", b"UL", b"US")
_PHOTOMETRIC_OF_SHAPE = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}
_VIEW_KEYWORDS = ("PatientOrientation", "StudyInstanceUID", "ViewCodeSequence", "ViewPosition")
_FRAME_KEYWORDS = (
    "AnatomicRegionSequence",
    "ImageLaterality",
    "PatientOrientation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTFunction",
    "VOILUTSequence",
    "ViewCodeSequence",
    "WindowCenter",
    "WindowWidth",
)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is DICOM: by the prefix, or by a first element of group 2 or 8."""
    if head[128:132] == b"DICM":
        return True
    group, order = head[:2], "big" if head[:2] == b"\x00\x08" else "little"
    if group not in _FIRST_GROUPS or len(head) < HEAD_BYTES:
        return False
    if int.from_bytes(head[2:4], "big" if order == "big" else "little") > _LARGEST_FIRST_ELEMENT:
        return False
    implicit = order == "little" and int.from_bytes(head[4:8], "little") <= _LONGEST_FIRST_VALUE
    return implicit or head[4:6] in _FIRST_REPRESENTATIONS


def file_meta(path: Path) -> Dataset:
    """Group 2 of a file, of which nothing behind it is read; empty if there is none."""
    try:
        return read_file_meta_info(path)
    except Exception:  # no preamble, or damaged: the reader says what is wrong
        return Dataset()


def view_header(path: Path, meta: Dataset) -> Dataset:
    """What the header of a file says of its view and study, as far as it can be read; pixels are not.

    Args:
        path: of the file.
        meta: its group 2. A data set that is deflated is not inflated, and counts as empty.
    """
    if text(meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return Dataset()
    try:
        return dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_VIEW_KEYWORDS))
    except Exception:  # damaged: the reader says what is wrong
        return Dataset()


def parse_dicom(content: bytes) -> tuple[FileDataset, tuple[str, ...]]:
    """The data set of a file, with the transfer syntax that it has and the values of its one frame's functional groups.

    Args:
        content: of a file for which :func:`is_dicom` holds.

    Returns:
        The data set, and a sentence for each thing that was missing in front of it.

    Raises:
        InputRefused: if it cannot be parsed.
    """
    try:
        _check_inflated(content)
        # No name to log: file names may hold patient names.
        dataset = dcmread(io.BytesIO(content), force=True)
        warnings = (*_with_transfer_syntax(dataset), *_with_one_reading(dataset))
    except InputRefused:
        raise
    except Exception as error:  # pydicom's parser raises many types for damaged files, some with values in the text
        raise InputRefused(
            f"The DICOM file could not be parsed ({type(error).__name__}); it must be complete and follow PS3.10. "
            "The file is damaged: copy or export it again."
        ) from None
    _add_frame_values(dataset)
    if content[128:132] != b"DICM":
        warnings = ("the file has no DICOM preamble and prefix: it is read as a data set", *warnings)
    return dataset, warnings


def _check_inflated(content: bytes) -> None:
    """Counts what a deflated data set inflates to, in pieces: pydicom takes all of it at once."""
    stream = io.BytesIO(content)
    stream.seek(HEAD_BYTES if content[128:HEAD_BYTES] == b"DICM" else 0)
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if text(meta, "TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, stream.read()
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, _PIECE))
        rest = inflater.unconsumed_tail
        check_inflated(size)


def _with_transfer_syntax(dataset: FileDataset) -> tuple[str, ...]:
    """Set the one that the elements are written in, where none is stated and the pixels are not compressed."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if text(dataset.file_meta, "TransferSyntaxUID"):
        return ()
    pixels = dataset.get_item("PixelData").value if "PixelData" in dataset else b""
    if not isinstance(pixels, bytes) or pixels[:4] in _ITEM_TAGS:
        return ()  # only the stream could tell, and the refusal names what is missing
    implicit, little = dataset.original_encoding
    syntax: UID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    return (f"the file states no transfer syntax: its elements are written as {syntax.name}",)


def _with_one_reading(dataset: Dataset) -> tuple[str, ...]:
    """Set what is missing and follows from another element."""
    warnings: tuple[str, ...] = ()
    shape, photometric = text(dataset, "PresentationLUTShape"), text(dataset, "PhotometricInterpretation")
    if not photometric and shape in _PHOTOMETRIC_OF_SHAPE and integer(dataset, "SamplesPerPixel") in (None, 1):
        photometric = dataset.PhotometricInterpretation = _PHOTOMETRIC_OF_SHAPE[shape]
        warnings += (f"PhotometricInterpretation is missing: {photometric} follows from PresentationLUTShape {shape}",)
    if integer(dataset, "SamplesPerPixel") is None and photometric in _PHOTOMETRIC_OF_SHAPE.values():
        dataset.SamplesPerPixel = 1
        warnings += (f"SamplesPerPixel is missing: it is 1 for {photometric}",)
    return warnings


def _add_frame_values(dataset: Dataset) -> None:
    """Copy what functional groups say of the one frame to where single-frame objects have it."""
    groups = [items(dataset, f"{kind}FunctionalGroupsSequence")[:1] for kind in ("PerFrame", "Shared")]
    for group in (item for first in groups for item in first):
        macros = [element.keyword for element in group if element.VR == "SQ"]
        for macro in (item for keyword in macros for item in items(group, keyword)[:1]):
            for element in macro:
                keyword = "ImageLaterality" if element.keyword == "FrameLaterality" else element.keyword
                if keyword in _FRAME_KEYWORDS and not _has_value(dataset, keyword):
                    setattr(dataset, keyword, element.value)


def _has_value(dataset: Dataset, keyword: str) -> bool:
    """Whether an element has a value."""
    return bool(keyword in dataset and dataset.get_item(keyword).value)
