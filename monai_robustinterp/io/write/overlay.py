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
from monai_robustinterp.io.write.dicom_object import one_line, series_description
from monai_robustinterp.io.write.options import Capture, OutputOptions
from monai_robustinterp.io.write.secondary_capture import (
    TRANSFER_SYNTAXES,
    anonymous_source,
    reference_source,
    secondary_capture,
)
from monai_robustinterp.visualize.canvas import film_shape, render_canvas
from monai_robustinterp.visualize.caption import caption_lines, guarantee, lungs_lines
from monai_robustinterp.visualize.overlay import render_overlay
from monai_robustinterp.visualize.physician import captions, record_code

_CALLED: Mapping[Capture, str] = {"canvas": "Certified saliency", "source": "Certified saliency, source grid"}


def read_reference(path: str | Path) -> Dataset:
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


def overlay_pixels(
    picture: Picture, record: Mapping[str, Any], *, capture: Capture = "canvas"
) -> npt.NDArray[np.uint8]:
    """The picture of a result.

    Args:
        picture: the map on the source's pixels.
        record: content of certificate.json.
        capture: which picture.

    Returns:
        uint8 [H', W', 3]: the canvas, or the source grid with a strip below.
    """
    said, layers = captions(record), (picture.gray, picture.share, picture.top_k_mask)
    top_k = int(record["spec"]["top_k"])
    if capture == "canvas":
        aspect = float(picture.meta["pixel_aspect"])
        return render_canvas(*layers, said, top_k=top_k, pixel_aspect=aspect, lungs=picture.lungs)
    lines = [
        *(" ".join(caption) for caption in said.paragraphs),
        f"Record {said.code}",
        *said.remarks,
        *caption_lines(record),
    ]
    return render_overlay(*layers, lines, top_k=top_k, stable=said.stable, lungs=picture.lungs)


def overlay_capture(
    pixels: npt.NDArray[np.uint8], meta: Mapping[str, Any], record: Mapping[str, Any], options: OutputOptions
) -> SCImage:
    """The rendered overlay as secondary capture in the study of its source.

    Args:
        pixels: of :func:`overlay_pixels`, uint8 [H', W', 3].
        meta: the reader's metadata of the source.
        record: content of certificate.json; its hash makes the UIDs.
        options: which picture it is, and how it is written.
    """
    return secondary_capture(
        pixels,
        source_header(meta, options),
        series_description=series_description(_CALLED[options.capture], record),
        derivation_description=_derivation(record)[:1024],
        identity=f"{hashlib.sha256(json_bytes(record)).hexdigest()} {options.capture}",
        software_version=__version__,
        transfer_syntax=options.transfer_syntax,
        source_pixels=_source_pixels(meta) if options.capture == "canvas" else None,
    )


def _source_pixels(meta: Mapping[str, Any]) -> tuple[float, float]:
    """How many pixels of the source one pixel of the canvas holds, down and across."""
    rows, columns = (int(size) for size in meta["spatial_shape"])
    height, width = film_shape(rows, columns, float(meta["pixel_aspect"]))
    return rows / height, columns / width


def _derivation(record: Mapping[str, Any]) -> str:
    claims = [*lungs_lines(record), guarantee(certificate_from_json(dict(record)))]
    return f"Record {record_code(record)}. {one_line(record['finding']['name'])}. {' '.join(claims)}"


def capture_differences(
    path: Path, meta: Mapping[str, Any], record: Mapping[str, Any], options: OutputOptions
) -> list[str]:
    """In what a capture of an earlier run differs from that of this one, a phrase each.

    Args:
        path: of the capture.
        meta: the reader's metadata of the source.
        record: content of certificate.json.
        options: of this run.

    Raises:
        ValueError: if it is no capture.
    """
    found, differences = written_header(path), []
    if found.get("SeriesDescription") != series_description(_CALLED[options.capture], record):
        differences.append(f"the capture is another picture than {options.capture}")
    if found.file_meta.TransferSyntaxUID != TRANSFER_SYNTAXES[options.transfer_syntax]:
        differences.append(f"the capture has another transfer syntax than {options.transfer_syntax}")
    study = valid_text(source_header(meta, options), "StudyInstanceUID")
    if study and found.StudyInstanceUID != study:
        differences.append("the capture joins another study")
    return differences


def written_header(path: Path) -> Dataset:
    """Header of a DICOM file of an earlier run.

    Raises:
        ValueError: if it is none.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise ValueError("no DICOM file") from error


def source_header(meta: Mapping[str, Any], options: OutputOptions) -> Dataset:
    """Header of the source, or a stand-in for one that is no DICOM: nobody's, or of the reference's study.

    Args:
        meta: the reader's metadata of the source.
        options: whose header it becomes.
    """
    if meta["file_format"] == "DICOM":
        # The one that was read with the pixels: a file that was replaced meanwhile may be another patient's.
        header = parse_header(meta["dicom_header"])
        return header if options.deidentify_key is None else deidentified(header, options.deidentify_key)
    rows, cols = (int(size) for size in meta["spatial_shape"])
    spacing = [float(value) for value in meta["spacing_mm"]]
    own = anonymous_source(
        rows=rows,
        cols=cols,
        spacing_mm=None if np.isnan(spacing).any() else (spacing[0], spacing[1]),
        entropy=str(meta["pixel_sha256"]),
    )
    return own if options.reference is None else reference_source(options.reference, own)
