"""Grid pointing: four films in one, of which one has the finding, and the map should point to that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from monai_robustinterp.certificates.confidence import clopper_pearson_bounds
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters.checks import check_share
from monai_robustinterp.metrics.base import Array, Case, Direction, Marks, Metric, NotApplicable, require_order
from monai_robustinterp.metrics.enrichment import share_marked
from monai_robustinterp.metrics.overlap import top_membership
from monai_robustinterp.noise.counter import image_sha256

BESIDE = 3
"""Films that stand beside the one with the finding."""

_SIZE = (
    "Each film is at half its size, so that the grid is of the network's size; the source puts films of full size "
    "together."
)
_CHOICE = (
    "The films beside it are the first of the table that are said to lack the finding; the source takes films of other "
    "classes, each classified with confidence 0.99 at least."
)


def grid_film(films: Sequence[torch.Tensor]) -> torch.Tensor:
    """Four films in a 2 x 2 grid, each at half its size, so that the grid is a film of the network's size.

    Args:
        films: four of one shape [1, H, W] with even H and W: upper left, upper right, lower left, lower right.

    Raises:
        InputRefused: if they are not.
    """
    shapes = {tuple(film.shape) for film in films}
    if len(films) != 1 + BESIDE or len(shapes) != 1 or any(pixels % 2 for pixels in films[0].shape[1:]):
        raise InputRefused(f"{len(films)} films of shapes {sorted(shapes)}: give four of one shape with even sides.")
    half = nn.functional.avg_pool2d(torch.stack(list(films)), 2)
    return torch.cat([torch.cat([half[0], half[1]], dim=2), torch.cat([half[2], half[3]], dim=2)], dim=1)


def quadrant(number: int, *, height: int, width: int) -> Marks:
    """Pixels, or cells, of one film of the grid, [height, width].

    Args:
        number: 0 to 3, in the order of :func:`grid_film`.
        height: of the grid, even.
        width: of the grid, even.
    """
    inside = np.zeros((2, height // 2, 2, width // 2), dtype=bool)
    inside[number // 2, :, number % 2] = True
    return inside.reshape(height, width)


@dataclass(frozen=True, kw_only=True)
class GridPointing(Metric):
    """Share of the top-k cells of a grid of four films that lies in the one with the finding."""

    name: ClassVar[str] = "grid_pointing"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Share of the top-k cells that lies in the film's quarter of a grid with three films without the finding, "
        "after Bohle, Fritz and Schiele (2021); 0.25 is chance."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "The source takes the share of the positive attribution.",
        _SIZE,
        _CHOICE,
        "Cells that tie at the k-th value count in equal parts.",
    )

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        values, inside = _of_the_grid(case)
        if (values == values.flat[0]).all():
            raise NotApplicable("the map of the grid is constant: it puts no cell before another one.")
        cells = top_membership(values.reshape(1, -1), case.top_k).reshape(values.shape)
        return share_marked(cells, inside.astype(np.float64))


@dataclass(frozen=True, kw_only=True)
class CertifiedGridPointing(Metric):
    """Share of the cells certified to be in the top-k of a grid of four films that lies in the one with the finding.

    A cell is certified where the exact lower bound of its share of the votes exceeds ``tau``: then more than half of
    the copies of any image closer than sigma Phi^-1(tau) have it in their top-k (Cohen et al. 2019).

    Attributes:
        tau: which share, in (0.5, 1).
        level: failure probability of all cells together, in (0, 1).
    """

    name: ClassVar[str] = "certified_grid_pointing"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Share of the cells certified to be in the top-k (share of the votes above 0.75 at level 0.001 over all cells) "
        "that lies in the film's quarter of a grid with three films without the finding, after Anani et al. (2025); "
        "0.25 is chance."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        _SIZE,
        _CHOICE,
        "All copies that a map of a changed film has are counted; the source sets ten of its hundred aside first.",
    )

    tau: float = 0.75
    level: float = 0.001

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if one is out of its range.
        """
        check_share(tau=self.tau, level=self.level)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [0, 1]."""
        if case.copies is None:
            raise NotApplicable("the map is no share of votes, so no cell of it is certified.")
        shares, inside = _of_the_grid(case)
        counts = np.rint(shares * case.copies).astype(np.int64)
        certified = clopper_pearson_bounds(counts, case.copies, level=self.level / counts.size).lower > self.tau
        if not certified.any():
            raise NotApplicable("no cell is certified to be in the top-k.")
        return float(inside[certified].mean())


def _of_the_grid(case: Case) -> tuple[Array, Marks]:
    """The map of the case's film among three others, and the cells of its quarter."""
    require_order(case)
    if len(case.absent) < BESIDE:
        raise NotApplicable(
            f"a grid takes {BESIDE} films that are said to lack the finding, and there are {len(case.absent)}."
        )
    if any(pixels % 2 for pixels in (*case.image.shape[1:], *case.saliency.shape)):
        raise NotApplicable("the film or its map has an odd side, and a grid of four halves it.")
    # Another place for each film: a map that always marks one quarter is not right by it.
    number = int(image_sha256(case.image)[:8], 16) % (1 + BESIDE)
    films = list(case.absent[:BESIDE])
    films.insert(number, case.image)
    height, width = case.saliency.shape
    return case.map_of(image=grid_film(films)), quadrant(number, height=height, width=width)
