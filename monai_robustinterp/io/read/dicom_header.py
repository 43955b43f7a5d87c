"""The DICOM header as plain values."""

from __future__ import annotations

import math
from collections.abc import Collection, MutableSequence

from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.source_image import UNKNOWN_SPACING, checked_aspect

_META_KEYWORDS = {
    "modality": "Modality",
    "patient_orientation": "PatientOrientation",
    "photometric_interpretation": "PhotometricInterpretation",
    "sop_class_uid": "SOPClassUID",
    "sop_instance_uid": "SOPInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "study_instance_uid": "StudyInstanceUID",
}
_LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
HEADER_KEYS = (*_META_KEYWORDS, "body_part", "view_position", "laterality", "transfer_syntax_uid")


def lossy_compression(dataset: Dataset) -> str:
    """Say "JPEG" if the header states that the pixels are in lossy JPEG, or have been; else ""."""
    syntax = text(dataset.file_meta, "TransferSyntaxUID")
    been = "ISO_10918_1" in text(dataset, "LossyImageCompressionMethod")
    return "JPEG" if syntax in _LOSSY_JPEG or been else ""


def text(dataset: Dataset, keyword: str) -> str:
    r"""The value of a text element (CS, UI, DS, IS) as it is stored, several values joined by ``\``; "" if absent.

    The bytes are decoded here because pydicom's own conversion prints an odd value in its warning and its log.
    """
    if keyword not in dataset:
        return ""
    value = dataset.get_item(keyword).value
    if isinstance(value, bytes):
        return value.decode("ascii", errors="replace").strip(" \0")
    values = value if isinstance(value, MutableSequence) else [value]
    return "\\".join("" if v is None else str(v) for v in values)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The values of a DS or IS element; empty if it is absent or not all of them are finite numbers."""
    try:
        values = [float(v) for v in text(dataset, keyword).split("\\")]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The value of a US or SS element; None if it is absent, empty, or of another type."""
    try:
        return int(dataset[keyword].value)
    except Exception:  # pydicom raises a handful of types for malformed elements: they count as absent
        return None


def stored_integer(dataset: Dataset, keyword: str) -> int | None:
    """A US or SS element that states a stored pixel value, with the sign of the pixels.

    Files state such a value as US for signed pixels, and the other way round: the 16 bits are what is meant.
    """
    value = integer(dataset, keyword)
    if value is None:
        return None
    if integer(dataset, "PixelRepresentation") == 1:
        return value - 2**16 if value >= 2**15 else value
    return value + 2**16 if value < 0 else value


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty if it is absent.

    Raises:
        InputRefused: if the sequence cannot be parsed.
    """
    try:
        return list(dataset.get(keyword) or [])
    except Exception as error:
        raise InputRefused(
            f"{keyword} could not be parsed ({type(error).__name__}); a DICOM sequence must be complete. "
            "The file is damaged: copy or export it again."
        ) from None


def shown_term(value: str, terms: Collection[str]) -> str:
    """The value if it is one of the standard's terms; other text may name the patient, so it is not repeated."""
    return "missing" if not value else value if value in terms else "not a term of the standard"


def header_meta(dataset: Dataset) -> dict[str, str]:
    """The entries of the meta dictionary that are copied from the header; "" where unknown."""
    meta = {key: text(dataset, keyword) for key, keyword in _META_KEYWORDS.items()}
    meta["laterality"] = text(dataset, "ImageLaterality") or text(dataset, "Laterality")
    meta["transfer_syntax_uid"] = text(dataset.file_meta, "TransferSyntaxUID")
    return meta


def pixel_aspect(dataset: Dataset, spacing_mm: tuple[float, float]) -> float:
    """Height of a pixel over its width: of the spacing in mm, else PixelAspectRatio, else 1.

    Raises:
        InputRefused: if it is none of a radiograph.
    """
    ratio = numbers(dataset, "PixelAspectRatio")
    stated = math.isnan(spacing_mm[0]) and len(ratio) == 2 and min(ratio) > 0
    return checked_aspect(ratio if stated else spacing_mm)


def pixel_spacing(dataset: Dataset) -> tuple[tuple[float, float], str]:
    r"""Row and column spacing in mm, and the attribute that states it: calibrated spacing first, then the detector's.

    0\0, as some scanners write, counts as unknown.
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        values = numbers(dataset, keyword)
        if len(values) == 2 and min(values) > 0:
            return (values[0], values[1]), keyword
    return UNKNOWN_SPACING, "none"
