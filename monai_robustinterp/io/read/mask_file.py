"""Files that mask a region of one source image: NIfTI and DICOM Segmentation.

A mask is taken only if it is known to lie on the pixels of the image; a flipped one would still look like a mask.

*NIfTI.* Rows and columns follow the rule of :mod:`~monai_robustinterp.io.read.nifti_file`, as for images, so a mask
that was saved in another orientation comes out right. The rule can be fooled by an affine that is not the image's (the
identity that ``nibabel`` users pass, say), so the mask must also lie where the image lies: for a NIfTI image, its
corners are those of the image; any other image has no place in patient space, and ITK, which 3D Slicer, ITK-SNAP and
SimpleITK read it with, puts its first pixel at the origin and lets columns run to the left and rows to the back.

*DICOM Segmentation.* The frame of the segment that refers to the image's SOP Instance UID, on the image's rows and
columns. Where frames refer to nothing, as some writers have it, the object must refer to that one image only.
"""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.derived.safe_values import quiet_pydicom
from monai_robustinterp.io.read.dicom_header import integer, numbers, shown_term, text
from monai_robustinterp.io.read.limits import file_bytes
from monai_robustinterp.io.read.nifti_file import read_nifti

Mask = npt.NDArray[np.bool_]
_TYPES, _MOVED = ("BINARY", "FRACTIONAL", "LABELMAP"), ("NO", "REORIENTED_ONLY")
_HEAD_BYTES = 540  # the longer of the two NIfTI headers
_SAME_PLACE = 0.1  # of a pixel: more than single-precision headers lose, less than any real shift


@dataclass(frozen=True, kw_only=True)
class SourceMask:
    """A mask on the pixels of its image.

    Attributes:
        pixels: bool [H, W], rows and columns as ``ChestXRayReader`` gives the image.
        kind: ``NIfTI``, or ``DICOM SEG, segment 2``.
    """

    pixels: Mask
    kind: str


