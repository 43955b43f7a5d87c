"""One image of any format that the reader knows: pixels, and what the metadata say of it as plain values.

Nothing here imports torch or MONAI: it runs in the process of :mod:`~monai_robustinterp.io.read.decoder`.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_dataset import is_dicom
from monai_robustinterp.io.read.dicom_file import read_dicom
from monai_robustinterp.io.read.dicom_header import HEADER_KEYS
from monai_robustinterp.io.read.nifti_file import read_nifti
from monai_robustinterp.io.read.raster_file import read_raster
from monai_robustinterp.io.read.source_image import SourceImage, check_content

HEAD_BYTES = 544  # NIfTI-2 has its magic in the first 540 bytes, NIfTI-1 at 344, DICOM at 128


def read_image(content: bytes, *, strict: bool) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Read one image.

    Args:
        content: of the file.
        strict: see :class:`~monai_robustinterp.io.read.reader.ChestXRayReader`.

    Returns:
        float32 [1, H, W], and plain values: the entries of its metadata that follow from the content, ``shape`` [H, W]
        and ``warnings`` as a list.

    Raises:
        InputRefused: if it is no readable radiograph.
    """
    source = read_source(content, strict=strict)
    with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused in the next line
        array = np.ascontiguousarray(source.values, dtype=np.float32)[None]
    check_content(array)
    return array, _facts(source)


def file_format(head: bytes) -> str:
    """Name of the format of a file that begins with ``head``; "" if it is none that this reader knows."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[344:348] == b"n+1\0":
        return "NIfTI-1"
    if head[4:8] == b"n+2\0":
        return "NIfTI-2"
    if head.startswith(b"\x1f\x8b"):
        inner = file_format(_unzipped(head))
        return f"{inner}.gz" if inner.startswith("NIfTI") else ""
    return "DICOM" if is_dicom(head) else ""


def _unzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def read_source(content: bytes, *, strict: bool) -> SourceImage:
    """Read one image of any known format; see :func:`read_image`."""
    kind = file_format(content[:HEAD_BYTES])
    if kind == "DICOM":
        return read_dicom(content, strict=strict)
    if kind in ("PNG", "JPEG"):
        return read_raster(content, png=kind == "PNG")
    if kind:
        return read_nifti(content, zipped=kind.endswith(".gz"), version=int(kind[6]))
    raise InputRefused(
        "The content is of no known image format; the reader takes DICOM files, single-file NIfTI (.nii, .nii.gz), "
        "PNG and JPEG. Export the image as one of these."
    )


def _facts(source: SourceImage) -> dict[str, Any]:
    return {
        "shape": source.stored_pixels.shape,
        "spacing_mm": source.spacing_mm,
        "spacing_source": source.spacing_source,
        "pixel_aspect": source.pixel_aspect,
        **{key: source.header.get(key, "") for key in HEADER_KEYS},
        "display_min": source.display_min,
        "display_max": source.display_max,
        "display_source": source.display_source,
        "display_slope": source.slope.value,
        "display_rho": source.slope.rho,
        "display_margin": source.slope.margin,
        "display_slope_reason": source.slope.reason,
        "intensity_path": "; ".join(source.intensity_path),
        "pixel_sha256": _pixel_sha256(source.stored_pixels),
        "dicom_header": source.dicom_header,
        "file_format": source.file_format,
        "lossy_compression": source.lossy_compression,
        "warnings": source.warnings,
    }


def _pixel_sha256(pixels: npt.NDArray[Any]) -> str:
    little_endian = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.data).hexdigest()
