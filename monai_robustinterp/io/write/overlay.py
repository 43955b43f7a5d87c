"""The overlay: its pixels, and the DICOM secondary capture in the study of its source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from monai_robustinterp._version import __version__
from monai_robustinterp.certificates import certificate_from_json
from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import json_bytes
from monai_robustinterp.io.derived.deidentified import deidentified
from monai_robustinterp.io.derived.safe_values import valid_text
from monai_robustinterp.io.read.decoder import read_header
from monai_robustinterp.io.read.header_text import parse_header
from monai_robustinterp.io.write.secondary_capture import (
    TRANSFER_SYNTAXES,
    anonymous_source,
    reference_source,
    secondary_capture,
)
from monai_robustinterp.visualize.caption import caption_lines, guarantee, lungs_lines
from monai_robustinterp.visualize.overlay import render_overlay

Reference = Dataset
"""Header of a DICOM file whose patient and study a capture joins."""

SERIES_DESCRIPTION = "Certified saliency - not for diagnosis"


def read_reference(path: str | Path) -> Reference:
    """Header of the DICOM file that ``--reference`` names.

    Raises:
        InputRefused: if it is no readable DICOM file.
    """
    try:
        return parse_header(read_header(Path(path)))
    except InputRefused as error:
        raise InputRefused(
            f"--reference is no readable DICOM file: pass an image of the wanted study. {error}"
        ) from error


def overlay_pixels(picture: Picture, record: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """The overlay on the source grid with its strip.

    Args:
        picture: the map on the source's pixels.
        record: content of certificate.json.

    Returns:
        uint8 [H + strip, W, 3].
    """
    return render_overlay(picture.gray, picture.share, picture.top_k_mask, caption_lines(record), lungs=picture.lungs)


def overlay_capture(
    pixels: npt.NDArray[np.uint8],
    meta: Mapping[str, Any],
    record: Mapping[str, Any],
    *,
    reference: Reference | None = None,
    transfer_syntax: str = "explicit",
    deidentify_key: bytes | None = None,
) -> SCImage:
    """The rendered overlay as secondary capture in the study of its source.

    Args:
        pixels: uint8 [H', W', 3].
        meta: the reader's metadata of the source.
        record: content of certificate.json; its hash makes the UIDs.
        reference: header whose patient and study the capture joins where the source is no DICOM.
        transfer_syntax: see :func:`~monai_robustinterp.io.write.secondary_capture.secondary_capture`.
        deidentify_key: see :func:`source_header`.
    """
    return secondary_capture(
        pixels,
        source_header(meta, reference, deidentify_key),
        series_description=SERIES_DESCRIPTION,
        derivation_description=_derivation(record)[:1024],
        identity=hashlib.sha256(json_bytes(record)).hexdigest(),
        software_version=__version__,
        transfer_syntax=transfer_syntax,
    )


def _derivation(record: Mapping[str, Any]) -> str:
    claims = [*lungs_lines(record), guarantee(certificate_from_json(dict(record)))]
    return f"{record['finding']['name']}. {' '.join(claims)}"


def capture_differences(
    path: Path,
    meta: Mapping[str, Any],
    *,
    reference: Reference | None,
    transfer_syntax: str,
    deidentify_key: bytes | None = None,
) -> list[str]:
    """In what a capture of an earlier run differs from that of this one, a phrase each.

    Args:
        path: of the capture.
        meta: the reader's metadata of the source.
        reference: see :func:`overlay_capture`.
        transfer_syntax: see :func:`overlay_capture`.
        deidentify_key: see :func:`source_header`.

    Raises:
        ValueError: if it is no capture.
    """
    try:
        found = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise ValueError("no DICOM file") from error
    differences = []
    if found.file_meta.TransferSyntaxUID != TRANSFER_SYNTAXES[transfer_syntax]:
        differences.append(f"the capture has another transfer syntax than {transfer_syntax}")
    study = valid_text(source_header(meta, reference, deidentify_key), "StudyInstanceUID")
    if study and found.StudyInstanceUID != study:
        differences.append("the capture joins another study")
    return differences


def source_header(meta: Mapping[str, Any], reference: Reference | None, deidentify_key: bytes | None = None) -> Dataset:
    """Header of the source, or a stand-in for one that is no DICOM: nobody's, or of the reference's study.

    Args:
        meta: the reader's metadata of the source.
        reference: header whose patient and study a stand-in is put into.
        deidentify_key: with it the header is made one of nobody; no reference may be given then.
    """
    if meta["file_format"] == "DICOM":
        # The one that was read with the pixels: a file that was replaced meanwhile may be another patient's.
        header = parse_header(meta["dicom_header"])
        return header if deidentify_key is None else deidentified(header, deidentify_key)
    rows, cols = (int(size) for size in meta["spatial_shape"])
    spacing = [float(value) for value in meta["spacing_mm"]]
    own = anonymous_source(
        rows=rows,
        cols=cols,
        spacing_mm=None if np.isnan(spacing).any() else (spacing[0], spacing[1]),
        entropy=str(meta["pixel_sha256"]),
    )
    return own if reference is None else reference_source(reference, own)
