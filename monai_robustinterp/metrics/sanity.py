"""Sanity checks: a map that stays the same while the network is drawn anew does not explain the network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np

from monai_robustinterp.interpreters.checks import check_choice, check_whole
from monai_robustinterp.metrics.base import Case, Direction, Metric, NotApplicable, require_order
from monai_robustinterp.metrics.randomized_network import randomized, stages
from monai_robustinterp.metrics.similarity import SIMILARITIES, ssim

Order = Literal["cascading", "independent"]

_STAGES = "Layers are drawn anew in runs of equal numbers of layers, the output's first; the source takes named blocks."
_DRAWN = (
    "Layers draw from their classes' default distributions, and running statistics start anew; parameters of layers "
    "without a default keep their values in a shuffled order."
)
_SSIM = "SSIM has population variances and a range of 1, and mirrors maps at their edges."
_SIGNED = "Rank correlations are of the map with its signs; the source gives those of absolute values too."


def similarity_path(case: Case, *, order: Order, similarity: str = "ssim", n_stages: int = 6) -> list[float]:
    """Similarity of the map to those of networks whose layers are drawn anew, stage by stage from the output.

    Args:
        case: a map.
        order: ``cascading``: all stages so far; ``independent``: the stage alone.
        similarity: key in ``SIMILARITIES``.
        n_stages: number of stages; fewer where the network has fewer layers.

    Returns:
        One value a stage.

    Raises:
        NotApplicable: if the map is constant, or the network has no parameters.
    """
    require_order(case)
    runs = stages(case.network, n_stages)
    found = []
    for number, names in enumerate(runs):
        drawn = [name for run in runs[: number + 1] for name in run] if order == "cascading" else names
        network = randomized(case.network, drawn, seed=case.seed)
        found.append(SIMILARITIES[similarity](case.compared, case.map_of(network=network)))
    return found


def random_pair_ssim(case: Case, *, n_pairs: int = 50) -> float:
    """Mean SSIM of random pairs of maps of different films by the same method.

    Args:
        case: its map and those of the other films are paired.
        n_pairs: so many of all pairs, without repetition; all where there are fewer.

    Raises:
        NotApplicable: if the map is constant, or there is no other film.
    """
    require_order(case)
    pairs = list(combinations([case.saliency, *case.others], 2))
    if not pairs:
        raise NotApplicable("there are no maps of other films, so that no pair can be drawn.")
    drawn = np.random.default_rng(case.seed).permutation(len(pairs))[:n_pairs]
    return float(np.mean([ssim(*pairs[number]) for number in drawn]))


@dataclass(frozen=True, kw_only=True)
class SanityCascading(Metric):
    """Similarity of the map to that of a network with all its layers drawn anew.

    Attributes:
        similarity: ``ssim``, ``spearman`` or ``hog``.
    """

    name: ClassVar[str] = "sanity_cascading"
    direction: ClassVar[Direction] = "lower"
    protocol: ClassVar[str] = (
        "Similarity of the map to that of the network with all layers drawn anew, the end of the cascading parameter "
        "randomization (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018)."
    )
    deviations: ClassVar[tuple[str, ...]] = (_STAGES, _DRAWN, _SSIM, _SIGNED)

    similarity: str = "ssim"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if the similarity is unknown.
        """
        check_choice("similarity", self.similarity, sorted(SIMILARITIES))

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; 1 for the same map."""
        return similarity_path(case, order="cascading", similarity=self.similarity, n_stages=1)[-1]


@dataclass(frozen=True, kw_only=True)
class SanityIndependent(Metric):
    """Mean similarity of the map to those of networks with one stage drawn anew.

    Attributes:
        similarity: ``ssim``, ``spearman`` or ``hog``.
        n_stages: number of stages, each of which takes one map.
    """

    name: ClassVar[str] = "sanity_independent"
    direction: ClassVar[Direction] = "lower"
    protocol: ClassVar[str] = (
        "Mean similarity of the map to those of the network with one stage of layers drawn anew, the independent "
        "parameter randomization (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        _STAGES,
        _DRAWN,
        _SSIM,
        _SIGNED,
        "The source shows one value a layer; the mean is this package's.",
    )

    similarity: str = "ssim"
    n_stages: int = 6

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if the similarity is unknown, or there is no stage.
        """
        check_choice("similarity", self.similarity, sorted(SIMILARITIES))
        check_whole(1, n_stages=self.n_stages)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; 1 for the same maps."""
        path = similarity_path(case, order="independent", similarity=self.similarity, n_stages=self.n_stages)
        return float(np.mean(path))
