"""Grayscale Softcopy Presentation State (PS3.3 A.33.1) with the contours, which a viewer can switch off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from monai_robustinterp.io.write.dicom_object import RESEARCH, ObjectSource
from monai_robustinterp.io.write.presentation import show_as_read, show_pixels_as_they_are
from monai_robustinterp.visualize.boundary import boundary
from monai_robustinterp.visualize.outlined import LUNGS_LINE_COLOR, TOP_K_COLOR

NAME = "contours.dcm"
KIND = "grayscale presentation state"

_MOST_POINTS = 8000
"""Of one graphic object: 16 bits hold the length of its points in bytes."""


def contour_state(source: ObjectSource) -> Dataset:
    """The film as it is shown, with the contour of the reported cells, that of the lungs, and a line of text."""
    picture = source.picture
    layers = [_layer("TOP_K", 2, "Reported top-k cells", TOP_K_COLOR)]
    annotations = [_annotation(source, layers[0], picture.top_k_mask, [_text(source)])]
    if picture.lungs is not None and picture.lungs.any():
        layers.append(_layer("LUNGS", 1, "Lungs on the clean image", LUNGS_LINE_COLOR))
        annotations.append(_annotation(source, layers[1], picture.lungs, []))
    made = GrayscaleSoftcopyPresentationState(
        [source.image],
        content_label="TOP_K",
        content_description="Contours of the reported cells and of the lungs",
        graphic_layers=layers,
        graphic_annotations=annotations,
        concept_name=codes.DCM.PresentationState,
        **source.identifiers(KIND, 4),
    )
    show_as_read(made, source.header, picture.meta)
    show_pixels_as_they_are(made, picture.meta)
    source.describe(made, "Contours")
    return made


def _layer(name: str, order: int, description: str, color: tuple[int, int, int]) -> GraphicLayer:
    return GraphicLayer(name, order, description, CIELabColor.from_rgb(*color))


def _annotation(
    source: ObjectSource, layer: GraphicLayer, mask: npt.NDArray[np.bool_], texts: list[TextObject]
) -> GraphicAnnotation:
    lines = [GraphicObject("POLYLINE", points, "PIXEL") for points in _lines(mask)]
    return GraphicAnnotation(
        [source.image], graphic_layer=layer, graphic_objects=lines or None, text_objects=texts or None
    )


def _lines(mask: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.float64]]:
    """The boundary in parts that can be stored, each beginning where the one before ends."""
    for polygon in boundary(mask):
        for start in range(0, len(polygon) - 1, _MOST_POINTS - 1):
            yield polygon[start : start + _MOST_POINTS]


def _text(source: ObjectSource) -> TextObject:
    rows, columns = source.picture.share.shape
    record = source.record
    words = (
        f"{RESEARCH}. Outlined: the {record['claim']['top_k']} cells with the most votes, not where disease is. "
        f"Stability: {record['status']}. Record {source.record_sha256[:12]}"
    )
    return TextObject(words, units="PIXEL", bounding_box=(0.0, 0.95 * rows, float(columns), float(rows)))
