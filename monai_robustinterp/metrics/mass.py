"""How much of a map lies in boxes, in outlines, or in the lungs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monai_robustinterp.metrics.base import Case, Direction, Metric, NotApplicable, require_order
from monai_robustinterp.metrics.marks import MarkedBy, marked_shares

_POSITIVE = (
    "Negative values count as 0 and nothing is subtracted; the code of Kim et al. scales a map from its least to its "
    "largest value first."
)


@dataclass(frozen=True, kw_only=True)
class BoxMass(Metric):
    """Share of the map's sum that lies in boxes; of a vote map the share of the votes."""

    name: ClassVar[str] = "box_mass"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Share of the map's sum that lies in boxes, the energy-based pointing game (Wang et al., Score-CAM, CVPR "
        "Workshops 2020)."
    )
    deviations: ClassVar[tuple[str, ...]] = (_POSITIVE,)
    marks: ClassVar[MarkedBy] = "boxes"

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]. A map spread evenly has the share of the area that is marked."""
        shares = marked_shares(case, self.marks)
        require_order(case)
        positive = case.saliency.clip(min=0)
        if not positive.any():
            raise NotApplicable("the map has no positive value, so that its mass is 0.")
        # Values are scaled, for a sum of large ones could overflow.
        scaled = positive / positive.max()
        return float((scaled * shares).sum() / scaled.sum())


@dataclass(frozen=True, kw_only=True)
class PolygonMass(BoxMass):
    """The same of outlines."""

    name: ClassVar[str] = "polygon_mass"
    protocol: ClassVar[str] = (
        "Share of the map's sum that lies in radiologists' outlines, the energy-based pointing game (Wang et al., "
        "Score-CAM, CVPR Workshops 2020) on outlines."
    )
    marks: ClassVar[MarkedBy] = "polygons"


@dataclass(frozen=True, kw_only=True)
class LungMass(BoxMass):
    """The same of the lung fields."""

    name: ClassVar[str] = "lung_mass"
    protocol: ClassVar[str] = (
        "Share of the map's sum, or of the votes, that lies in the lung fields; this package's, for findings of the "
        "lungs. A map that always marks the lungs has the best value."
    )
    marks: ClassVar[MarkedBy] = "lungs"
