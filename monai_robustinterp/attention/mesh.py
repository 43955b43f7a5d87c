"""The tape of a plane: values at three points for each of the polygons in which everything so far is affine.

The points are (0, 0), (1, 0) and (0, 1) whatever the polygon: what holds there is the affine function of the polygon,
continued.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from monai_robustinterp.attention.plane_switches import PlaneGaps, activated, of_polygons, pooled
from monai_robustinterp.attention.polygons import Polygon
from monai_robustinterp.attention.switches import Activation, Pooling
from monai_robustinterp.attention.tape import Tape, TooManyRegions
from monai_robustinterp.attention.windows import Windows


class Mesh(Tape):
    """See :class:`~monai_robustinterp.attention.tape.Tape`; its places are the number of layers that cut so far.

    Args:
        polygon: the piece of the plane.
        limit: most polygons.
        lines: numbers of lines that are still free.

    Attributes:
        polygons: that tile the piece; those of one layer's polygon follow each other.
    """

    places: int

    def __init__(self, polygon: Polygon, limit: int, lines: Iterator[int]) -> None:
        super().__init__()
        self.polygons, self.places = [polygon], 0
        self._lines, self._room = lines, limit - 1
        self._parents: list[np.ndarray] = []

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """See :class:`~monai_robustinterp.attention.tape.Tape`."""
        return 3 * len(self.polygons)

    def line(self) -> int:
        """The number of a new line, which makes two polygons of one.

        Raises:
            TooManyRegions: if they are more than the limit then.
        """
        self._room -= 1
        if self._room < 0:
            raise TooManyRegions
        return next(self._lines)

    def cut(self, parts: Sequence[Sequence[Polygon]]) -> np.ndarray:
        """Puts parts in the place of each polygon; returns the polygon that each came of."""
        self.polygons = [one for some in parts for one in some]
        self._parents.append(np.repeat(np.arange(len(parts)), [len(some) for some in parts]))
        self.places += 1
        return self._parents[-1]

    def owners(self, places: int) -> np.ndarray:
        """For each polygon that of earlier places which it is in."""
        own = np.arange(len(self.polygons))
        for parents in reversed(self._parents[places:]):
            own = parents[own]
        return own

    def lifted(self, value: torch.Tensor, places: int) -> torch.Tensor:
        """See :meth:`~monai_robustinterp.attention.tape.Tape.lifted`."""
        if places == self.places:
            return value
        own = torch.from_numpy(self.owners(places)).to(value.device)
        return of_polygons(value)[own].flatten(0, 1)

    def activation(self, value: torch.Tensor, negative_slope: float) -> tuple[Activation[PlaneGaps], torch.Tensor]:
        """See :meth:`~monai_robustinterp.attention.tape.Tape.activation`."""
        return activated(value, self, negative_slope)

    def pooling(
        self, value: torch.Tensor, windows: Windows, *, rectified: bool
    ) -> tuple[Pooling[PlaneGaps], torch.Tensor]:
        """See :meth:`~monai_robustinterp.attention.tape.Tape.pooling`."""
        return pooled(value, self, windows, rectified=rectified)
