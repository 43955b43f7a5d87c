"""The attributes of a derived image that follow from the source's, but under another name, rule or condition."""

from __future__ import annotations

import math
from collections.abc import Callable

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import JPEG2000, JPEG2000MC, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from pydicom.valuerep import format_number_as_ds

from monai_robustinterp.io.derived.safe_values import valid_element, valid_text

MANUFACTURER = "monai_robustinterp"

_LOSSY_METHODS = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    JPEG2000MC: "ISO_15444_2",
}
_EQUIPMENT = (
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
# Terms of PS3.16 annex L without sides; other words, such as THORAX, tell nothing about sides.
_UNPAIRED = frozenset(
    {"CHEST", "STERNUM", "HEART", "MEDIASTINUM", "CHESTABDOMEN", "CHESTABDPELVIS", "ABDOMEN", "NECK", "BACK"}
    | {"SPINE", "CSPINE", "TSPINE", "LSPINE", "WHOLEBODY"}
)
_BIPED_AXIS = {"R": "RL", "L": "RL", "A": "AP", "P": "AP", "H": "HF", "F": "HF"}
_BIPED = "[APRLHF]{1,3}"
_QUADRUPED = "(LE|RT|CR|CD|PR|DI|PA|PL|D|V|R|M|L){1,3}"


def translate_spacing(source: Dataset, derived: Dataset) -> None:
    r"""Pixel spacing (PS3.3 10.7.1): calibrated if the source says so, else that of the detector.

    An SC image states the spacing before calibration as NominalScannedPixelSpacing, where CR and DX have
    ImagerPixelSpacing; equal values say that nothing was corrected. 0\0 and the like count as unknown.
    """
    calibrated = _spacing(source, "PixelSpacing")
    detector = _spacing(source, "ImagerPixelSpacing") or _spacing(source, "NominalScannedPixelSpacing")
    if calibrated or detector:
        derived.PixelSpacing = calibrated or detector
    if detector:
        derived.NominalScannedPixelSpacing = detector
    kind = valid_text(source, "PixelSpacingCalibrationType", pattern="GEOMETRY|FIDUCIAL")
    if calibrated and kind:
        derived.PixelSpacingCalibrationType = kind
        description = valid_text(source, "PixelSpacingCalibrationDescription")
        derived.PixelSpacingCalibrationDescription = description or "not described in the source image"
    aspect = valid_element(source, "PixelAspectRatio", pattern=r"[1-9]\d*")
    if "PixelSpacing" not in derived and aspect is not None and aspect.value[0] != aspect.value[1]:
        derived.add(aspect)


def rescale_spacing(derived: Dataset, factor: tuple[float, float]) -> None:
    """Pixel spacings of a picture whose square pixels hold ``factor`` pixels of the source, down and across."""
    for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
        if keyword in derived:
            spacing = [format_number_as_ds(float(old) * by) for old, by in zip(derived[keyword].value, factor)]
            setattr(derived, keyword, spacing)
    if "PixelAspectRatio" in derived:
        del derived.PixelAspectRatio


def _spacing(source: Dataset, keyword: str) -> list[str] | None:
    element = valid_element(source, keyword)
    if element is None or not all(math.isfinite(value) and value > 0 for value in element.value):
        return None
    return [str(value) for value in element.value]


def translate_anatomy(source: Dataset, derived: Dataset) -> None:
    """Body part, the chest unless the source says otherwise, and side (PS3.3 C.7.3.1).

    Laterality of the series must be there, blank if unknown, for a paired part without ImageLaterality, and only then.
    """
    derived.BodyPartExamined = valid_text(source, "BodyPartExamined") or "CHEST"
    if derived.BodyPartExamined not in _UNPAIRED and "ImageLaterality" not in derived:
        derived.Laterality = valid_text(source, "Laterality", pattern="[RL]") or None


def translate_orientation(source: Dataset, derived: Dataset) -> None:
    """PatientOrientation (PS3.3 C.7.6.1.1.1): two directions at right angles, else blank, which says unknown."""
    biped = valid_text(source, "AnatomicalOrientationType") != "QUADRUPED"
    element = valid_element(source, "PatientOrientation", pattern=_BIPED if biped else _QUADRUPED)
    values = [] if element is None else [str(value) for value in element.value]
    if biped and not _perpendicular(values):
        values = []
    derived.PatientOrientation = values or None


def _perpendicular(directions: list[str]) -> bool:
    axes = [[_BIPED_AXIS[letter] for letter in direction] for direction in directions]
    return len(axes) == 2 and axes[0][0] != axes[1][0] and all(len(set(a)) == len(a) for a in axes)


def translate_lossy_compression(source: Dataset, derived: Dataset) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5): by the source's attribute, or by its transfer syntax.

    JPEG 2000 that says neither counts as lossy: the syntax allows both, and the claim "not lossy" would be a guess.
    """
    method = _LOSSY_METHODS.get(getattr(source, "file_meta", Dataset()).get("TransferSyntaxUID", ""))
    stated = valid_text(source, "LossyImageCompression", pattern="0[01]")
    lossy = stated == "01" or (method is not None and not (stated == "00" and method.startswith("ISO_15444")))
    if lossy:
        derived.LossyImageCompression = "01"
        ratio = valid_element(source, "LossyImageCompressionRatio")
        methods = valid_element(source, "LossyImageCompressionMethod", pattern=r"ISO_\d+_\d+")
        if ratio is not None:
            derived.add(ratio)
        if methods is not None:
            derived.add(methods)
        elif method is not None and (ratio is None or ratio.VM == 1):
            derived.LossyImageCompressionMethod = method
    elif stated:
        derived.LossyImageCompression = stated


TRANSLATIONS: tuple[Callable[[Dataset, Dataset], None], ...] = (
    translate_spacing,
    translate_anatomy,
    translate_orientation,
    translate_lossy_compression,
)


def equipment_items(source: Dataset, software_version: str) -> list[Dataset]:
    """Who contributed (PS3.3 C.12.1.1.5): the source's own list, the equipment that made the source, this software."""
    earlier = valid_element(source, "ContributingEquipmentSequence")
    items = [] if earlier is None else list(earlier.value)
    elements = [element for keyword in _EQUIPMENT if (element := valid_element(source, keyword)) is not None]
    if elements and elements[0].keyword == "Manufacturer":  # type 1 in an item
        acquisition = Dataset({element.tag: element for element in elements})
        acquisition.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.AcquisitionEquipment)]
        items.append(acquisition)
    processing = Dataset()
    processing.Manufacturer = processing.ManufacturerModelName = MANUFACTURER
    processing.SoftwareVersions = software_version
    processing.ContributionDescription = "Computed the vote map and rendered it over the source image"
    processing.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.ProcessingEquipment)]
    return [*items, processing]
