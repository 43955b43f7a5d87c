"""The deletion game: without the pixels that a map calls most important, the score should fall soon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monai_robustinterp.metrics.base import Direction
from monai_robustinterp.metrics.perturbation_game import EXPLAINED, GRAY, TIES, PerturbationGame


@dataclass(frozen=True, kw_only=True)
class Deletion(PerturbationGame):
    """Area under the explained class's probability while the map's strongest pixels go first."""

    name: ClassVar[str] = "deletion"
    direction: ClassVar[Direction] = "lower"
    protocol: ClassVar[str] = (
        "Area under the probability of the explained class by the share of pixels set to the mean gray, one row's "
        "worth a step, those of the largest map values first (Petsiuk, Das and Saenko, RISE, BMVC 2018)."
    )
    deviations: ClassVar[tuple[str, ...]] = (EXPLAINED, GRAY, TIES)
    inserts: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class DeletionArgMax(Deletion):
    """The same of the class that the network predicts."""

    name: ClassVar[str] = "deletion_argmax"
    protocol: ClassVar[str] = (
        "Area under the probability of the predicted class by the share of pixels set to the mean gray, one row's "
        "worth a step, those of the largest map values first (the code of Kim, Kim, Kim and Ro, IEEE TIP 31:301, 2022)."
    )
    deviations: ClassVar[tuple[str, ...]] = (GRAY, TIES)
    of_predicted: ClassVar[bool] = True
