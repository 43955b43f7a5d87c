"""The pointing game: does the map's maximum lie where radiologists marked the film?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from monai_robustinterp.interpreters.checks import check_not_negative
from monai_robustinterp.metrics.base import Array, Case, Direction, Marks, Metric, require_order
from monai_robustinterp.metrics.marks import marks_of

_SEVERAL = "A maximum of several pixels, those of one cell among them, counts the share of them that lies in the marks."


@dataclass(frozen=True, kw_only=True)
class PointingGame(Metric):
    """Whether the map's maximum lies in a box.

    Attributes:
        tolerance: distance from the box, in pixels of the film, that still counts; 15 in the source's tables.
    """

    name: ClassVar[str] = "pointing_game"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "1 if the map's maximum lies in a box, else 0 (Zhang et al., Excitation Backprop, IJCV 126:1084, 2018), with "
        "no tolerance unless one is set."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        _SEVERAL,
        "The source tolerates 15 pixels, and averages classes; a value here is of one film.",
    )

    tolerance: float = 0.0

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if the tolerance is negative.
        """
        check_not_negative(tolerance=self.tolerance)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        return maximum_marked(case, distance_transform_edt(~marks_of(case, "boxes")) <= self.tolerance)


@dataclass(frozen=True, kw_only=True)
class HitRate(Metric):
    """Whether the map's maximum lies in an outline."""

    name: ClassVar[str] = "hit_rate"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "1 if the map's maximum lies in a radiologist's outline, else 0; its mean over films is the hit rate "
        "(Saporta et al., CheXlocalize, Nature Machine Intelligence 4:867, 2022)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        _SEVERAL,
        "Maps stay on the grid of the network's input; the source's code enlarges them to the source film, bilinearly.",
    )

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        return maximum_marked(case, marks_of(case, "polygons"))


def maximum_marked(case: Case, marks: Marks) -> float:
    """Share of the map's maximum, a pixel or several equal ones, that lies in marks [H, W].

    Raises:
        NotApplicable: if the map is constant.
    """
    require_order(case)
    return float(marks[case.pixel_map == case.saliency.max()].mean())


def strongest_cell_marked(values: npt.NDArray[np.float64] | npt.NDArray[np.int64], shares: Array) -> bool:
    """Whether the strongest cell, the first of equal ones, lies in the marks by half or more.

    Args:
        values: of the cells, such as their votes, [h, w].
        shares: of each cell that is marked, [h, w].
    """
    return bool(shares.ravel()[values.argmax()] >= 0.5)
