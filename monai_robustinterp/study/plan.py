"""What a table of maps is made of, fixed before any of it is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.metrics.base import Metric
from monai_robustinterp.metrics.grid_pointing import BESIDE
from monai_robustinterp.study.contenders import Contender
from monai_robustinterp.study.dataset import Film


@dataclasses.dataclass(frozen=True, kw_only=True)
class TablePlan:
    """What a table is made of.

    Attributes:
        films: of the dataset.
        contenders: maps of each film.
        metrics: of each map.
        bundle: name or folder of the classifier's bundle; None takes the default one.
        overrides: of its configuration.
        n_samples: noisy copies of a certified map.
        budget: the same of single contenders, by their ``slug``, where a budget of time says so: copies of a map, and
            of one that a metric asks for.
        explain_samples: of one that a metric asks for, of another image or network, at most.
        seed: of the noise and of what metrics draw.
        companions: films without the finding, which are not judged: a metric puts some beside a film. None takes those
            of ``films`` that are said to lack it.

    Raises:
        InputRefused: if there is no contender, a metric is named twice, or a number of copies is below 1.
    """

    films: Sequence[Film]
    contenders: Sequence[Contender]
    metrics: Sequence[Metric]
    bundle: str | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    n_samples: int = 384
    budget: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    explain_samples: int = 64
    seed: int = 0
    companions: Sequence[Film] | None = None

    def __post_init__(self) -> None:
        if not self.contenders:
            raise InputRefused("the table has no map to judge; name an interpreter or a blind map.")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise InputRefused("a metric is named twice; a table has one column for each. Run another table for it.")
        if min(self.n_samples, self.explain_samples) < 1:
            raise InputRefused(
                f"{self.n_samples} copies of a map and {self.explain_samples} of a map that a metric asks for; it must "
                "be 1 at least. Give more."
            )

    def beside(self, film: Film) -> list[Film]:
        """Films of other patients without the finding, in order, as many as a grid takes."""
        chosen = self.companions
        if chosen is None:
            chosen = [other for other in self.films if other.present is False]
        return [other for other in chosen if other.patient != film.patient][:BESIDE]

    def copies_of(self, contender: Contender) -> int:
        """Noisy copies of the contender's certified maps."""
        return self.budget.get(contender.slug, (self.n_samples, 0))[0]

    def explain_copies_of(self, contender: Contender) -> int:
        """The same of maps that metrics ask for."""
        return self.budget.get(contender.slug, (0, self.explain_samples))[1]
