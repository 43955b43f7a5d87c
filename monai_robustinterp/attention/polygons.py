"""Convex polygons of the plane, cut by lines in float64; each edge knows the line that it lies on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Point = tuple[float, float]
Corner = tuple[float, float, int]
"""Where it is, and the number of the line on which the edge to the next corner lies."""
Polygon = list[Corner]
"""Corners, counterclockwise."""
Form = tuple[float, float, float]
"""An affine function a + b x + c y."""


def rectangle(low: Point, high: Point, lines: tuple[int, int, int, int]) -> Polygon:
    """An upright rectangle.

    Args:
        low: its lower left corner.
        high: its upper right corner.
        lines: numbers of its lower, right, upper and left edge.
    """
    (left, bottom), (right, top) = low, high
    places = ((left, bottom), (right, bottom), (right, top), (left, top))
    return [(x, y, line) for (x, y), line in zip(places, lines)]


def at(form: Form, corner: Corner) -> float:
    """Value of an affine function."""
    return form[0] + form[1] * corner[0] + form[2] * corner[1]


def split(polygon: Polygon, form: Form, line: int) -> tuple[Polygon, Polygon]:
    """The parts in which an affine function is <= 0 and >= 0; each may be empty.

    Both share the corners on the line, as the same doubles, so that together they are the polygon.

    Args:
        polygon: to cut.
        form: the function.
        line: number of the line on which it is 0.
    """
    below: Polygon = []
    above: Polygon = []
    values = [at(form, corner) for corner in polygon]
    for i, (corner, value) in enumerate(zip(polygon, values)):
        x, y, edge = corner
        following, further = polygon[(i + 1) % len(polygon)], values[(i + 1) % len(polygon)]
        if value <= 0:
            below.append((x, y, line) if value == 0 and further > 0 else corner)
        if value >= 0:
            above.append((x, y, line) if value == 0 and further < 0 else corner)
        if value * further < 0:
            share = value / (value - further)
            met = x + share * (following[0] - x), y + share * (following[1] - y)
            below.append((*met, line if value < 0 else edge))
            above.append((*met, line if value > 0 else edge))
    return (below if len(below) > 2 else []), (above if len(above) > 2 else [])


def center(polygon: Polygon) -> Point:
    """Mean of the corners: inside."""
    return sum(one[0] for one in polygon) / len(polygon), sum(one[1] for one in polygon) / len(polygon)


def area(polygon: Polygon) -> float:
    """Area, from the corners' distances to the first one."""
    x, y, _ = polygon[0]
    return sum((a - x) * (d - y) - (c - x) * (b - y) for (a, b, _), (c, d, _) in edges(polygon)) / 2


def edges(polygon: Polygon) -> Iterator[tuple[Corner, Corner]]:
    """Each corner with the next one."""
    return zip(polygon, [*polygon[1:], polygon[0]])


def nearest(polygon: Polygon) -> tuple[float, Point]:
    """The smallest max(|x|, |y|) in a polygon, and a point that has it."""
    if all(a * d - b * c >= 0 for (a, b, _), (c, d, _) in edges(polygon)):
        return 0.0, (0.0, 0.0)
    return min((max(abs(x), abs(y)), (x, y)) for one in edges(polygon) for x, y in _bends(*one))


def _bends(one: Corner, other: Corner) -> Iterator[Point]:
    """Points of a segment between which max(|x|, |y|) is affine."""
    x, y, _ = one
    right, up = other[0] - x, other[1] - y
    yield x, y
    for value, rise in ((x, right), (y, up), (x - y, right - up), (x + y, right + up)):
        share = -value / rise if rise else 0.0
        if 0 < share < 1:
            yield x + share * right, y + share * up


def padded(polygons: Sequence[Polygon]) -> np.ndarray:
    """Corners of several polygons, float64 [polygons, most corners, 2]; the last corner is repeated."""
    most = max(map(len, polygons))
    places = [[one[:2] for one in polygon] for polygon in polygons]
    return np.array([[*one, *[one[-1]] * (most - len(one))] for one in places], dtype=np.float64)
