r"""One table: which attributes of the source image a derived image copies, translates, sets, and must not have.

The copying is by list, so an attribute that no one thought of stays behind (private ones do). Every value taken from
the source is checked by :mod:`~monai_robustinterp.io.derived.safe_values`; what is invalid is left out or blank here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from monai_robustinterp.io.derived.character_set import set_character_set
from monai_robustinterp.io.derived.safe_values import quiet_pydicom, valid_element, valid_text
from monai_robustinterp.io.derived.translation import MANUFACTURER, TRANSLATIONS, equipment_items

Entity = Literal["patient", "study", "image"]


def _keywords(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


@dataclass(frozen=True, kw_only=True)
class CopiedModule:
    """The attributes of one module that are copied, as lists of keywords.

    Attributes:
        reference: section of PS3.3.
        entity: what it describes.
        type_1: without a valid value of each of them the module is left out.
        type_2: without a valid value they are there, but blank.
        type_2c: blank if the source has them without a valid value; absent if it has not.
        type_3: absent without a valid value.
    """

    reference: str
    entity: Entity
    type_1: str = ""
    type_2: str = ""
    type_2c: str = ""
    type_3: str = ""

    @property
    def keywords(self) -> tuple[str, ...]:
        """All keywords of the module."""
        return _keywords(f"{self.type_1} {self.type_2} {self.type_2c} {self.type_3}")


COPIED = (
    CopiedModule(
        reference="C.7.1.1 Patient",
        entity="patient",
        type_2="PatientName PatientID PatientBirthDate PatientSex",
        type_2c="PatientBreedDescription PatientBreedCodeSequence BreedRegistrationSequence ResponsiblePerson "
        "ResponsibleOrganization",
        type_3="IssuerOfPatientID TypeOfPatientID IssuerOfPatientIDQualifiersSequence PatientBirthTime "
        "OtherPatientIDsSequence OtherPatientNames QualityControlSubject PatientComments PatientSpeciesDescription "
        "PatientSpeciesCodeSequence ResponsiblePersonRole PatientIdentityRemoved DeidentificationMethod "
        "DeidentificationMethodCodeSequence",
    ),
    CopiedModule(
        reference="C.7.1.3 Clinical Trial Subject",
        entity="patient",
        type_1="ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialSubjectID",
        type_2="ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName",
    ),
    CopiedModule(
        reference="C.7.2.1 General Study",
        entity="study",
        type_2="StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID",
        type_3="IssuerOfAccessionNumberSequence StudyDescription ConsultingPhysicianName PhysiciansOfRecord "
        "NameOfPhysiciansReadingStudy ReferencedStudySequence ProcedureCodeSequence RequestingService "
        "ReasonForPerformedProcedureCodeSequence TimezoneOffsetFromUTC",
    ),
    CopiedModule(
        reference="C.7.2.2 Patient Study",
        entity="study",
        type_2c="PatientSexNeutered",
        type_3="AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight MedicalAlerts Allergies "
        "SmokingStatus PregnancyStatus LastMenstrualDate Occupation AdditionalPatientHistory ReasonForVisit "
        "AdmissionID ServiceEpisodeID",
    ),
    CopiedModule(
        reference="C.7.2.3 Clinical Trial Study",
        entity="study",
        type_1="ClinicalTrialTimePointID",
        type_3="ClinicalTrialTimePointDescription",
    ),
    CopiedModule(
        reference="C.7.3.1 General Series, C.7.6.1 General Image, C.8.6.2 SC Image",
        entity="image",
        type_3="AnatomicalOrientationType AcquisitionDate AcquisitionTime AcquisitionDateTime AnatomicRegionSequence "
        "ImageLaterality ViewPosition ViewCodeSequence RecognizableVisualFeatures",
    ),
)

ALLOWED_VALUES: Mapping[str, str] = {
    "PatientSex": "M|F|O",
    "PatientSexNeutered": "ALTERED|UNALTERED",
    "TypeOfPatientID": "TEXT|RFID|BARCODE",
    "QualityControlSubject": "YES|NO",
    "PatientIdentityRemoved": "YES|NO",
    "SmokingStatus": "YES|NO|UNKNOWN",
    "PregnancyStatus": "[1-4]",
    "TimezoneOffsetFromUTC": r"[+-](0\d|1[0-4])[0-5]\d",
    "AnatomicalOrientationType": "BIPED|QUADRUPED",
    "ImageLaterality": "[RLUB]",
    "RecognizableVisualFeatures": "YES|NO",
}
"""Enumerated values of the standard, as patterns; other values count as invalid."""

COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "PatientIdentityRemoved": ("DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    "ResponsiblePerson": ("ResponsiblePersonRole",),
}
"""Attributes that need one of the others beside them; without it they are blank."""

TRANSLATED = _keywords(
    "BodyPartExamined Laterality PatientOrientation PixelSpacing PixelSpacingCalibrationType "
    "PixelSpacingCalibrationDescription NominalScannedPixelSpacing PixelAspectRatio LossyImageCompression "
    "LossyImageCompressionRatio LossyImageCompressionMethod ContributingEquipmentSequence"
)
"""Attributes that follow from the source, but are not simply copied."""

SET = _keywords(
    "SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber "
    "InstanceNumber Modality ConversionType Manufacturer ManufacturerModelName SoftwareVersions "
    "SecondaryCaptureDeviceManufacturer SecondaryCaptureDeviceManufacturerModelName "
    "SecondaryCaptureDeviceSoftwareVersions SeriesDescription DerivationDescription DerivationCodeSequence "
    "SourceImageSequence BurnedInAnnotation SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows "
    "Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelData"
)
"""Attributes that describe the derived image itself."""

FORBIDDEN = _keywords(
    "WindowCenter WindowWidth WindowCenterWidthExplanation VOILUTFunction VOILUTSequence RescaleIntercept RescaleSlope "
    "RescaleType ModalityLUTSequence PresentationLUTShape PresentationLUTSequence PixelIntensityRelationship "
    "PixelIntensityRelationshipSign PixelPaddingValue PixelPaddingRangeLimit SmallestImagePixelValue "
    "LargestImagePixelValue SmallestPixelValueInSeries LargestPixelValueInSeries RedPaletteColorLookupTableDescriptor "
    "GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData "
    "GreenPaletteColorLookupTableData BluePaletteColorLookupTableData "
    "ContentDate ContentTime InstanceCreationDate InstanceCreationTime DateOfSecondaryCapture TimeOfSecondaryCapture"
)
"""What would spoil the display of RGB values, and the time of writing: equal inputs give equal bytes."""


@quiet_pydicom()
def copy_attributes(
    source: Dataset, derived: Dataset, *, entities: tuple[Entity, ...] = ("patient", "study", "image")
) -> None:
    """Copy what the table :data:`COPIED` lists, valid values only.

    Args:
        source: the source image; not changed.
        derived: the dataset that is filled.
        entities: which kinds of modules to copy.
    """
    for module in COPIED:
        if module.entity in entities and all(valid_text(source, keyword) for keyword in _keywords(module.type_1)):
            _copy_module(source, derived, module)
    for keyword, companions in COMPANIONS.items():
        if derived.get(keyword) not in (None, "", "NO") and not any(companion in derived for companion in companions):
            setattr(derived, keyword, None)


def _copy_module(source: Dataset, derived: Dataset, module: CopiedModule) -> None:
    blank = _keywords(module.type_2) + tuple(keyword for keyword in _keywords(module.type_2c) if keyword in source)
    for keyword in module.keywords:
        element = valid_element(source, keyword, pattern=ALLOWED_VALUES.get(keyword))
        if element is not None:
            derived.add(element)
        elif keyword in blank:
            setattr(derived, keyword, None)


@quiet_pydicom()
def derive(
    source: Dataset,
    derived: Dataset,
    *,
    series_description: str,
    derivation_description: str,
    software_version: str,
) -> None:
    """Apply the whole table: copy, translate, set, and remove what is forbidden.

    Args:
        source: the source image; not changed. It is referred to if it names its SOP class and instance.
        derived: the derived image with its own UIDs and pixels; filled in place.
        series_description: up to 64 characters (LO).
        derivation_description: how it was made, up to 1024 characters (ST).
        software_version: of this package, up to 64 characters.

    Raises:
        ValueError: if one of the three texts is no valid value.
    """
    copy_attributes(source, derived)
    for translate in TRANSLATIONS:
        translate(source, derived)
    _set_text(derived, "SeriesDescription", series_description)
    _set_text(derived, "DerivationDescription", derivation_description)
    _set_equipment(source, derived, software_version)
    _set_constants(derived)
    _set_source_reference(source, derived)
    remove_forbidden(derived)
    set_character_set(derived, source)


def remove_forbidden(derived: Dataset) -> None:
    """Remove the attributes :data:`FORBIDDEN` in a derived image."""
    for keyword in FORBIDDEN:
        if keyword in derived:
            delattr(derived, keyword)


def has_source_image(source: Dataset) -> bool:
    """Whether the dataset is a DICOM image that can be referred to, not a stand-in for a NIfTI or PNG file."""
    return bool(valid_text(source, "SOPClassUID") and valid_text(source, "SOPInstanceUID"))


def _set_text(derived: Dataset, keyword: str, text: str) -> None:
    given = Dataset()
    setattr(given, keyword, text)
    element = valid_element(given, keyword)
    if element is None:
        raise ValueError(
            f"the {keyword} has {len(text)} characters; it must be a valid, not empty DICOM text of its kind "
            "(64 characters for LO, 1024 for ST, no control characters)."
        )
    derived.add(element)


def _set_equipment(source: Dataset, derived: Dataset, software_version: str) -> None:
    """Who made this image (PS3.3 C.7.5.1, C.8.6.1), and who contributed before (C.12.1.1.5)."""
    derived.Manufacturer = derived.ManufacturerModelName = MANUFACTURER
    _set_text(derived, "SoftwareVersions", software_version)
    derived.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    derived.SecondaryCaptureDeviceManufacturerModelName = MANUFACTURER
    derived.SecondaryCaptureDeviceSoftwareVersions = software_version
    derived.ContributingEquipmentSequence = equipment_items(source, software_version)


def _set_constants(derived: Dataset) -> None:
    derived.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    derived.ConversionType = "WSD"
    derived.BurnedInAnnotation = "YES"
    # What was done, and by which operation: 130401 is outside the (extensible) context group 7203 of operations.
    steps = (codes.DCM.VisualExplanation, codes.DCM.PixelByPixelAddition)
    derived.DerivationCodeSequence = [CodedConcept.from_code(step) for step in steps]


def _set_source_reference(source: Dataset, derived: Dataset) -> None:
    """Refer to the source image (PS3.3 C.12.4)."""
    if not has_source_image(source):
        return
    item = Dataset()
    item.ReferencedSOPClassUID = valid_text(source, "SOPClassUID")
    item.ReferencedSOPInstanceUID = valid_text(source, "SOPInstanceUID")
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)]
    derived.SourceImageSequence = [item]
