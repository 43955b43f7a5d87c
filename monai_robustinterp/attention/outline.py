"""The area around 0 in which a property holds, through polygons that touch along an edge, and its boundary."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monai_robustinterp.attention.polygons import Point, area, edges, nearest
from monai_robustinterp.attention.shards import Shard


@dataclass(frozen=True)
class Area:
    """Where a property holds, as far as one can go from 0 without leaving it.

    Attributes:
        inside: for each shard whether it belongs to it.
        size: area, in shares of both limits.
        boundary: segments at which it meets a shard in which the property is not said to hold.
        farthest: its point with the largest share of a range, in shares.
    """

    inside: tuple[bool, ...]
    size: float
    boundary: tuple[tuple[Point, Point], ...]
    farthest: Point


@dataclass(frozen=True)
class _Side:
    """An edge of a shard on a line: its ends by their place along the line."""

    start: tuple[float, Point]
    stop: tuple[float, Point]
    shard: int


_Sides = tuple[list[_Side], list[_Side]]
"""The edges along a line, and those against it: of the shards on its two sides."""
Meeting = tuple[int, int, tuple[Point, Point]]
"""Numbers of two shards that touch along a segment of positive length, and the segment."""


class Reached:
    """The shards that one comes to from 0 without leaving those in which a property holds, as they are crossed.

    Attributes:
        shards: so far.
        meetings: of them.
        inside: of each property, numbers of the shards that are reached.
    """

    def __init__(self, n_properties: int) -> None:
        self.shards: list[Shard] = []
        self.meetings: list[Meeting] = []
        self.inside: list[set[int]] = [set() for _ in range(n_properties)]
        self._beside: dict[int, list[int]] = defaultdict(list)
        self._seams: dict[int, _Sides] = defaultdict(lambda: ([], []))

    def add(self, shards: Sequence[Shard]) -> list[set[int]]:
        """Takes the shards of one more section; returns for each property the numbers of what it newly reaches."""
        first = len(self.shards)
        self.shards += shards
        for one, other, segment in self._met(shards, first):
            self.meetings.append((one, other, segment))
            self._beside[one].append(other)
            self._beside[other].append(one)
        return [set(self._spread(index, first)) for index in range(len(self.inside))]

    def _met(self, shards: Sequence[Shard], first: int) -> Iterator[Meeting]:
        for line, (along, against) in _sides(shards, first).items():
            if line > 0:
                yield from _together(along, against)
            else:
                # A seam, which other sections have too.
                known = self._seams[line]
                yield from _together(along, known[1])
                yield from _together(known[0], against)
                known[0].extend(along)
                known[1].extend(against)

    def _spread(self, index: int, first: int) -> Iterator[int]:
        inside = self.inside[index]
        waiting = [i for i in range(first, len(self.shards)) if self._begins(i, index)]
        inside.update(waiting)
        while waiting:
            one = waiting.pop()
            yield one
            for other in self._beside[one]:
                if other not in inside and self.shards[other].holds[index]:
                    inside.add(other)
                    waiting.append(other)

    def _begins(self, i: int, index: int) -> bool:
        """Whether a new shard is reached from 0, or from shards that are."""
        shard, inside = self.shards[i], self.inside[index]
        if not shard.holds[index]:
            return False
        return any(other in inside for other in self._beside[i]) or nearest(shard.corners)[0] == 0


def area_around(reached: Reached, index: int) -> Area:
    """The area of a property, as far as shards were crossed.

    Args:
        reached: with all of them.
        index: of the property.
    """
    shards, found = reached.shards, reached.inside[index]
    corners = [corner[:2] for i in sorted(found) for corner in shards[i].corners]
    return Area(
        inside=tuple(i in found for i in range(len(shards))),
        size=math.fsum(area(shards[i].corners) for i in found),
        boundary=tuple(segment for one, other, segment in reached.meetings if (one in found) != (other in found)),
        farthest=max(corners, key=lambda one: max(map(abs, one)), default=(0.0, 0.0)),
    )


def _sides(shards: Sequence[Shard], first: int) -> dict[int, _Sides]:
    """Edges of shards by their lines."""
    lines: dict[int, _Sides] = defaultdict(lambda: ([], []))
    axes: dict[int, int] = {}
    for i, shard in enumerate(shards, first):
        for (a, b, line), (c, d, _) in edges(shard.corners):
            # Along the coordinate in which the line's first edge is longer.
            axis = axes.setdefault(line, 0 if abs(c - a) > abs(d - b) else 1)
            one, other = ((a, b)[axis], (a, b)), ((c, d)[axis], (c, d))
            if one[0] < other[0]:
                lines[line][0].append(_Side(one, other, i))
            elif other[0] < one[0]:
                lines[line][1].append(_Side(other, one, i))
    return lines


def _together(along: Sequence[_Side], against: Sequence[_Side]) -> Iterator[Meeting]:
    """Overlaps of the edges on both sides of a line."""
    one, other = (sorted(side, key=lambda edge: edge.start[0]) for side in (along, against))
    i = j = 0
    while i < len(one) and j < len(other):
        start = max(one[i].start, other[j].start)
        stop = min(one[i].stop, other[j].stop)
        if start[0] < stop[0]:
            yield one[i].shard, other[j].shard, (start[1], stop[1])
        if one[i].stop[0] <= other[j].stop[0]:
            i += 1
        else:
            j += 1
