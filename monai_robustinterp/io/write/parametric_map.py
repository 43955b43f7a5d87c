"""DICOM Parametric Map (PS3.3 A.75) of the vote shares, float32 on the source's own grid."""

from __future__ import annotations

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from monai_robustinterp.io.derived.translation import translate_orientation
from monai_robustinterp.io.write.codes import own
from monai_robustinterp.io.write.dicom_object import RESEARCH, ObjectSource

NAME = "votes.dcm"
KIND = "parametric map"

_TOWARDS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}


def parametric_map(source: ObjectSource) -> Dataset:
    """Vote shares in [0, 1] as they are, with the note how coarse they are.

    The IOD asks for a place in space, which a projection has none of: the frame of reference is this map's own, with
    the first pixel at its origin. Pixel spacing is the source's, 1 mm where the source states none.
    """
    made = ParametricMap(
        [_with_place(source)],
        source.picture.share.astype(np.float32),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_shares()],
        voi_lut_transformations=[
            VOILUTTransformation(window_center=0.5, window_width=1, voi_lut_function="LINEAR_EXACT")
        ],
        content_label="VOTES",
        content_description="Share of noisy copies that vote for the pixel's cell",
        **source.identifiers(KIND, 2),
    )
    made.ImageComments = _comment(source)
    uid = source.uid(f"dimensions of {KIND}")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
    source.describe(made, f"Vote shares - {RESEARCH.lower()}")
    return made


def _shares() -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label="VOTES",
        lut_explanation="Share of noisy copies that vote for the cell",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=own("VOTE_SHARE"),
    )


def _with_place(source: ObjectSource) -> Dataset:
    image = source.image
    image.FrameOfReferenceUID = source.uid("frame of reference")
    image.PositionReferenceIndicator = ""
    image.ImagePositionPatient = [0, 0, 0]
    image.ImageOrientationPatient = _orientation(source.header)
    image.PixelSpacing, image.SliceThickness = _spacing(source), 1
    return image


def _orientation(header: Dataset) -> list[int]:
    """Rows and columns run as the source says; else as a frontal film is shown: to the left, and to the feet."""
    oriented = Dataset()
    translate_orientation(header, oriented)
    directions = [str(direction)[0] for direction in oriented.PatientOrientation or ()]
    if len(directions) != 2 or not set(directions) <= _TOWARDS.keys():
        directions = ["L", "F"]
    return [value for direction in directions for value in _TOWARDS[direction]]


def _spacing(source: ObjectSource) -> list[float]:
    spacing = [float(value) for value in source.picture.meta["spacing_mm"]]
    return [float(source.picture.meta["pixel_aspect"]), 1.0] if np.isnan(spacing).any() else spacing


def _comment(source: ObjectSource) -> str:
    spec = source.record["spec"]
    rows, columns = source.record["votes"]["input_shape"]
    cell = spec["cell_size"]
    coarse = (
        f"Coarse: one value for each cell of {cell} x {cell} pixels of the network's input of {rows} x {columns}, "
        "repeated over the pixels of the cell. "
        if cell > 1
        else ""
    )
    unknown = np.isnan(np.asarray(source.picture.meta["spacing_mm"], dtype=float)).any()
    placeholder = "The source states no pixel spacing: the one here is a placeholder. " * bool(unknown)
    return (
        f"{RESEARCH}. {coarse}{placeholder}Frame of reference, position and orientation are this map's own: a "
        f"projection has no place in space. 0 outside of what the network sees. Record {source.record_sha256}."
    )
