"""DICOM Segmentation (PS3.3 A.51) of the reported cells, and of the lungs where they are known."""

from __future__ import annotations

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from monai_robustinterp._version import __version__
from monai_robustinterp.io.derived.translation import MANUFACTURER, translate_orientation
from monai_robustinterp.io.write.codes import own
from monai_robustinterp.io.write.dicom_object import RESEARCH, ObjectSource
from monai_robustinterp.io.write.film_plane import NO_PLACE, film_plane
from monai_robustinterp.visualize.outlined import LUNGS_LINE_COLOR, TOP_K_COLOR

NAME = "segmentation.dcm"
KIND = "segmentation"


def segmentation(source: ObjectSource) -> Dataset:
    """Segment 1 is the reported top-k set, segment 2 the lungs; both on the source's own grid, one bit a pixel.

    It states the plane of ``film_plane``, without which OHIF shows no segmentation.
    """
    picture = source.picture
    segments, masks = [_top_k(source)], [picture.top_k_mask]
    if picture.lungs is not None:
        segments.append(_lungs(source))
        masks.append(picture.lungs)
    made = Segmentation(
        [film_plane(source)],
        np.stack(masks, axis=-1)[None].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=segments,
        content_label="TOP_K",
        omit_empty_frames=False,
        **source.identifiers(KIND, 1),
    )
    translate_orientation(source.header, made)
    made.ImageComments = f"{RESEARCH}. {NO_PLACE}"
    _fixed_dimensions(made, source)
    source.describe(made, "Top-k region", body_part=False)
    return made


def _fixed_dimensions(made: Dataset, source: ObjectSource) -> None:
    """The organization of the frames gets a UID that follows from the result, where highdicom draws one."""
    uid = source.uid(f"dimensions of {KIND}")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _top_k(source: ObjectSource) -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label="Top-k region",
        # A place, and no structure: what it shows is where votes are, not where disease is.
        segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
        segmented_property_type=own("TOP_K"),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MANUFACTURER, version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=source.uid("top-k region"),
        tracking_id="Top-k region",
        display_color=CIELabColor.from_rgb(*TOP_K_COLOR),
    )


def _lungs(source: ObjectSource) -> SegmentDescription:
    drawn = source.record.get("lungs", {})
    by_algorithm = AlgorithmIdentificationSequence(
        name=str(drawn.get("name", "")),
        version=str(drawn.get("version") or "unknown"),
        family=codes.DCM.ArtificialIntelligence,
    )
    return SegmentDescription(
        segment_number=2,
        segment_label="Lungs" if drawn else "Lungs, as a mask gave them",
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Lung,
        algorithm_type="AUTOMATIC" if drawn else "MANUAL",
        algorithm_identification=by_algorithm if drawn else None,
        tracking_uid=source.uid("lungs"),
        tracking_id="Lungs",
        display_color=CIELabColor.from_rgb(*LUNGS_LINE_COLOR),
    )
