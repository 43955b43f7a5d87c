"""A map on the grid of its source, as NIfTI that lies over the source in a viewer."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from monai_robustinterp.files import atomic_write
from monai_robustinterp.io.read.nifti_file import stored_like


def save_map(path: Path, values: npt.NDArray[np.floating], meta: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Writes a map as .nii.gz, float32; of its source it holds the geometry and nothing else.

    A map of a NIfTI file has the voxel grid of that file. Of other formats it is written as ITK writes a 2-D image
    without a position: columns run to the left, rows to the back.

    Args:
        path: of the file.
        values: on the grid of the source as the reader gives it, rows first, [H, W].
        meta: what the reader said of the source: path, format and spacing.
        overwrite: whether a file that is there may be replaced.

    Raises:
        FileExistsError: if there is a file that may not.
    """
    values = np.asarray(values, dtype=np.float32)
    if meta["file_format"] == "NIfTI":
        image = stored_like(Path(meta["filename_or_obj"]), values)
    else:
        image = _projection(values, meta["spacing_mm"])
    content = gzip.compress(image.to_bytes(), mtime=0)
    atomic_write(path, lambda file: file.write(content), overwrite=overwrite)


def _projection(values: npt.NDArray[np.float32], spacing_mm: npt.ArrayLike) -> Any:
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    rows, columns = np.nan_to_num(spacing, nan=1.0)
    image = nib.Nifti1Image(values.T[..., None], np.diag([-columns, -rows, 1.0, 1.0]))  # type: ignore[no-untyped-call]
    if not np.isnan(spacing).any():
        image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    return image
