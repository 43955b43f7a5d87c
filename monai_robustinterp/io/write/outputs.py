"""Which files beside certificate, votes and preview a result has: each output is made by one small writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.io.write import (
    contour_state,
    parametric_map,
    pseudo_color_state,
    segmentation,
    structured_report,
)
from monai_robustinterp.io.write.dicom_object import ObjectSource, check_referable, object_uid
from monai_robustinterp.io.write.map_nifti import save_map
from monai_robustinterp.io.write.options import OUTPUTS, OutputOptions
from monai_robustinterp.io.write.overlay import (
    capture_differences,
    overlay_capture,
    overlay_pixels,
    source_header,
    written_header,
)
from monai_robustinterp.io.write.secondary_capture import write_dicom_atomically

CAPTURE, MAPS = "sc", "nii"
CAPTURE_NAME = "overlay.dcm"
VOTES_NIFTI, TOP_K_NIFTI = "votes.nii.gz", "top_k.nii.gz"


@dataclass(frozen=True)
class DicomOutput:
    """A DICOM object that refers to the source image.

    Attributes:
        name: of its file.
        kind: of which its UIDs are made.
        make: the object of a result.
    """

    name: str
    kind: str
    make: Callable[[ObjectSource], Dataset]


_OBJECTS: Mapping[str, DicomOutput] = {
    "pm": DicomOutput(parametric_map.NAME, parametric_map.KIND, parametric_map.parametric_map),
    "seg": DicomOutput(segmentation.NAME, segmentation.KIND, segmentation.segmentation),
    "sr": DicomOutput(structured_report.NAME, structured_report.KIND, structured_report.structured_report),
    "pseudocolor": DicomOutput(pseudo_color_state.NAME, pseudo_color_state.KIND, pseudo_color_state.pseudo_color_state),
    "gsps": DicomOutput(contour_state.NAME, contour_state.KIND, contour_state.contour_state),
}


def check_source(meta: Mapping[str, Any], options: OutputOptions) -> None:
    """Check, before any noise, that the outputs can be made of an image.

    Args:
        meta: the reader's metadata of the image.
        options: of the run.

    Raises:
        InputRefused: if an object has no DICOM image to refer to.
    """
    if not _OBJECTS.keys().isdisjoint(options.outputs):
        check_referable(source_header(meta, options))


def save_outputs(
    picture: Picture,
    record: Mapping[str, Any],
    options: OutputOptions,
    *,
    at: Callable[[str], Path],
    pixels: npt.NDArray[np.uint8] | None = None,
    only: Sequence[str] = OUTPUTS,
    overwrite: bool = False,
) -> None:
    """Writes the chosen outputs.

    Args:
        picture: the map on the source's pixels.
        record: content of certificate.json.
        options: which outputs, and how.
        at: the path of a file of that name.
        pixels: the overlay of the capture, if it is rendered already.
        only: those of the outputs that are to be written.
        overwrite: replace earlier files of this package.

    Raises:
        InputRefused: if an object has no DICOM image to refer to.
    """
    outputs = [name for name in options.outputs if name in only]
    if CAPTURE in outputs:
        pixels = overlay_pixels(picture, record, capture=options.capture) if pixels is None else pixels
        image = overlay_capture(pixels, picture.meta, record, options)
        write_dicom_atomically(image, at(CAPTURE_NAME), overwrite=overwrite)
    objects = [_OBJECTS[name] for name in outputs if name in _OBJECTS]
    if objects:
        source = ObjectSource(header=source_header(picture.meta, options), picture=picture, record=record)
        for output in objects:
            write_dicom_atomically(output.make(source), at(output.name), overwrite=overwrite)
    if MAPS in outputs:
        save_map(at(VOTES_NIFTI), picture.share, picture.meta, overwrite=overwrite)
        save_map(at(TOP_K_NIFTI), picture.top_k_mask.astype(np.float32), picture.meta, overwrite=overwrite)


def missing_outputs(folder: Path, outputs: Sequence[str]) -> tuple[str, ...]:
    """Those of the outputs of which a file is not in a result folder."""
    files = {CAPTURE: (CAPTURE_NAME,), MAPS: (VOTES_NIFTI, TOP_K_NIFTI)}
    files |= {name: (output.name,) for name, output in _OBJECTS.items()}
    return tuple(name for name in outputs if not all((folder / file).is_file() for file in files[name]))


def other_outputs(
    folder: Path, meta: Mapping[str, Any], record: Mapping[str, Any], options: OutputOptions
) -> list[str]:
    """In what the outputs in a folder differ from those that this run would write, a phrase each.

    Args:
        folder: of a result.
        meta: the reader's metadata of the source.
        record: content of certificate.json.
        options: of this run; outputs that are not there do not differ.

    Raises:
        ValueError: if one is no DICOM file.
    """
    missing = missing_outputs(folder, options.outputs)
    outputs = [name for name in options.outputs if name not in missing]
    differences = capture_differences(folder / CAPTURE_NAME, meta, record, options) if CAPTURE in outputs else []
    header = source_header(meta, options)
    for output in (_OBJECTS[name] for name in outputs if name in _OBJECTS):
        if written_header(folder / output.name).get("SOPInstanceUID") != object_uid(header, record, output.kind):
            differences.append(f"{output.name} is of another result")
    return differences
