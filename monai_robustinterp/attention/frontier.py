"""The upright rectangles of a box that are still to be crossed, and which of them comes next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from monai_robustinterp.attention.polygons import Point, Polygon, edges, nearest, rectangle
from monai_robustinterp.attention.shards import Shard
from monai_robustinterp.errors import InputRefused

Order = Literal["nearest", "boundary"]
_LEAST_SIDE = 2.0**-26
"""Of a rectangle, in shares of the range: less has no polygons that float64 can tell apart."""


@dataclass
class _Waiting:
    """A rectangle, and of which properties the area around 0 touches it, or shards in which they do not hold do."""

    section: Polygon
    gauge: float
    number: int
    reached: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)

    @property
    def ends(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top."""
        (left, bottom, _), _, (right, top, _), _ = self.section
        return left, bottom, right, top


class Frontier:
    """Rectangles of a box, and where the areas of the properties touch them.

    Args:
        low: lower ends of the box, in shares: -1 or 0.
        n_properties: that are checked.
        order: whether what is nearest to 0 comes first, or what the outermost boundary of an area passes through.
        everything: whether all rectangles are wanted.
    """

    def __init__(self, low: Point, n_properties: int, *, order: Order, everything: bool) -> None:
        self._low, self._order, self._everything = low, order, everything
        self._numbers = itertools.count()
        self._seams: dict[tuple[int, float], int] = {}
        self._waiting: list[_Waiting] = []
        # Of each property: edges on seams of shards that are reached, and of those in which it does not hold.
        self._reached: list[list[np.ndarray]] = [[] for _ in range(n_properties)]
        self._left: list[list[np.ndarray]] = [[] for _ in range(n_properties)]
        for left, right in itertools.pairwise(sorted({low[0], 0.0, 1.0})):
            for bottom, top in itertools.pairwise(sorted({low[1], 0.0, 1.0})):
                self._push((left, bottom), (right, top))

    @property
    def nearest(self) -> float:
        """The smallest share in what was not crossed; infinity if there is nothing."""
        return min((one.gauge for one in self._waiting), default=math.inf)

    @property
    def boundary_left(self) -> bool:
        """Whether a rectangle is left through which an outermost boundary may pass."""
        return any(self._on_boundary(one) for one in self._waiting)

    def next(self, ends: Sequence[float]) -> Polygon | None:
        """Takes out the rectangle that comes next; None if no more is wanted.

        Args:
            ends: of each property the smallest share at which it is not said to hold.
        """
        wanted = [
            one for one in self._waiting if self._everything or one.reached or any(one.gauge < end for end in ends)
        ]
        if not wanted:
            return None
        first = min(wanted, key=self._key)
        self._waiting.remove(first)
        return first.section

    def quarter(self, section: Polygon) -> None:
        """Puts four rectangles in the place of one.

        Raises:
            InputRefused: if they are too small for float64.
        """
        (left, bottom, _), _, (right, top, _), _ = section
        x, y = (left + right) / 2, (bottom + top) / 2
        if min(right - left, top - bottom) < _LEAST_SIDE:
            raise InputRefused(
                "the network is so steep along these perturbations that float64 cannot tell its polygons apart: choose "
                "smaller ranges or other perturbations."
            )
        for low in ((left, bottom), (x, bottom), (left, y), (x, y)):
            self._push(low, (x if low[0] == left else right, y if low[1] == bottom else top))

    def touched(self, index: int, *, reached: Sequence[Shard], left: Sequence[Shard]) -> None:
        """Takes shards that a property newly reaches, and crossed ones in which it is not said to hold."""
        for shards, kept, name in ((reached, self._reached, "reached"), (left, self._left, "left")):
            boxes = _seam_edges(shards)
            if len(boxes):
                kept[index].append(boxes)
                for one in self._waiting:
                    if _touches(one, boxes):
                        getattr(one, name).add(index)

    def _key(self, one: _Waiting) -> tuple[bool, float, int]:
        return self._order == "boundary" and not self._on_boundary(one), one.gauge, one.number

    def _on_boundary(self, one: _Waiting) -> bool:
        """Whether an area ends at its edge or goes along the box's side, or a ray that leaves the area meets it."""
        left, bottom, right, top = one.ends
        at_side = left == self._low[0] or bottom == self._low[1] or 1.0 in (right, top)
        on_ray = bottom <= 0 <= top and right > 0
        return bool(one.reached & one.left or (one.reached and at_side) or (on_ray and one.reached))

    def _push(self, low: Point, high: Point) -> None:
        sides = ((1, low[1]), (0, high[0]), (1, high[1]), (0, low[0]))
        bottom, right, top, left = (self._seams.setdefault(side, -1 - len(self._seams)) for side in sides)
        section = rectangle(low, high, (bottom, right, top, left))
        new = _Waiting(section, nearest(section)[0], next(self._numbers))
        for kept, marks in ((self._reached, new.reached), (self._left, new.left)):
            marks |= {index for index, some in enumerate(kept) if any(_touches(new, boxes) for boxes in some)}
        self._waiting.append(new)


def _seam_edges(shards: Sequence[Shard]) -> np.ndarray:
    """Left, bottom, right and top of the edges of shards that lie on seams, float64 [edges, 4]."""
    found = [
        (min(a, c), min(b, d), max(a, c), max(b, d))
        for shard in shards
        for (a, b, line), (c, d, _) in edges(shard.corners)
        if line < 0
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 4)


def _touches(one: _Waiting, boxes: np.ndarray) -> bool:
    left, bottom, right, top = one.ends
    beside = (boxes[:, 0] <= right) & (boxes[:, 2] >= left) & (boxes[:, 1] <= top) & (boxes[:, 3] >= bottom)
    return bool(beside.any())
