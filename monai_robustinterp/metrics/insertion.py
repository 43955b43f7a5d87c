"""The insertion game: with the pixels that a map calls most important alone, the score should rise soon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monai_robustinterp.metrics.base import Direction
from monai_robustinterp.metrics.perturbation_game import EXPLAINED, TIES, PerturbationGame, Substrate

_EDGES = "The blur mirrors the film at its edges, where the sources have zeros; its width keeps its share of the side."


@dataclass(frozen=True, kw_only=True)
class Insertion(PerturbationGame):
    """Area under the explained class's probability while the map's strongest pixels come back first."""

    name: ClassVar[str] = "insertion"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Area under the probability of the explained class by the share of pixels put back into the blurred film, one "
        "image row's worth a step, those of the largest map values first (Petsiuk, Das and Saenko, RISE, BMVC 2018)."
    )
    deviations: ClassVar[tuple[str, ...]] = (EXPLAINED, _EDGES, TIES)
    inserts: ClassVar[bool] = True

    substrate: Substrate = "blur"


@dataclass(frozen=True, kw_only=True)
class InsertionArgMax(Insertion):
    """The same of the class that the network predicts."""

    name: ClassVar[str] = "insertion_argmax"
    protocol: ClassVar[str] = (
        "Area under the probability of the predicted class by the share of pixels put back into the blurred film, "
        "those of the largest map values first (the code of Kim, Kim, Kim and Ro, IEEE TIP 31:301, 2022)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "A step has the pixels of one image row, where the source takes a third of it.",
        _EDGES,
        TIES,
    )
    of_predicted: ClassVar[bool] = True
