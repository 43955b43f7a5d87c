"""How much of the reported cells is marked, plain and over chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from monai_robustinterp.metrics.base import Array, Case, Direction, Marks, Metric
from monai_robustinterp.metrics.marks import MarkedBy, marked_shares
from monai_robustinterp.metrics.top_cells import top_cells

_TIES = "Cells that tie at the k-th value count in equal parts."


def share_marked(cells: Array | Marks, shares: Array) -> float:
    """Mean of the marked shares over cells.

    Args:
        cells: how much of each is meant, [h, w] in [0, 1], not all 0.
        shares: of each cell that is marked, [h, w].
    """
    return float(np.average(shares, weights=cells))


def enrichment(cells: Array | Marks, shares: Array) -> float:
    """How many times more of some cells is marked than of all cells; 1 is chance.

    Args:
        cells: how much of each is meant, [h, w] in [0, 1], not all 0.
        shares: of each cell that is marked, [h, w], not all 0.
    """
    return share_marked(cells, shares) / float(shares.mean())


@dataclass(frozen=True, kw_only=True)
class EnrichmentBoxes(Metric):
    """How many times more of the top-k cells lies in boxes than by chance."""

    name: ClassVar[str] = "enrichment_boxes"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Share of the map's top-k cells that lies in boxes, over the boxes' share of the film; this package's, 1 is "
        "chance."
    )
    deviations: ClassVar[tuple[str, ...]] = (_TIES,)
    marks: ClassVar[MarkedBy] = "boxes"

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; from 0 to 1 over the marked share of the film."""
        return enrichment(top_cells(case), marked_shares(case, self.marks))


@dataclass(frozen=True, kw_only=True)
class EnrichmentPolygons(EnrichmentBoxes):
    """The same of outlines."""

    name: ClassVar[str] = "enrichment_polygons"
    protocol: ClassVar[str] = (
        "Share of the map's top-k cells that lies in radiologists' outlines, over the outlines' share of the film; "
        "this package's, 1 is chance."
    )
    marks: ClassVar[MarkedBy] = "polygons"


@dataclass(frozen=True, kw_only=True)
class LungTopK(Metric):
    """Share of the top-k cells that lies in the lung fields."""

    name: ClassVar[str] = "lung_top_k"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Share of the map's top-k cells that lies in the lung fields; this package's, for findings of the lungs. A map "
        "that always marks the lungs has the best value."
    )
    deviations: ClassVar[tuple[str, ...]] = (_TIES,)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        return share_marked(top_cells(case), marked_shares(case, "lungs"))
