"""Prediction-saliency correlation: where the score changes more, the map should change more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from monai_robustinterp.interpreters.checks import check_not_negative, check_whole
from monai_robustinterp.metrics.base import Case, Direction, Metric, NotApplicable, require_order
from monai_robustinterp.metrics.changed_films import with_smooth_change
from monai_robustinterp.metrics.ranks import spearman
from monai_robustinterp.metrics.similarity import rank_correlation


@dataclass(frozen=True, kw_only=True)
class PredictionSaliencyCorrelation(Metric):
    """Rank correlation, over changed versions of the film, of the change of the score and the change of the map.

    All changes have one size, so that no correlation comes from larger and smaller ones.

    Attributes:
        size: root mean square of a change, in units of the input.
        n_films: number of changed films, each of which takes one map.
    """

    name: ClassVar[str] = "psc"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Spearman correlation, over 20 versions of the film with smooth changes of one size, between the absolute "
        "change of the explained class's probability and 1 minus the rank correlation of both maps; this package's, "
        "after the prediction-saliency correlation of Zhang et al. (2023, PMC10831523)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "Only the abstract of Zhang et al. could be read: changes, distances and correlation are this package's "
        "choice.",
    )

    size: float = 0.05
    n_films: int = 20

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if one is out of its range.
        """
        check_not_negative(size=self.size)
        check_whole(3, n_films=self.n_films)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [-1, 1]."""
        require_order(case)
        films = list(with_smooth_change(case.image, size=self.size, number=self.n_films, seed=case.seed))
        scores = case.probabilities(torch.stack([case.image, *films]))[:, case.target]
        of_score = np.abs(scores[1:] - scores[0])
        of_map = np.array([1 - rank_correlation(case.compared, case.map_of(image=film)) for film in films])
        for changes, what in ((of_score, "score"), (of_map, "map")):
            if (changes == changes[0]).all():
                raise NotApplicable(f"the {what} changes alike on all versions of the film: there is no correlation.")
        return float(spearman(of_score[None], of_map[None])[0])
