"""The area around 0 in which a property holds, through polygons that touch along an edge, and its boundary."""

from __future__ import annotations

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


def area_around(shards: Sequence[Shard], index: int) -> Area:
    """The area of a property.

    Args:
        shards: that were crossed; where they tile nothing the area ends.
        index: of the property.
    """
    meetings = list(_meetings(shards))
    beside = defaultdict(list)
    for one, other, _ in meetings:
        beside[one].append(other)
        beside[other].append(one)
    waiting = [i for i, shard in enumerate(shards) if shard.holds[index] and nearest(shard.corners)[0] == 0]
    found = set(waiting)
    while waiting:
        for other in beside[waiting.pop()]:
            if other not in found and shards[other].holds[index]:
                found.add(other)
                waiting.append(other)
    corners = [corner[:2] for i in found for corner in shards[i].corners]
    return Area(
        inside=tuple(i in found for i in range(len(shards))),
        size=sum(area(shards[i].corners) for i in found),
        boundary=tuple(segment for one, other, segment in meetings if (one in found) != (other in found)),
        farthest=max(corners, key=lambda one: max(map(abs, one)), default=(0.0, 0.0)),
    )


def _meetings(shards: Sequence[Shard]) -> Iterator[tuple[int, int, tuple[Point, Point]]]:
    """Pairs of shards that touch along a segment of positive length, and the segment."""
    lines: dict[int, tuple[list[_Side], list[_Side]]] = defaultdict(lambda: ([], []))
    axes: dict[int, int] = {}
    for i, shard in enumerate(shards):
        for (a, b, line), (c, d, _) in edges(shard.corners):
            # Along the coordinate in which the line's first edge is longer.
            axis = axes.setdefault(line, 0 if abs(c - a) > abs(d - b) else 1)
            one, other = ((a, b)[axis], (a, b)), ((c, d)[axis], (c, d))
            if one[0] < other[0]:
                lines[line][0].append(_Side(one, other, i))
            elif other[0] < one[0]:
                lines[line][1].append(_Side(other, one, i))
    for sides in lines.values():
        yield from _together(*(sorted(side, key=lambda one: one.start[0]) for side in sides))


def _together(one: Sequence[_Side], other: Sequence[_Side]) -> Iterator[tuple[int, int, tuple[Point, Point]]]:
    """Overlaps of the edges on both sides of a line, each side in order."""
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
