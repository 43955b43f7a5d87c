"""Intersection over union of the reported cells and what radiologists marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from monai_robustinterp.interpreters.checks import check_choice
from monai_robustinterp.metrics.base import Case, Direction, Metric, at_pixels
from monai_robustinterp.metrics.marks import marks_of
from monai_robustinterp.metrics.top_cells import top_cells


@dataclass(frozen=True, kw_only=True)
class IntersectionOverUnion(Metric):
    """Area that top-k cells and marks share, over the area of both together.

    Attributes:
        marks: ``polygons`` of radiologists, or their ``boxes``.
    """

    name: ClassVar[str] = "iou"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Intersection over union of the map's strongest part and what radiologists marked (Saporta et al., "
        "CheXlocalize, Nature Machine Intelligence 4:867, 2022)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "The strongest part is the top-k cells, one area for all methods; the source's code takes Otsu's threshold.",
        "Cells that tie at the k-th value count in equal parts: pixel by pixel the smaller part is shared.",
        "Boxes are the default, where the source has outlines.",
    )

    marks: Literal["boxes", "polygons"] = "boxes"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if the marks are others.
        """
        check_choice("marks", self.marks, ("boxes", "polygons"))

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        marks = marks_of(case, self.marks)
        cells = at_pixels(top_cells(case), case.image)
        return float(np.minimum(cells, marks).sum() / np.maximum(cells, marks).sum())
