"""What taking the map's cells away does to the other classes, and the way there on the decision plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from monai_robustinterp.metrics.base import Array, Case, Direction, Metric, NotApplicable
from monai_robustinterp.metrics.top_cells import film_without, top_cells

CELLS_FOR_MASK = (
    "The mask is the map's top-k cells, for every method the same area; the source takes each method's optimized mask."
)


@dataclass(frozen=True)
class DecisionPath:
    """Probabilities of all classes while a film loses its strongest cells.

    Attributes:
        shares: of the film's area that is taken away, from 0 to k of all cells, shape (points,).
        probabilities: of the classes, shape (points, classes).
        target: index of the explained class.
    """

    shares: Array
    probabilities: Array
    target: int

    @property
    def changes(self) -> Array:
        """Change of each class's probability from the film, shape (points, classes)."""
        changes: Array = self.probabilities - self.probabilities[0]
        return changes

    @property
    def plane(self) -> Array:
        """Points (fall of the target's probability, mean absolute change of the others'), shape (points, 2)."""
        others = np.delete(self.changes, self.target, axis=1)
        return np.stack([-self.changes[:, self.target], np.abs(others).mean(axis=1)], axis=1)


def decision_path(case: Case, *, points: int = 11) -> DecisionPath:
    """Takes the map's strongest cells away, more and more of them up to top-k, and follows all classes.

    Args:
        case: a map.
        points: of the path, 2 at least: about so many, for each takes whole cells.

    Raises:
        NotApplicable: if the map is constant, or the network has no class that is free beside the target.
    """
    numbers = np.unique(np.linspace(0, case.top_k, points).round().astype(np.int64))
    films = [case.image[None], *(film_without(case, top_cells(case, int(number))) for number in numbers[1:])]
    probabilities = case.probabilities(torch.cat(films))
    require_other_classes(case, probabilities.shape[1])
    return DecisionPath(numbers / case.saliency.size, probabilities, case.target)


def require_other_classes(case: Case, classes: int) -> None:
    """Raises NotApplicable where no other class can change by itself: one class, or two that exclude each other."""
    if classes == 1:
        raise NotApplicable("the network has one class only: there is no other one that could be distorted.")
    if classes == 2 and not case.multi_label:
        raise NotApplicable(
            "the network has two classes that exclude each other: the other's probability is 1 minus the explained "
            "one's, so that it says nothing of distortion."
        )


@dataclass(frozen=True, kw_only=True)
class NonTargetDistortion(Metric):
    """Mean absolute change of the other classes' probabilities where the map's top-k cells are taken away."""

    name: ClassVar[str] = "class_distortion"
    direction: ClassVar[Direction] = "lower"
    protocol: ClassVar[str] = (
        "Mean absolute change of the probabilities of the classes that are not explained when the map's top-k cells "
        "are blurred away, the end of the path on the decision plane; this package's summary of the class distortion "
        "of Kim, Kim, Kim and Ro (IEEE TIP 31:301, 2022)."
    )
    deviations: ClassVar[tuple[str, ...]] = (CELLS_FOR_MASK,)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        return float(decision_path(case, points=2).plane[-1, 1])
