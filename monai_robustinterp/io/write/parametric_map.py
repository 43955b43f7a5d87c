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
from monai_robustinterp.io.write.film_plane import NO_PLACE, film_plane, spacing_is_unknown

NAME = "votes.dcm"
KIND = "parametric map"


def parametric_map(source: ObjectSource) -> Dataset:
    """Vote shares in [0, 1] as they are, with the note how coarse they are.

    The IOD asks for a place in space, which a projection has none of: it is that of ``film_plane``.
    """
    made = ParametricMap(
        [film_plane(source)],
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
    translate_orientation(source.header, made)
    made.ImageComments = _comment(source)
    uid = source.uid(f"dimensions of {KIND}")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
    source.describe(made, "Vote shares")
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
    placeholder = "The source states no pixel spacing: the one here is a placeholder. " * spacing_is_unknown(source)
    return (
        f"{RESEARCH}. {coarse}{placeholder}{NO_PLACE} 0 outside of what the network sees. "
        f"Record {source.record_sha256}."
    )
