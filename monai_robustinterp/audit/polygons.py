"""Convex polygons of a table: their areas, their parts in a box, and how much they lie on each other."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter

Point = tuple[float, float]
Polygon = Sequence[Point]
"""Corners, counterclockwise; without any it is empty."""


def edges(polygon: Polygon) -> Iterator[tuple[Point, Point]]:
    """Beginning and end of each edge."""
    return zip(polygon, [*polygon[1:], polygon[0]])


def turn(one: Point, other: Point, third: Point) -> float:
    """Above 0 where three points turn left."""
    return (other[0] - one[0]) * (third[1] - one[1]) - (other[1] - one[1]) * (third[0] - one[0])


def area(polygon: Polygon) -> float:
    """Area of a polygon."""
    return sum(turn(polygon[0], one, other) for one, other in edges(polygon)) / 2 if polygon else 0.0


def within(polygon: Polygon, scale: float) -> Polygon:
    """The part of a polygon in [-scale, scale]^2."""
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            polygon = _clipped(polygon, partial(_to_side, axis, sign * scale))
    return polygon


def _to_side(axis: int, side: float, point: Point) -> float:
    """How far a point lies on 0's side of one of a box's sides."""
    return abs(side) - math.copysign(1, side) * point[axis]


def overlap(polygons: Sequence[Polygon]) -> float:
    """Sum of the common areas of all pairs of polygons; 0 where none lies on another one, but for round-off."""
    boxes = sorted(((*map(min, zip(*one)), *map(max, zip(*one)), one) for one in polygons), key=itemgetter(0))
    lefts = [left for left, *_ in boxes]
    common = 0.0
    for i, (_, low, right, high, one) in enumerate(boxes):
        # Those that begin before it ends stand right behind it.
        for _, other_low, _, other_high, other in boxes[i + 1 : bisect_left(lefts, right)]:
            if other_low < high and other_high > low:
                common += area(_common(one, other))
    return common


def _common(one: Polygon, other: Polygon) -> Polygon:
    """The intersection of two polygons."""
    for begin, end in edges(other):
        one = _clipped(one, partial(turn, begin, end))
    return one


def _clipped(polygon: Polygon, inside: Callable[[Point], float]) -> Polygon:
    """The part in which an affine function is not negative."""
    kept: list[Point] = []
    for one, other in edges(polygon) if polygon else ():
        here, there = inside(one), inside(other)
        if here >= 0:
            kept.append(one)
        if here * there < 0:
            share = here / (here - there)
            kept.append((one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])))
    return kept
