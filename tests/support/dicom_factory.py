"""Synthetic DX and CR files for the tests: a chest-like picture with a bright marker in one corner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import config, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
MARKER_SIDE = 20
_NATIVE = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian)


def chest_like(
    rows: int = 256, cols: int = 224, *, bits: int = 12, marker: str = "top-left", seed: int = 0
) -> npt.NDArray[np.uint16]:
    """Two dark lungs in gray tissue, noise, and a white square in one corner; values 0 to 2**bits - 1, air dark."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : cols * 1j]
    tissue = 0.7 - 0.25 * (x**2 + y**2) / 2
    for center in (-0.45, 0.45):
        tissue -= 0.35 * (((x - center) / 0.3) ** 2 + (y / 0.6) ** 2 < 1)
    picture = np.clip(tissue + rng.normal(0, 0.02, tissue.shape), 0.02, 0.8)
    square = tuple(
        slice(0, MARKER_SIDE) if near else slice(-MARKER_SIDE, None)
        for near in (marker.startswith("top"), marker.endswith("left"))
    )
    picture[square] = 1.0
    stored: npt.NDArray[np.uint16] = np.rint(picture * (2**bits - 1)).astype(np.uint16)
    return stored


def marker_corner(image: npt.NDArray[Any]) -> str:
    """The corner whose square is brightest in an image [H, W]."""
    near, far = slice(0, MARKER_SIDE), slice(-MARKER_SIDE, None)
    squares = ((near, near), (near, far), (far, near), (far, far))
    return CORNERS[int(np.argmax([image[square].mean() for square in squares]))]


def make_dx(
    path: Path,
    *,
    rows: int = 256,
    cols: int = 224,
    pixels: npt.NDArray[Any] | None = None,
    mono1: bool = False,
    cr: bool = False,
    signed: bool = False,
    bits_stored: int = 12,
    bits_allocated: int = 16,
    marker: str = "top-left",
    seed: int = 0,
    spacing_mm: tuple[float, float] = (0.2, 0.203),
    transfer_syntax: UID = uid.ExplicitVRLittleEndian,
    elements: Mapping[str, Any] | None = None,
) -> Path:
    """Write a DX (for presentation) or CR file whose displayed picture does not depend on how it is stored.

    Args:
        path: file to write.
        rows: rows of the picture.
        cols: columns of the picture.
        pixels: picture to store instead of ``chest_like``, unsigned, air dark.
        mono1: store it as MONOCHROME1.
        cr: write CR instead of DX.
        signed: store signed values, with a rescale intercept that makes up for it.
        bits_stored: BitsStored; the window is its full range.
        bits_allocated: BitsAllocated, 8 or 16.
        marker: corner of the marker.
        seed: seed of picture and UIDs.
        spacing_mm: row and column spacing.
        transfer_syntax: native, RLE or JPEG-LS.
        elements: keyword -> value to set last, None to delete; values are not validated.

    Returns:
        The path.
    """
    shown = chest_like(rows, cols, bits=bits_stored, marker=marker, seed=seed) if pixels is None else pixels
    with config.disable_value_validation():
        dataset = Dataset()
        _add_patient_and_study(dataset, seed)
        _add_equipment(dataset, mono1=mono1, cr=cr, spacing_mm=spacing_mm)
        _add_pixels(dataset, shown, mono1=mono1, signed=signed, bits=(bits_allocated, bits_stored))
        if transfer_syntax not in _NATIVE:
            _compress(dataset, transfer_syntax)
        _apply(dataset, elements or {})
        _save(dataset, path, transfer_syntax)
    return path


def _add_patient_and_study(dataset: Dataset, seed: int) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "Factory^Synthetic", f"FACTORY{seed:04d}"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate = dataset.ContentDate = dataset.AcquisitionDate = "20260102"
    dataset.StudyTime = dataset.ContentTime = dataset.AcquisitionTime = "030405"
    dataset.AccessionNumber, dataset.StudyID, dataset.ReferringPhysicianName = "F1", "1", ""
    dataset.StudyInstanceUID = uid.generate_uid(entropy_srcs=["study", str(seed)])
    dataset.SeriesInstanceUID = uid.generate_uid(entropy_srcs=["series", str(seed)])
    dataset.SOPInstanceUID = uid.generate_uid(entropy_srcs=["instance", str(seed)])
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.PatientOrientation = ["L", "F"]
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"


def _add_equipment(dataset: Dataset, *, mono1: bool, cr: bool, spacing_mm: tuple[float, float]) -> None:
    dataset.Manufacturer = dataset.ManufacturerModelName = "monai_robustinterp tests"
    if cr:
        dataset.SOPClassUID, dataset.Modality = uid.ComputedRadiographyImageStorage, "CR"
        dataset.ImageType, dataset.PixelSpacing = ["ORIGINAL", "PRIMARY"], list(spacing_mm)
        return
    dataset.SOPClassUID, dataset.Modality = uid.DigitalXRayImageStorageForPresentation, "DX"
    dataset.ImageType, dataset.ImagerPixelSpacing = ["ORIGINAL", "PRIMARY", ""], list(spacing_mm)
    dataset.PresentationIntentType, dataset.ImageLaterality = "FOR PRESENTATION", "U"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1 if mono1 else -1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.PresentationLUTShape = "INVERSE" if mono1 else "IDENTITY"
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    dataset.DetectorType, dataset.DetectorConfiguration, dataset.PositionerType = "DIRECT", "AREA", "NONE"
    dataset.AcquisitionDeviceProcessingDescription = ""
    dataset.AcquisitionContextSequence = []
    dataset.AnatomicRegionSequence = [_code("51185008", "Chest")]
    dataset.ViewCodeSequence = [_code("399348003", "antero-posterior")]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _add_pixels(dataset: Dataset, shown: npt.NDArray[Any], *, mono1: bool, signed: bool, bits: tuple[int, int]) -> None:
    allocated, stored = bits
    values = (2**stored - 1 - shown.astype(np.int64)) if mono1 else shown.astype(np.int64)
    if signed:
        values = values - 2 ** (stored - 1)
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 2 ** (stored - 1), "US"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if mono1 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = shown.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (stored - 1), 2**stored
    dataset.add_new("PixelData", "OW", values.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes())


def _compress(dataset: Dataset, transfer_syntax: UID) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.compress(transfer_syntax, generate_instance_uid=False)


def _apply(dataset: Dataset, elements: Mapping[str, Any]) -> None:
    for keyword, value in elements.items():
        if value is None:
            dataset.pop(keyword, None)
        elif isinstance(value, str) and dictionary_VR(keyword) == "DS":
            tag, text = Tag(keyword), value.encode() + b" " * (len(value) % 2)
            # As raw bytes, since pydicom cannot hold text in a number, and real files do.
            dataset[tag] = RawDataElement(tag, "DS", len(text), text, 0, False, True)
        else:
            setattr(dataset, keyword, value)


def _save(dataset: Dataset, path: Path, transfer_syntax: UID) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
