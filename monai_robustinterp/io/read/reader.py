"""The package's one image reader: DICOM, NIfTI, PNG and JPEG chest radiographs to one orientation and one gray scale.

Hosts disagree on exactly this (MONAI's ``PydicomReader`` transposes and leaves MONOCHROME1 bright, ITK inverts it), so
everything here is explicit: ``array[0, r, c]`` is row r, column c of the image as it is shown, and air is dark.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.image_reader import ImageReader
from monai.utils.misc import ensure_tuple

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.decoder import read_image
from monai_robustinterp.io.read.formats import HEAD_BYTES, file_format
from monai_robustinterp.io.read.limits import file_bytes

PathOrPaths = str | PathLike[str] | Sequence[str | PathLike[str]]


class ChestXRayReader(ImageReader):
    """Read one chest radiograph as float32 ``[1, H, W]`` with plain, collatable metadata.

    The format is found from the content. DICOM values are those after modality LUT and VOI LUT table (or sigmoid), with
    MONOCHROME1 inverted and padding black; a linear window is recorded as ``display_min`` and ``display_max``, and
    ``ScaleDisplayRange`` applies it. NIfTI orientation follows the rule in ``io/read/nifti_file.py``.

    Each image's meta dictionary has the same keys, with "" and NaN for what is unknown:

    - ``filename_or_obj``, ``spatial_shape`` (H, W), ``original_channel_dim`` (0), ``affine`` and ``original_affine``
      (4 x 4: spacing in mm in the image plane, 1 where unknown; no patient space), ``spacing_mm`` [row, column],
      ``spacing_source`` (PixelSpacing, ImagerPixelSpacing, NIfTI pixdim, none), ``pixel_aspect`` (height of a pixel
      over its width; 1 where unknown or within 2 % of it);
    - ``modality``, ``body_part`` and ``view_position`` (terms of the standard), ``laterality``,
      ``patient_orientation``, ``photometric_interpretation``, ``sop_class_uid``, ``sop_instance_uid``,
      ``series_instance_uid``, ``study_instance_uid``, ``transfer_syntax_uid``;
    - ``display_min``, ``display_max``, ``display_source``: the values that are shown black and white;
    - ``display_slope``: the largest change of a display value (0 black, 1 white) per unit of a decoded stored pixel,
      rounded up. NaN where there is no bound, and ``display_slope_reason`` is the sentence that says why: a lookup
      table, pixels at the padding value, or a range that depends on the content. ``display_rho``: the largest of
      |black|, |white| and |intercept| over the width of the range, which bounds the round-off. ``display_margin``: l2
      norm of a change of the stored pixels within which both hold, since the range is chosen for the pixels;
    - ``intensity_path``: what was applied to the stored pixels, in order; ``pixel_sha256``: hash of the decoded stored
      pixels (row by row, little-endian, in their integer type);
    - ``file_sha256``: hash of the file; ``dicom_header``: the header that was read with the pixels, a
      :class:`~monai_robustinterp.io.read.header_text.HeaderText` (it names the patient, and prints as nothing);
    - ``file_format`` (DICOM, NIfTI, image), ``lossy_compression`` ("JPEG" if the file says that its pixels have been
      through it), ``warnings`` (joined by "; ").

    Args:
        strict: refuse DICOM images whose header states another modality or body part, or FOR PROCESSING. Otherwise
            they are read with a ``UserWarning``, which is also kept in the meta dictionary.
    """

    def __init__(self, strict: bool = False) -> None:
        super().__init__()
        self.strict = strict

    def verify_suffix(self, filename: PathOrPaths) -> bool:
        """Whether the content of every file is of a known format; names do not matter."""
        try:
            return all(bool(file_format(_head(Path(name)))) for name in ensure_tuple(filename))
        except OSError:
            return False

    def read(self, data: PathOrPaths, **kwargs: Any) -> PathOrPaths:
        """Give back the path: the file is opened in ``get_data``.

        ``LoadImage`` takes any exception raised here as "try the next reader", and MONAI's own readers would then
        silently read a file that this one refuses.
        """
        return data

    def get_data(self, img: PathOrPaths) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Open, check and decode one file.

        Args:
            img: what ``read`` returned: one path, or a sequence of one.

        Returns:
            The image, float32 ``[1, H, W]``, and its meta dictionary.

        Raises:
            InputRefused: if the file is no readable radiograph; its ``path`` says which file.
        """
        paths = ensure_tuple(img)
        if len(paths) != 1:
            raise InputRefused(f"{len(paths)} files were given for one image; give one path per image.")
        try:
            content = file_bytes(Path(paths[0]))
            array, facts = read_image(content, strict=self.strict)
        except InputRefused as refused:
            refused.path = str(paths[0])
            raise
        for warning in facts["warnings"]:
            warnings.warn(warning, UserWarning, stacklevel=2)
        return array, _meta(facts, str(paths[0]), hashlib.sha256(content).hexdigest())


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _meta(facts: Mapping[str, Any], path: str, file_sha256: str) -> dict[str, Any]:
    # In the image plane only: MONAI uses it to scale, and a projection has no place in patient space.
    affine = np.diag([*(1.0 if np.isnan(s) else s for s in facts["spacing_mm"]), 1.0, 1.0])
    return {
        **{key: value for key, value in facts.items() if key != "shape"},
        "filename_or_obj": path,
        "affine": affine,
        "original_affine": affine.copy(),
        "spatial_shape": np.asarray(facts["shape"]),
        "original_channel_dim": 0,
        "spacing_mm": np.asarray(facts["spacing_mm"], dtype=np.float64),
        "file_sha256": file_sha256,
        "warnings": "; ".join(facts["warnings"]),
    }


def source_record(meta: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """Entry ``source`` of a record: what is said of the file, without names.

    Args:
        meta: of the image; that of an image which this reader did not read says nothing.
        shape: height and width of the network's input, which stands for the source where there is no file.
    """
    texts = ("file_sha256", "pixel_sha256", "intensity_path", "display_source", "warnings")
    if not all(name in meta for name in texts):
        return {"format": "tensor", "shape": [int(side) for side in shape], **dict.fromkeys(texts, "")}
    return {
        "format": str(meta["file_format"]),
        "shape": [int(side) for side in meta["spatial_shape"]],
        **{name: str(meta[name]) for name in texts},
    }
