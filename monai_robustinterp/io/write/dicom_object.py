"""What the DICOM objects of a result share: the image that they refer to, identifiers, patient, equipment, dates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydicom.dataset import Dataset

from monai_robustinterp._version import __version__
from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import json_bytes
from monai_robustinterp.io.derived.character_set import set_character_set
from monai_robustinterp.io.derived.derivation import copy_attributes
from monai_robustinterp.io.derived.safe_values import quiet_pydicom, valid_text
from monai_robustinterp.io.derived.translation import MANUFACTURER, equipment_items, translate_anatomy
from monai_robustinterp.io.write.secondary_capture import SERIES_NUMBER, derived_uid

RESEARCH = "Research, not for diagnosis"
_NOT_FOR_DIAGNOSIS, _LONGEST = " - not for diagnosis", 64
_REFERRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_DATES = ("Content", "Acquisition", "Study")
_NO_DATE = ("19000101", "000000")


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A record and the DICOM image that it is of: all that a report needs.

    Attributes:
        header: of the source image.
        record: content of certificate.json or findings.json; its hash makes the UIDs.

    Raises:
        InputRefused: if the header names no image that an object could refer to.
    """

    header: Dataset
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_referable(self.header)

    @cached_property
    def record_sha256(self) -> str:
        """Hash of the record's file."""
        return _sha256(self.record)

    @cached_property
    def _referred(self) -> dict[str, str]:
        return {keyword: valid_text(self.header, keyword) for keyword in _REFERRED}

    @property
    def image(self) -> Dataset:
        """A new dataset of the source image without its patient: what highdicom needs to refer to it.

        The constructors of highdicom copy, check and log what they find in a source; :meth:`describe` copies instead.
        """
        image = Dataset()
        for keyword, value in self._referred.items():
            setattr(image, keyword, value)
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(image, keyword, None)
        image.StudyDate = image.StudyTime = image.ReferringPhysicianName = None
        return image

    def uid(self, kind: str) -> str:
        """A UID that follows from the source image, the record and this version."""
        return derived_uid(kind, self._referred["SOPInstanceUID"], self.record_sha256, __version__)

    def identifiers(self, kind: str, number: int) -> dict[str, Any]:
        """Series, instance and equipment of one object, as the constructors of highdicom take them.

        Args:
            kind: of the object: no two of a result share one.
            number: of its series, counted from that of the captures.
        """
        return {
            "series_instance_uid": derived_uid(
                f"series of {kind}", self._referred["SeriesInstanceUID"], self.record_sha256, __version__
            ),
            "series_number": SERIES_NUMBER + number,
            "sop_instance_uid": self.uid(kind),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": __version__,
            # Software has no serial number; which network made the result is what tells two installations apart.
            "device_serial_number": self.record["provenance"].get("network_sha256", "")[:16] or "none",
        }

    @quiet_pydicom()
    def describe(self, made: Dataset, what: str, *, body_part: bool = True) -> None:
        """Gives an object patient, study, equipment, description and the source's date.

        Equal inputs give equal bytes: the dates of an object are those of its source, and no time of writing is in it.

        Args:
            made: what highdicom made; changed in place.
            what: the object is; see :func:`series_description`.
            body_part: whether it states one: a report has none, and a segment has its own anatomy.
        """
        copy_attributes(self.header, made, entities=("patient", "study"))
        if body_part:
            translate_anatomy(self.header, made)
        made.SeriesDescription = series_description(what, self.record)
        made.ContributingEquipmentSequence = equipment_items(self.header, __version__)
        date, time = _date_and_time(self.header)
        for kind in ("Content", "PresentationCreation"):
            if f"{kind}Date" in made:
                setattr(made, f"{kind}Date", date)
                setattr(made, f"{kind}Time", time)
        for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
            made.pop(keyword, None)
        set_character_set(made, self.header)


@dataclass(frozen=True, kw_only=True)
class ObjectSource(Reported):
    """A result, its map, and the DICOM image that it is of.

    Attributes:
        picture: the map on the source's pixels.
    """

    picture: Picture

    @property
    def image(self) -> Dataset:
        """See :class:`Reported`, with the size of the image."""
        image = super().image
        image.Rows, image.Columns = self.picture.share.shape
        image.SamplesPerPixel = 1
        return image


def series_description(what: str, record: Mapping[str, Any]) -> str:
    """What a viewer lists a series under: the object, and the finding that it is of, as far as 64 characters go.

    Args:
        what: the object is.
        record: content of certificate.json, or of findings.json, which is of no single finding.
    """
    finding = one_line(record.get("finding", {}).get("name", ""))
    named = f"{what}: {finding}" if finding else what
    return named[: _LONGEST - len(_NOT_FOR_DIAGNOSIS)].rstrip() + _NOT_FOR_DIAGNOSIS


def one_line(name: str) -> str:
    """A name of the user's bundle as a DICOM text takes it: no control characters, no separator of values."""
    printable = "".join(character if character.isprintable() else " " for character in name.replace("\\", "/"))
    return " ".join(printable.split())


@quiet_pydicom()
def object_uid(header: Dataset, record: Mapping[str, Any], kind: str) -> str:
    """SOP Instance UID of the object of a kind, as :meth:`ObjectSource.identifiers` gives it."""
    return derived_uid(kind, valid_text(header, "SOPInstanceUID"), _sha256(record), __version__)


@quiet_pydicom()
def check_referable(header: Dataset) -> None:
    """Check that an object can refer to the image of a header.

    Raises:
        InputRefused: if it is a stand-in for a file that is no DICOM, or one of its UIDs is missing or invalid.
    """
    missing = [keyword for keyword in _REFERRED if not valid_text(header, keyword)]
    if missing:
        raise InputRefused(
            f"pm, seg, sr, pseudocolor and gsps refer to the DICOM image that they are of, and this source has no "
            f"valid {', '.join(missing)}: convert it to DICOM first, or choose among the outputs sc and nii."
        )


def _sha256(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json_bytes(record)).hexdigest()


def _date_and_time(header: Dataset) -> tuple[str, str]:
    """When the source was made, as far as it says so."""
    for kind in _DATES:
        date = valid_text(header, f"{kind}Date")
        if date:
            return date, valid_text(header, f"{kind}Time") or _NO_DATE[1]
    return _NO_DATE
