"""How many cells stay where the film is taken again, and how many two films have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from monai_robustinterp.interpreters.checks import check_not_negative, check_whole
from monai_robustinterp.metrics.base import Array, Case, Direction, Metric, NotApplicable, require_order
from monai_robustinterp.metrics.changed_films import with_noise
from monai_robustinterp.metrics.overlap import top_k_overlap


@dataclass(frozen=True, kw_only=True)
class Repeatability(Metric):
    """Mean overlap of the map's top-k cells with those of the film taken again.

    Attributes:
        sigma: standard deviation of the noise of one exposure, in units of the input.
        n_repeats: number of films, each of which takes one map.
    """

    name: ClassVar[str] = "repeatability"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Mean share of the map's top-k cells that stay in the top-k where the film has new noise of standard deviation "
        "0.01, over five films; this package's."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "The repeatability of Arun et al. (2021) compares two networks trained separately, which one case does not "
        "have.",
        "Cells that tie at the k-th value count in equal parts.",
    )

    sigma: float = 0.01
    n_repeats: int = 5

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if one is out of its range.
        """
        check_not_negative(sigma=self.sigma)
        check_whole(1, n_repeats=self.n_repeats)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        require_order(case)
        films = with_noise(case.image, sigma=self.sigma, number=self.n_repeats, seed=case.seed)
        return mean_overlap(replace(case, saliency=case.compared), [case.map_of(image=film) for film in films])


@dataclass(frozen=True, kw_only=True)
class FilmOverlap(Metric):
    """Mean overlap of the map's top-k cells with those of other films."""

    name: ClassVar[str] = "film_overlap"
    direction: ClassVar[Direction] = "none"
    protocol: ClassVar[str] = (
        "Mean share of the map's top-k cells that are in the top-k of another film's map too; this package's. A map "
        "that does not look at the film shares all, and so does one that always marks the lungs."
    )
    deviations: ClassVar[tuple[str, ...]] = ("Cells that tie at the k-th value count in equal parts.",)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1], k / cells by chance."""
        require_order(case)
        if not case.others:
            raise NotApplicable("there are no maps of other films to compare with.")
        return mean_overlap(case, case.others)


def mean_overlap(case: Case, maps: Sequence[Array]) -> float:
    """Mean share of the top-k cells that the case's map has in common with maps [h, w]."""
    others = np.stack([one.ravel() for one in maps])
    own = np.broadcast_to(case.saliency.ravel(), others.shape)
    return float(top_k_overlap(own, others, case.top_k).mean())
