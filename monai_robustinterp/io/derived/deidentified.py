"""A header without its patient and study (PS3.15 annex E, basic profile), for objects that leave where they were made.

By list of what stays, so an attribute that no one thought of goes. Text that is burned into the film is not touched.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
from pathlib import Path

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.derived.safe_values import quiet_pydicom, valid_text

LEAST_KEY_BYTES = 32

_STAY = (
    *("SOPClassUID", "Rows", "Columns", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"),
    *("PatientOrientation", "AnatomicalOrientationType", "BodyPartExamined", "Laterality", "ImageLaterality"),
    *("ViewPosition", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth"),
    *("VOILUTFunction", "PresentationLUTShape", "LossyImageCompression", "LossyImageCompressionRatio"),
    "LossyImageCompressionMethod",
)
"""How the film lies and is shown; none of it is in the profile's table, and writers check the values."""
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_METHOD = "Basic profile by a list of what stays; UIDs are keyed hashes"


def read_key(path: Path) -> bytes:
    """The key of the hashes: the content of a file.

    Raises:
        InputRefused: if it cannot be read or is too short to be secret.
    """
    try:
        key = path.read_bytes()
    except OSError as error:
        raise InputRefused(
            f"the key file of --deidentify cannot be read ({error.strerror}): check its path and permissions."
        ) from error
    if len(key) < LEAST_KEY_BYTES:
        raise InputRefused(
            f"the key of --deidentify has {len(key)} bytes; it must have at least {LEAST_KEY_BYTES}, drawn at random, "
            "or UIDs can be found by trying. Make one with: head -c 32 /dev/urandom > key"
        )
    return key


@quiet_pydicom()
def deidentified(header: Dataset, key: bytes) -> Dataset:
    """A new header of the same film, of nobody.

    UIDs and patient ID become keyed hashes: films of one study stay together, and without the key nobody can tell
    which study that is, even by trying all UIDs.

    Args:
        header: of the source; not changed.
        key: secret bytes; another key gives other UIDs.
    """
    made = Dataset()
    for keyword in _STAY:
        if keyword in header:
            made[keyword] = copy.deepcopy(header[keyword])
    for keyword in _UIDS:
        value = valid_text(header, keyword)
        if value:
            setattr(made, keyword, f"2.25.{int.from_bytes(_hash(key, 'UID', value)[:16])}")
    patient = valid_text(header, "PatientID") or valid_text(header, "StudyInstanceUID")
    made.PatientName, made.PatientID = "ANONYMOUS", f"ANON-{_hash(key, 'patient', patient).hex()[:12].upper()}"
    made.PatientIdentityRemoved, made.DeidentificationMethod = "YES", _METHOD
    made.DeidentificationMethodCodeSequence = [CodedConcept.from_code(codes.DCM.BasicApplicationConfidentialityProfile)]
    made.file_meta = FileMetaDataset()
    syntax = getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")
    if syntax is not None:
        made.file_meta.TransferSyntaxUID = UID(syntax)
    return made


def _hash(key: bytes, kind: str, value: str) -> bytes:
    return hmac.digest(key, f"{kind} {value}".encode(), hashlib.sha256)
