"""Where radiologists, or a segmenter, marked a film: as pixels, and as shares of the cells of a map."""

from __future__ import annotations

from typing import Literal

import numpy as np

from monai_robustinterp.metrics.base import Array, Case, Marks, NotApplicable

MarkedBy = Literal["boxes", "polygons", "lungs"]
"""The attribute of a case that has the marks."""


def marks_of(case: Case, kind: MarkedBy) -> Marks:
    """The marked pixels, [H, W], of which there is one at least.

    Raises:
        NotApplicable: if nothing is marked.
    """
    marks: Marks | None = getattr(case, kind)
    if marks is None or not marks.any():
        raise NotApplicable(case.unmarked.get(kind, f"the film has no {kind}."))
    return marks


def marked_shares(case: Case, kind: MarkedBy) -> Array:
    """Share of each cell that is marked, [h, w] in [0, 1].

    Raises:
        NotApplicable: if nothing is marked.
    """
    marks, (rows, columns) = marks_of(case, kind), case.saliency.shape
    shares: Array = marks.reshape(rows, marks.shape[0] // rows, columns, -1).mean(axis=(1, 3), dtype=np.float64)
    return shares
