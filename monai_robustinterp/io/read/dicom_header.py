"""The DICOM header as plain values, and the question whether this is a chest radiograph at all."""

from __future__ import annotations

import math
import re
from collections.abc import MutableSequence

from pydicom.dataset import Dataset

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.source_image import UNKNOWN_SPACING

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MODALITIES = ("CR", "DX", "RG")
SECONDARY_CAPTURE_MODALITIES = (*MODALITIES, "OT", "SC")
CHEST_PREFIXES = ("CHEST", "THORAX", "LUNG", "RIB", "STERNUM")

_META_KEYWORDS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view_position": "ViewPosition",
    "patient_orientation": "PatientOrientation",
    "photometric_interpretation": "PhotometricInterpretation",
    "sop_class_uid": "SOPClassUID",
    "sop_instance_uid": "SOPInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "study_instance_uid": "StudyInstanceUID",
}
HEADER_KEYS = (*_META_KEYWORDS, "laterality", "transfer_syntax_uid")


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


def first_item(dataset: Dataset, keyword: str) -> tuple[Dataset | None, int]:
    """The first item of a sequence, None if there is none, and the number of items.

    Raises:
        InputRefused: if the sequence cannot be parsed.
    """
    try:
        items = dataset.get(keyword) or []
        return (items[0] if items else None), len(items)
    except Exception as error:
        raise InputRefused(
            f"{keyword} could not be parsed ({type(error).__name__}); a DICOM sequence must be complete. "
            "The file is damaged: copy or export it again."
        ) from None


def shown_code(value: str) -> str:
    """The code itself where it is one; other text may hold anything, so it is not repeated."""
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "not a code"


def header_meta(dataset: Dataset) -> dict[str, str]:
    """The entries of the meta dictionary that are copied from the header; "" where unknown."""
    meta = {key: text(dataset, keyword) for key, keyword in _META_KEYWORDS.items()}
    meta["laterality"] = text(dataset, "ImageLaterality") or text(dataset, "Laterality")
    meta["transfer_syntax_uid"] = text(dataset.file_meta, "TransferSyntaxUID")
    return meta


def pixel_spacing(dataset: Dataset) -> tuple[tuple[float, float], str]:
    r"""Row and column spacing in mm, and the attribute that states it: calibrated spacing first, then the detector's.

    0\0, as some scanners write, counts as unknown.
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        values = numbers(dataset, keyword)
        if len(values) == 2 and min(values) > 0:
            return (values[0], values[1]), keyword
    return UNKNOWN_SPACING, "none"


def admission_concerns(dataset: Dataset) -> list[str]:
    """Why this may be no chest radiograph for presentation: one sentence each.

    Modality CR, DX and RG are radiographs. A Secondary Capture may also say OT or SC, as film digitizers do. A missing
    body part is no concern, since many archives leave it out.
    """
    concerns = []
    modality, body_part = text(dataset, "Modality"), text(dataset, "BodyPartExamined")
    captured = text(dataset, "SOPClassUID") == SECONDARY_CAPTURE
    if modality not in (SECONDARY_CAPTURE_MODALITIES if captured else MODALITIES):
        concerns.append(
            f"Modality is {shown_code(modality) if modality else 'missing'}; radiographs have {', '.join(MODALITIES)} "
            "(Secondary Capture: also OT, SC)"
        )
    if body_part and not body_part.upper().startswith(CHEST_PREFIXES):
        concerns.append(f"BodyPartExamined is {shown_code(body_part)}; the networks are for the chest")
    if text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        concerns.append("PresentationIntentType is FOR PROCESSING; the networks are for images for presentation")
    return concerns
