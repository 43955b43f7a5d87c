"""Convex polygons of a table: their areas, their parts in a box, and how much they lie on each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

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
    ends = np.array([[np.min(one, axis=0), np.max(one, axis=0)] for one in polygons])
    order = np.argsort(ends[:, 0, 0])
    low, high = ends[order, 0], ends[order, 1]
    # Sorted by their left ends: those that begin before a polygon ends stand right behind it.
    following = np.searchsorted(low[:, 0], high[:, 0])
    common = 0.0
    for i, last in enumerate(following):
        beside = (low[i + 1 : last, 1] < high[i, 1]) & (high[i + 1 : last, 1] > low[i, 1])
        for j in np.flatnonzero(beside) + i + 1:
            common += area(_common(polygons[order[i]], polygons[order[j]]))
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