def read_mask(path: Path, meta: Mapping[str, Any], *, segment: int | None = None) -> SourceMask:
    """Read the mask of one image.

    Args:
        path: NIfTI with values 0 and 1, or DICOM Segmentation (a fractional one counts from 0.5).
        meta: metadata of the image, as ``ChestXRayReader`` gives it.
        segment: segment number; needed if a DICOM Segmentation has several.

    Raises:
        InputRefused: if it is no binary mask, or is not known to lie on the pixels of this image.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError as error:
        raise InputRefused(
            f"The mask could not be opened as a file ({type(error).__name__}); it must be one readable file, no "
            "folder. Check the path and its permissions."
        ) from None
    if head[128:] == b"DICM":
        pixels, number = _read_segmentation(path, meta, segment)
        return SourceMask(pixels=pixels, kind=f"DICOM SEG, segment {number}")
    if segment is not None:
        raise InputRefused("A segment number was given and the mask is no DICOM file; leave the number out for NIfTI.")
    return SourceMask(pixels=_read_nifti_mask(path, meta), kind="NIfTI")


def _read_nifti_mask(path: Path, meta: Mapping[str, Any]) -> Mask:
    header, zipped, version = _nifti_header(path)
    values = read_nifti(file_bytes(path), zipped=zipped, version=version).values
    _check_shape(values.shape, meta)
    _check_place(header, meta)
    return _binary(values)


def _nifti_header(path: Path) -> tuple[Any, bool, int]:
    """Header of a NIfTI, whether it is compressed, and its version."""
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, EOFError):
        head = b""
    for version, kind in ((1, nib.Nifti1Header), (2, nib.Nifti2Header)):
        if kind.may_contain_header(head):  # type: ignore[no-untyped-call]
            header = kind(head[: kind.template_dtype.itemsize], check=False)  # type: ignore[no-untyped-call]
            return header, zipped, version
    raise InputRefused(
        "The content of the mask is neither NIfTI nor DICOM; a mask is a single-file NIfTI (.nii, .nii.gz) or a DICOM "
        "Segmentation with the DICM prefix. Save it as one of these."
    )


def _check_place(header: Any, meta: Mapping[str, Any]) -> None:
    """Check that a NIfTI mask lies where its image lies."""
    if meta["file_format"] == "NIfTI":
        image = _nifti_header(Path(meta["filename_or_obj"]))[0]
        if not (_is_oriented(header) or _is_oriented(image)):
            return  # both are read as they are stored
        same = _is_oriented(header) and _is_oriented(image) and _lie_together(_corners(header), _corners(image), header)
        what = "its image; save it with the affine and the header of the image"
    else:
        # With columns to the left and rows to the back (or feet), the first pixel has the largest R, A and S. For a
        # mask that states no affine nibabel puts the origin into its middle, so it is refused.
        same = _lie_together(_corners(header).max(axis=0)[None], np.zeros((1, 3)), header)
        what = (
            "an image without a position: axis 0 = columns, axis 1 = rows, affine diag(-column spacing, -row spacing, "
            "1, 1). Draw it on this very file with a tool that uses ITK, or save it with that affine"
        )
    if not same:
        raise InputRefused(
            f"The mask's affine does not put it onto the image; a mask must lie where its image lies, or it could be "
            f"flipped or shifted unseen. It must have the place of {what}."
        )


def _is_oriented(header: Any) -> bool:
    return int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0


def _corners(header: Any) -> npt.NDArray[np.float64]:
    """World coordinates of the first and last voxels, [8, 3]."""
    shape = (*header.get_data_shape(), 1)[:3]
    voxels = np.array([(*ends, 1) for ends in itertools.product(*((0, n - 1) for n in shape))])
    return np.asarray((voxels @ header.get_best_affine().T)[:, :3])


def _lie_together(found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], header: Any) -> bool:
    """Whether each point found is one of those wanted, to a fraction of a pixel."""
    axes = [axis for axis, size in enumerate(header.get_data_shape()) if size > 1]
    pixel = np.linalg.norm(header.get_best_affine()[:3, axes], axis=0).min()
    distance = np.linalg.norm(found[:, None] - wanted[None], axis=2)
    return bool((distance.min(axis=1) <= _SAME_PLACE * pixel).all())


def _read_segmentation(path: Path, meta: Mapping[str, Any], segment: int | None) -> tuple[Mask, int]:
    """Pixels and number of the segment."""
    try:
        with quiet_pydicom():
            dataset = dcmread(io.BytesIO(file_bytes(path)))  # no name to log: file names may hold patient names
            _check_segmentation(dataset, meta)
            number = _segment_number(dataset, segment)
            return _frame(dataset, _frame_index(dataset, number, str(meta["sop_instance_uid"]))), number
    except InputRefused:
        raise
    except Exception as error:  # pydicom and its decoders raise many types for damaged files
        raise InputRefused(
            f"The DICOM Segmentation could not be read ({type(error).__name__}); header and frames must be complete. "
            "The file is damaged or not standard: copy or export it again."
        ) from None


def _check_segmentation(dataset: Dataset, meta: Mapping[str, Any]) -> None:
    kind = text(dataset, "SegmentationType")
    if text(dataset, "SOPClassUID") != SegmentationStorage or kind not in ("BINARY", "FRACTIONAL"):
        raise InputRefused(
            f"The DICOM mask has SegmentationType {shown_term(kind, _TYPES)}; it must be a Segmentation "
            "object of type BINARY or FRACTIONAL. Export it as one (label maps, contours and images are not read)."
        )
    if not meta["sop_instance_uid"]:
        raise InputRefused(
            "The mask is a DICOM Segmentation and the image no DICOM file; a segmentation refers to a DICOM image. "
            "Give the mask as NIfTI, or the image as DICOM."
        )
    _check_shape((integer(dataset, "Rows"), integer(dataset, "Columns")), meta)
    _check_length(dataset)


def _check_length(dataset: Dataset) -> None:
    # Some writers start every 1-bit frame at a new byte, which the standard does not: pixels would move.
    if UID(text(dataset.file_meta, "TransferSyntaxUID")).is_encapsulated:
        return
    bits = dataset.Rows * dataset.Columns * _frame_count(dataset) * dataset.BitsAllocated
    found, needed = len(dataset.PixelData), -(-bits // 8)
    if found not in (needed, needed + 1):
        raise InputRefused(
            f"The pixel data of the segmentation has {found} bytes; its frames need {needed}. It was cut short, or its "
            "frames do not follow each other without a gap: export it again."
        )


def _frame_count(dataset: Dataset) -> int:
    return int((numbers(dataset, "NumberOfFrames") or [1])[0])


def _segment_number(dataset: Dataset, segment: int | None) -> int:
    found = sorted(int(item.SegmentNumber) for item in dataset.SegmentSequence)
    if segment is None and len(found) == 1:
        return found[0]
    if segment is None or segment not in found:
        raise InputRefused(
            f"The segmentation has the segments {', '.join(map(str, found))}, and "
            f"{'none' if segment is None else f'number {segment}'} was chosen; a region is one segment. Add its number "
            "to the file: mask:FILE#2 is segment 2."
        )
    return segment


def _frame_index(dataset: Dataset, number: int, uid: str) -> int:
    """The one frame of a segment that refers to the image."""
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * _frame_count(dataset))
    if len(frames) != _frame_count(dataset):
        raise InputRefused(
            f"The segmentation describes {len(frames)} frames and has {_frame_count(dataset)}; both numbers must "
            "agree. Export it again."
        )
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    found = []
    for index, frame in enumerate(frames):
        sources = [item for item in _frame_sources(dataset, frame, shared) if item.ReferencedSOPInstanceUID == uid]
        if sources and _frame_segment(dataset, frame, shared) == number:
            _check_alignment(sources)
            found.append(index)
    if len(found) != 1:
        raise InputRefused(
            f"{len(found)} frames of segment {number} refer to this image; there must be one. Either the segmentation "
            "belongs to another image, or the segment is empty, or its frames do not say which image they belong to."
        )
    return found[0]


def _frame_segment(dataset: Dataset, frame: Dataset, shared: Dataset) -> int | None:
    for group in (frame, shared):
        for item in group.get("SegmentIdentificationSequence") or ():
            return int(item.ReferencedSegmentNumber)
    # Left out by some writers where there is nothing to choose.
    return int(dataset.SegmentSequence[0].SegmentNumber) if len(dataset.SegmentSequence) == 1 else None


def _frame_sources(dataset: Dataset, frame: Dataset, shared: Dataset) -> list[Dataset]:
    """References of a frame to its images; those of the whole object if it has none and they name one image."""
    for group in (frame, shared):
        derivations = group.get("DerivationImageSequence") or ()
        sources = [item for derivation in derivations for item in derivation.get("SourceImageSequence") or ()]
        if sources:
            return sources
    series = dataset.get("ReferencedSeriesSequence") or ()
    sources = [item for one in series for item in one.get("ReferencedInstanceSequence") or ()]
    sources += list(dataset.get("SourceImageSequence") or ())
    return sources if len({item.ReferencedSOPInstanceUID for item in sources}) == 1 else []


def _check_alignment(sources: list[Dataset]) -> None:
    for item in sources:
        preserved = text(item, "SpatialLocationsPreserved")
        if preserved not in ("", "YES"):
            raise InputRefused(
                f"SpatialLocationsPreserved of the segmentation is {shown_term(preserved, _MOVED)}; its pixels must be "
                "those of the image (YES, or not stated). Draw the mask on the image itself."
            )


def _frame(dataset: Dataset, index: int) -> Mask:
    # All frames at once: pydicom 3.0.2 fails to decode a single 1-bit frame that begins inside a byte.
    values = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)[index]
    if text(dataset, "SegmentationType") == "BINARY":
        return _binary(values)
    largest = int(dataset.MaximumFractionalValue)
    if values.max() > largest:
        raise InputRefused(
            f"The segmentation has the value {values.max()} and MaximumFractionalValue {largest}; no value may exceed "
            "it. Export it again."
        )
    return np.asarray(2 * values.astype(np.int64) >= largest)


def _check_shape(found: tuple[int | None, ...], meta: Mapping[str, Any]) -> None:
    wanted = tuple(int(n) for n in meta["spatial_shape"])
    if found != wanted:
        raise InputRefused(
            f"The mask has {found[0]} rows and {found[1]} columns and the image {wanted[0]} and {wanted[1]}; they must "
            "agree. Draw the mask on the image in its full size."
        )


def _binary(values: npt.NDArray[Any]) -> Mask:
    wrong = int(np.count_nonzero((values != 0) & (values != 1)))
    if wrong:
        raise InputRefused(
            f"{wrong} of {values.size} pixels of the mask are neither 0 nor 1; a mask is binary. Save the region as 1 "
            "and the rest as 0, one file for each label."
        )
    return np.asarray(values == 1)
