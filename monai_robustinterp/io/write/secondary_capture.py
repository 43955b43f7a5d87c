"""The overlay as an RGB Secondary Capture image (PS3.3 A.8.1) in the source's study: equal inputs, equal bytes."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from openjpeg.utils import encode_pixel_data
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from monai_robustinterp.files import atomic_write
from monai_robustinterp.io.derived.character_set import set_character_set
from monai_robustinterp.io.derived.derivation import copy_attributes, derive
from monai_robustinterp.io.derived.safe_values import quiet_pydicom, valid_text
from monai_robustinterp.io.derived.translation import MANUFACTURER, rescale_spacing

SERIES_NUMBER = 9900
"""High, so that viewers list the derived series after the acquired ones."""

TRANSFER_SYNTAXES: Mapping[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
    "rle": RLELossless,
}
"""Names of the transfer syntaxes that can be written, all lossless."""

# Named, since pydicom would take GDCM first for RLE, which aborts the whole process on some pictures (3.2.6).
_ENCODERS = {JPEGLSLossless: "pyjpegls", RLELossless: "pydicom"}
_UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, MANUFACTURER)
_STAND_IN = "stand-in"


@quiet_pydicom()
def secondary_capture(
    pixels: npt.NDArray[np.uint8],
    source: Dataset,
    *,
    series_description: str,
    derivation_description: str,
    identity: str,
    software_version: str,
    transfer_syntax: str = "explicit",
    source_pixels: tuple[float, float] | None = None,
) -> SCImage:
    """Make the Secondary Capture image of an overlay: same patient and study as the source, a series of its own.

    UIDs follow from the source's UIDs, ``identity`` and ``software_version``, and no time of writing is in it. Its
    modality is OT, so that it is not taken for an acquired radiograph. A source without valid UIDs of its own gives
    UIDs that follow from the picture.

    Args:
        pixels: RGB picture, uint8 [H', W, 3]: the source grid of W columns at the top left, anything below it; or
            any picture, with ``source_pixels``.
        source: header of the source image, or what :func:`anonymous_source` or :func:`reference_source` gives; it is
            not changed.
        series_description: up to 64 characters.
        derivation_description: how the image was made, up to 1024 characters.
        identity: what sets this result apart from others of the same image, such as a hash of the configuration.
        software_version: version of this package.
        transfer_syntax: ``explicit`` (uncompressed), or lossless ``jpeg2000`` (smallest), ``jpegls`` (fastest) or
            ``rle`` (slow).
        source_pixels: of a picture on another grid, how many pixels of the source one of its square pixels holds, down
            and across; the spacing follows from it.

    Returns:
        The image, ready to be written.

    Raises:
        ValueError: if the pixels are not an RGB picture on the source's grid, or a text or option is invalid.
    """
    _check_pixels(pixels, source if source_pixels is None else Dataset())
    if transfer_syntax not in TRANSFER_SYNTAXES:
        raise ValueError(f"transfer_syntax is {transfer_syntax!r}; it must be one of {', '.join(TRANSFER_SYNTAXES)}.")
    instance = valid_text(source, "SOPInstanceUID") or hashlib.sha256(pixels.tobytes()).hexdigest()
    series = valid_text(source, "SeriesInstanceUID") or instance
    image = _rgb_image(
        pixels,
        syntax=TRANSFER_SYNTAXES[transfer_syntax],
        study_instance_uid=valid_text(source, "StudyInstanceUID") or derived_uid("study", series),
        series_instance_uid=derived_uid("series", series, identity, software_version),
        sop_instance_uid=derived_uid("instance", instance, identity, software_version),
        instance_number=int(valid_text(source, "InstanceNumber", pattern=r"[1-9]\d{0,8}") or 1),
    )
    derive(
        source,
        image,
        series_description=series_description,
        derivation_description=derivation_description,
        software_version=software_version,
    )
    if source_pixels is not None:
        rescale_spacing(image, source_pixels)
    return image


def derived_uid(kind: str, *parts: str) -> str:
    """A UID that follows from its parts: 2.25 and a name-based UUID as a decimal number (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, json.dumps([kind, *parts])).int}"


def anonymous_source(*, rows: int, cols: int, spacing_mm: tuple[float, float] | None, entropy: str) -> Dataset:
    """A stand-in header for an image from a NIfTI or PNG file: nobody's, in a study of its own.

    Args:
        rows: height of the image in pixels.
        cols: width of the image in pixels.
        spacing_mm: distance of rows and of columns in mm, if it is known.
        entropy: what the UIDs follow from, such as a hash of the pixels.

    Returns:
        A dataset without SOP class, so that no image is referred to.
    """
    source = Dataset()
    source.PatientName = "ANONYMOUS"
    # Not one ID for all, or an archive would put the images of many people into one patient.
    source.PatientID = f"ANON-{uuid.uuid5(_UID_NAMESPACE, entropy).hex[:12].upper()}"
    source.StudyInstanceUID = derived_uid("study", _STAND_IN, entropy)
    source.SeriesInstanceUID = derived_uid("series", _STAND_IN, entropy)
    source.SOPInstanceUID = derived_uid("instance", _STAND_IN, entropy)
    source.Rows, source.Columns = rows, cols
    if spacing_mm is not None:
        source.PixelSpacing = [f"{value:.10g}" for value in spacing_mm]
    return source


