"""Makes the sample images from two wheels of PyPI, and checks them against the SHA-256 of README.md.

usage: python sample_data/make_sample_data.py WHEELS OUTPUT

WHEELS is a folder with what this command leaves there (117 MB):

    pip download --no-deps --dest WHEELS pneumonia-model-package==0.3.0 pydicom-data==1.0.0

Five films of Kermany et al. are taken as the wheel has them, byte for byte; one is written as DX and one as NIfTI with
the same pixels. RG1 keeps its JPEG 2000 stream and loses what could identify. Nothing depends on time or chance; the
NIfTI is compressed by zlib, and another deflate would give other bytes of the same image.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

README = Path(__file__).with_name("README.md")
FILMS = "pneumonia_model_package/datasets/pneumonia-data/val/"
DX, NIFTI, RG1 = "person1951_bacteria_4882", "NORMAL2-IM-1437-0001", "data_store/data/RG1_J2KI.dcm"
COPIED = (
    "NORMAL2-IM-1430-0001",
    "NORMAL2-IM-1442-0001",
    "person1947_bacteria_4876",
    "person1949_bacteria_4880",
    "person1952_bacteria_4883",
)
# Of files in the wheels; the films that are copied have their hashes in README.md.
SOURCES = {
    f"{FILMS}{DX}.jpeg": "1136fa7a74528c4b6dd55b7318dedefdbc7b523db09928b1ebdf276fef31f08b",
    f"{FILMS}{NIFTI}.jpeg": "a73c06abbb473b57c90374424f86f0d7876bdbdb5c3ed8c681e4bd6f09778c38",
    RG1: "744d01372fdda4e21b507bb7f97329065de961f4f263342079b369b430064d65",
}
# What could identify patient, institution or device in RG1 gets these values, or is dropped.
RG1_VALUES = {
    "PatientName": "Sample^RG1",
    "PatientID": "SAMPLE-RG1",
    "PatientBirthDate": "",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "StudyID": "1",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "identifiers, birth date, institution, comments blanked",
}
RG1_DROPPED = (
    *("InstitutionName", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber"),
    *("SourceImageSequence", "OtherPatientIDs", "ImageComments"),
)


def sha256(content: bytes) -> str:
    """Hash in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def pixels_of(jpeg: bytes) -> npt.NDArray[np.uint8]:
    """Gray values of a film, uint8 [H, W]."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("L"))


def nifti(film: bytes) -> bytes:
    """NIfTI-1, uint8, of a film; columns to the left and rows to the feet, in steps of 1 mm, which is assumed."""
    image = nibabel.Nifti1Image(pixels_of(film).T[..., None], np.diag([-1.0, -1.0, 1.0, 1.0]))
    return gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)


def dx(film: bytes) -> bytes:
    """DX image for presentation of a film: its pixels, and a header in which nothing of the patient is known."""
    dataset = Dataset()
    _describe(dataset)
    for level in ("Study", "Series", "SOP"):
        digest = hashlib.sha256(f"{level} {sha256(film)}".encode()).digest()
        setattr(dataset, f"{level}InstanceUID", f"2.25.{int.from_bytes(digest[:16], 'big')}")
    pixels = pixels_of(film)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.add_new("PixelData", "OW", pixels.tobytes() + b"\0" * (pixels.size % 2))
    return written(dataset)


def _describe(dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "Sample^Kermany", "SAMPLE-KERMANY"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.Manufacturer = ""
    dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", "published without a header; made anew"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.SOPClassUID, dataset.Modality = uid.DigitalXRayImageStorageForPresentation, "DX"
    dataset.ImageType, dataset.PresentationIntentType = ["DERIVED", "PRIMARY", ""], "FOR PRESENTATION"
    dataset.DerivationDescription = "Pixels of a JPEG file (Kermany et al. 2018); spacing, exposure and device unknown"
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.ImageLaterality = "CHEST", "AP", "U"
    dataset.PatientOrientation = ["L", "F"]
    dataset.AnatomicRegionSequence = [_code("51185008", "Chest")]
    dataset.ViewCodeSequence = [_code("399348003", "antero-posterior")]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.AcquisitionContextSequence = []
    # Required by the DX modules; 1 mm is a stand-in, since the film states no spacing.
    dataset.ImagerPixelSpacing, dataset.DetectorType, dataset.PositionerType = [1, 1], "", "NONE"
    dataset.AcquisitionDeviceProcessingDescription = ""
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.PresentationLUTShape, dataset.BurnedInAnnotation = "IDENTITY", "NO"
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def written(dataset: Dataset) -> bytes:
    """The bytes of a new file, whatever version of pydicom writes it."""
    dataset.file_meta = meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = "2.25.1", "SAMPLE_DATA"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def blanked_rg1(original: bytes) -> bytes:
    """RG1 without what could identify; the compressed pixels stay."""
    dataset = pydicom.dcmread(io.BytesIO(original))
    for keyword in RG1_DROPPED:
        delattr(dataset, keyword)
    for keyword, value in RG1_VALUES.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def samples(wheels: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all samples.

    Args:
        wheels: folder of the two wheels.

    Raises:
        SystemExit: if a wheel is missing or holds another file than the one that the samples were made from.
    """
    with _wheel(wheels, "pneumonia_model_package") as films:
        for name in COPIED:
            yield f"kermany_{name}.jpeg", films.read(f"{FILMS}{name}.jpeg")
        yield f"kermany_{DX}_dx.dcm", dx(_source(films, f"{FILMS}{DX}.jpeg"))
        yield f"kermany_{NIFTI}.nii.gz", nifti(_source(films, f"{FILMS}{NIFTI}.jpeg"))
    with _wheel(wheels, "pydicom_data") as dicom:
        yield "wg04_rg1_multiple_masses.dcm", blanked_rg1(_source(dicom, RG1))


def _wheel(folder: Path, name: str) -> zipfile.ZipFile:
    found = list(folder.glob(f"{name}-*.whl"))
    if len(found) != 1:
        raise SystemExit(f"{folder} holds {len(found)} wheels of {name}, and one is needed: see the usage.")
    return zipfile.ZipFile(found[0])


def _source(wheel: zipfile.ZipFile, member: str) -> bytes:
    content = wheel.read(member)
    if sha256(content) != SOURCES[member]:
        raise SystemExit(f"{member} has SHA-256 {sha256(content)}: take the versions that the usage names.")
    return content


def main(wheels: Path, output: Path) -> None:
    """Writes all samples, and ends with an error if one differs from README.md."""
    expected = dict(re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", README.read_text(), flags=re.MULTILINE))
    output.mkdir(parents=True, exist_ok=True)
    other = []
    for name, content in samples(wheels):
        (output / name).write_bytes(content)
        print(sha256(content), name)
        if expected.get(name) != sha256(content):
            other.append(name)
    if other:
        raise SystemExit(f"not the hash of README.md: {', '.join(other)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("output", type=Path)
    main(**vars(parser.parse_args()))
