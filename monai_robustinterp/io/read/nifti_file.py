"""NIfTI files of one 2-D image, as SimpleITK, MONAI and MONAI Label write them for a radiograph.

Orientation rule. NIfTI states where each voxel axis runs in the patient. A radiograph is shown with columns running to
the patient's left and rows to the feet, so: of the two axes of the image, the one that runs along a later world axis of
(right-left, anterior-posterior, superior-inferior) becomes the rows, the other one the columns; each is flipped, where
needed, to run to the left (L), to the back (P) or to the feet (I). ITK writes a 2-D image that has no position as
columns = L, rows = P (affine diag(-1, -1, 1)), and the rule gives it back as it was. A file that states no orientation
(sform_code = qform_code = 0) is taken as columns = axis 0, rows = axis 1, without a flip.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.limits import file_bytes, unzipped
from monai_robustinterp.io.read.source_image import (
    UNKNOWN_SPACING,
    SourceImage,
    affine_slope,
    aspect_warnings,
    check_size,
    checked_aspect,
    no_slope,
)

_NO_STATED_RANGE = "image minimum and maximum"
_UNIT_RANGE = "unit range of float values"
_DEPENDS_ON_CONTENT = {
    _NO_STATED_RANGE: "the display range is the image's own minimum and maximum, so it depends on the content.",
    _UNIT_RANGE: "the unit range is used only while all values lie in it, so it depends on the content.",
}
_NOT_SCALED = (1.0, 0.0)
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, meter, mm, micron


def read_nifti(content: bytes, *, zipped: bool, version: int) -> SourceImage:
    """Read one 2-D image, or a volume of one slice.

    Args:
        content: of a single-file NIfTI.
        zipped: whether the file is gzip-compressed.
        version: 1 or 2.

    Returns:
        The image, rows first, with ``scl_slope`` and ``scl_inter`` applied.

    Raises:
        InputRefused: if it is damaged, has several slices, or its values are no grayscale.
    """
    image_class = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    try:
        plain = unzipped(content) if zipped else content
        image: Any = image_class.from_stream(io.BytesIO(plain))
        axes = _image_axes(image)
        _check_length(image, plain)
        stored = np.array(image.dataobj.get_unscaled())
        values = np.asarray(image.get_fdata(dtype=np.float32))
    except InputRefused:
        raise
    except Exception as error:  # nibabel, gzip and zlib each raise their own types
        raise InputRefused(
            f"The NIfTI file could not be read ({type(error).__name__}); header and data must be complete. "
            "The file is damaged: copy or export it again."
        ) from None
    stored, values, step = _rows_first(image, stored, axes), _rows_first(image, values, axes), _axes_step(image, axes)
    scaling = float(image.dataobj.slope), float(image.dataobj.inter)
    low, high, source = _display_range(image.header, stored, values, scaled=scaling != _NOT_SCALED)
    slope = affine_slope(abs(scaling[0]), low, high, intercept=scaling[1])
    if source in _DEPENDS_ON_CONTENT:
        slope = no_slope(_DEPENDS_ON_CONTENT[source])
    spacing_mm = _spacing_mm(image.header, axes)
    aspect = checked_aspect(spacing_mm)
    return SourceImage(
        stored_pixels=stored,
        values=values,
        display_min=low,
        display_max=high,
        display_source=source,
        intensity_path=("stored values", *_scaling_step(scaling), step),
        slope=slope,
        file_format="NIfTI",
        spacing_mm=spacing_mm,
        spacing_source="none" if np.isnan(spacing_mm).any() else "NIfTI pixdim",
        pixel_aspect=aspect,
        warnings=(*aspect_warnings(aspect), *_range_warnings(source)),
    )


def _check_length(image: Any, plain: bytes) -> None:
    """Looks for the data where the header puts them, before anything of their size is allocated."""
    start, size = int(image.dataobj.offset), math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    if not 0 <= start <= start + size <= len(plain):
        raise EOFError("the data end behind the file")


def stored_like(path: Path, values: npt.NDArray[np.float32]) -> Any:
    """A NIfTI image of new values on the voxel grid of a file that :func:`read_nifti` takes.

    Args:
        path: the file whose geometry is taken, and nothing else of its header.
        values: on the grid that :func:`read_nifti` gives, rows first, [H, W].
    """
    content = file_bytes(path)
    if content[:2] == b"\x1f\x8b":
        content = unzipped(content)
    image_class = nib.Nifti1Image if content[344:348] == b"n+1\0" else nib.Nifti2Image
    source: Any = image_class.from_bytes(content)
    row, column = _image_axes(source)
    plane = _flipped(source, values, (row, column))
    stored = (plane.T if row > column else plane).reshape(source.shape)
    image = nib.Nifti1Image(stored, None)  # type: ignore[no-untyped-call]
    header, kept = image.header, source.header
    # An unused quaternion may be none, which nibabel would refuse to read.
    if kept["qform_code"] > 0 and not kept["sform_code"] > 0:
        header.set_qform(kept.get_qform(), int(kept["qform_code"]))  # type: ignore[no-untyped-call]
    header.set_sform(kept.get_sform(), int(kept["sform_code"]))  # type: ignore[no-untyped-call]
    header.set_zooms(kept.get_zooms()[: len(source.shape)])  # type: ignore[no-untyped-call]
    header.set_xyzt_units(*kept.get_xyzt_units())  # type: ignore[no-untyped-call]
    return image


def _image_axes(image: Any) -> tuple[int, int]:
    """The voxel axes that become rows and columns."""
    if image.get_data_dtype().kind not in "uif":
        raise InputRefused(
            f"The NIfTI data type is {image.get_data_dtype()}; a radiograph has one real number a pixel. "
            "Export it as grayscale."
        )
    axes = [axis for axis, size in enumerate(image.shape) if size > 1]
    if len(axes) != 2 or axes[1] > 2:
        raise InputRefused(
            f"The NIfTI has shape {tuple(int(n) for n in image.shape)}; a radiograph has two axes longer than 1, both "
            "spatial. Extract the image to explain."
        )
    column, row = sorted(axes, key=lambda axis: int(_orientation(image)[axis, 0]))
    check_size(int(image.shape[row]), int(image.shape[column]))
    return row, column


def _orientation(image: Any) -> npt.NDArray[np.float64]:
    """World axis (0 to 2) and sign (1: towards R, A, S) of each voxel axis, shape [3, 2]."""
    if not _is_oriented(image):
        return np.array([[0, -1], [1, -1], [2, -1]], dtype=np.float64)
    return np.asarray(nib.io_orientation(image.affine))  # type: ignore[no-untyped-call]


def _is_oriented(image: Any) -> bool:
    return int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0


def _rows_first(image: Any, array: npt.NDArray[Any], axes: tuple[int, int]) -> npt.NDArray[Any]:
    row, column = axes
    plane = array.reshape([n for n in array.shape if n > 1])
    if row > column:
        plane = plane.T
    return np.ascontiguousarray(_flipped(image, plane, axes))


def _flipped(image: Any, plane: npt.NDArray[Any], axes: tuple[int, int]) -> npt.NDArray[Any]:
    """Rows and columns turned to run to the left, back or feet; a second time turns them back."""
    signs = _orientation(image)[list(axes), 1]
    return plane[:: -1 if signs[0] > 0 else 1, :: -1 if signs[1] > 0 else 1]


def _axes_step(image: Any, axes: tuple[int, int]) -> str:
    if not _is_oriented(image):
        return "no orientation stated: columns = axis 0, rows = axis 1"
    codes = nib.aff2axcodes(image.affine)  # type: ignore[no-untyped-call]
    return f"rows from axis {axes[0]} ({codes[axes[0]]}), columns from axis {axes[1]} ({codes[axes[1]]})"


def _scaling_step(scaling: tuple[float, float]) -> tuple[str, ...]:
    return () if scaling == _NOT_SCALED else (f"scl_slope {scaling[0]:g} scl_inter {scaling[1]:g}",)


def _display_range(
    header: Any, stored: npt.NDArray[Any], values: npt.NDArray[Any], *, scaled: bool
) -> tuple[float, float, str]:
    cal_min, cal_max = float(header["cal_min"]), float(header["cal_max"])
    if cal_min < cal_max:
        return cal_min, cal_max, "header: cal_min, cal_max"
    low, high = float(values.min()), float(values.max())
    if stored.dtype == np.uint8 and not scaled:
        return 0.0, 255.0, "full 8-bit range"
    if stored.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0, _UNIT_RANGE
    return low, high, _NO_STATED_RANGE


def _range_warnings(source: str) -> tuple[str, ...]:
    if source != _NO_STATED_RANGE:
        return ()
    return (
        "the file states no display range, so the image's minimum and maximum are taken and its intensities depend on "
        "its content; set cal_min and cal_max to the values that are shown black and white",
    )


def _spacing_mm(header: Any, axes: tuple[int, int]) -> tuple[float, float]:
    unit = int(header["xyzt_units"]) % 8
    if unit not in _MM_PER_UNIT:
        raise InputRefused(
            f"The NIfTI states its spacing in unit {unit}; there are 0 to 3 (unknown, meter, mm, micron). The header "
            "is damaged: copy or export it again."
        )
    scale = _MM_PER_UNIT[unit]
    row, column = (float(header.get_zooms()[axis]) * scale for axis in axes)
    return (row, column) if min(row, column) > 0 else UNKNOWN_SPACING
