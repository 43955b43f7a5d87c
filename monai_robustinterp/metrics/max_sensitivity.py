"""Max-sensitivity: how much the map changes at most near the film."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from monai_robustinterp.interpreters.checks import check_not_negative, check_whole
from monai_robustinterp.metrics.base import Case, Direction, Metric, require_order
from monai_robustinterp.metrics.changed_films import within_ball


@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(Metric):
    """Largest change of the map over films in a box around the film, relative to the map.

    Attributes:
        radius: of the box, the largest change of a pixel in units of the input.
        n_samples: number of films, each of which takes one map.
    """

    name: ClassVar[str] = "max_sensitivity"
    direction: ClassVar[Direction] = "lower"
    protocol: ClassVar[str] = (
        "Largest Euclidean distance of the map to those of ten films that differ by at most 0.02 at each pixel, over "
        "the map's norm (Yeh et al., NeurIPS 2019; sampled as by Captum's sensitivity_max)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "It is the largest of the samples, below the maximum over the box that the source defines.",
        "The distance is relative to the map's norm, which the source does not divide by, so that methods compare.",
        "Films are clipped to [0, 1].",
    )

    radius: float = 0.02
    n_samples: int = 10

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if one is out of its range.
        """
        check_not_negative(radius=self.radius)
        check_whole(1, n_samples=self.n_samples)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; 0 at least."""
        require_order(case)
        films = within_ball(case.image, radius=self.radius, number=self.n_samples, seed=case.seed)
        changes = [np.linalg.norm(case.map_of(image=film) - case.compared) for film in films]
        return float(max(changes) / np.linalg.norm(case.compared))