@quiet_pydicom()
def reference_source(reference: Dataset, own: Dataset) -> Dataset:
    """Put a stand-in header into the patient and study of a DICOM file.

    Only patient and study are taken over: geometry and image are those of ``own``, and the reference is not named as
    the source image, since nothing shows that the pixels came from it.

    Args:
        reference: any object of the study; not changed.
        own: what :func:`anonymous_source` gave.

    Returns:
        A new dataset.

    Raises:
        ValueError: if the reference has no valid StudyInstanceUID.
    """
    study = valid_text(reference, "StudyInstanceUID")
    if not study:
        raise ValueError("the reference has no valid StudyInstanceUID, so it names no study; give another one.")
    source = Dataset()
    copy_attributes(reference, source, entities=("patient", "study"))
    source.StudyInstanceUID = study
    # With the study in them: the same pixels put into two studies must not share an instance UID.
    source.SeriesInstanceUID = derived_uid("series", own.SeriesInstanceUID, study)
    source.SOPInstanceUID = derived_uid("instance", own.SOPInstanceUID, study)
    for keyword in ("Rows", "Columns", "PixelSpacing"):
        if keyword in own:
            source.add(own[keyword])
    set_character_set(source, reference)
    return source


@quiet_pydicom()
def write_dicom_atomically(dataset: Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a DICOM file whole or not at all, and never over a file that is not this package's own.

    Args:
        dataset: the object with its file meta information.
        path: the file's name.
        overwrite: whether an earlier result of this package under that name may be replaced; no other file ever is.

    Returns:
        The path.

    Raises:
        FileExistsError: if a file is there that is to be kept.
        FileNotFoundError: if the folder is missing.
    """
    path = Path(path)
    if overwrite and os.path.lexists(path) and not _is_earlier_result(path, dataset):
        raise FileExistsError(
            "the output file exists and is no earlier result of this package, so it is kept; give another name."
        )
    # It names the patient.
    return atomic_write(
        path, lambda file: dcmwrite(file, dataset, enforce_file_format=True), overwrite=overwrite, private=True
    )


def _rgb_image(pixels: npt.NDArray[np.uint8], *, syntax: UID, **identifiers: Any) -> SCImage:
    """Pixels and identifiers; patient and study are filled in later, since this constructor logs names it dislikes."""
    image = SCImage(
        pixel_array=np.ascontiguousarray(pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        series_number=SERIES_NUMBER,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **identifiers,
    )
    if syntax == JPEG2000Lossless:
        _compress_jpeg2000(image)
    elif syntax in _ENCODERS:
        image.compress(syntax, encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)
    return image


def _compress_jpeg2000(image: SCImage) -> None:
    """Compress in place. Directly with OpenJPEG, since pydicom's encoder wants one more package around it."""
    frame = encode_pixel_data(
        image.PixelData,
        rows=image.Rows,
        columns=image.Columns,
        samples_per_pixel=3,
        bits_stored=8,
        pixel_representation=0,
        photometric_interpretation="YBR_RCT",
        use_mct=True,
    )
    image.PixelData = encapsulate([frame])
    image.PhotometricInterpretation = "YBR_RCT"
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless


def _is_earlier_result(path: Path, dataset: Dataset) -> bool:
    """Whether the file was made by this package and is not a source of the dataset."""
    sources = {item.ReferencedSOPInstanceUID for item in dataset.get("SourceImageSequence", [])}
    try:
        existing = dcmread(path, specific_tags=["Manufacturer", "SOPInstanceUID"])
        made_here = valid_text(existing, "Manufacturer") == MANUFACTURER
        return made_here and valid_text(existing, "SOPInstanceUID") not in sources
    except Exception:  # pydicom raises many types for what is no DICOM file; such a file is someone else's
        return False


def _check_pixels(pixels: npt.NDArray[np.uint8], source: Dataset) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"the picture is {pixels.dtype} of shape {pixels.shape}; it must be uint8 [H', W, 3] (RGB).")
    rows, columns = source.get("Rows"), source.get("Columns")
    if rows is not None and (pixels.shape[0] < rows or pixels.shape[1] != columns):
        raise ValueError(
            f"the picture has {pixels.shape[0]} rows and {pixels.shape[1]} columns, the source {rows} and {columns}; "
            "the picture must have the source's grid at its top left, with nothing beside it."
        )
