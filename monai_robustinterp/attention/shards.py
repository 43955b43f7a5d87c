"""Parts of polygons in which each property either holds everywhere or is not said to hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from monai_robustinterp.attention.plane import Beside, Cell, Plane
from monai_robustinterp.attention.polygons import Form, Point, Polygon, center, edges, split
from monai_robustinterp.attention.properties import MARGIN, ClassificationRobustness, Property

_HALVINGS = 10
"""Of a polygon in which a property that depends on theta holds at some corners and not at others."""


@dataclass(frozen=True)
class Shard:
    """A part of one polygon.

    Attributes:
        corners: in shares of both ranges.
        values: of the properties, in its center.
        holds: whether each of them holds in all of it, beyond round-off.
    """

    corners: Polygon
    values: tuple[float, ...]
    holds: tuple[bool, ...]


@dataclass(frozen=True)
class Doubt:
    """A part of the plane in which round-off could hide a pattern that violates a property.

    Attributes:
        index: of the property.
        zone: the part.
    """

    index: int
    zone: Polygon


class Judge:
    """Judges polygons by properties.

    Args:
        plane: of the polygons.
        properties: to check.
    """

    def __init__(self, plane: Plane, properties: Sequence[Property]) -> None:
        self._plane, self._properties = plane, properties

    def judged(self, cells: Sequence[Cell]) -> tuple[list[Shard], list[Doubt]]:
        """The parts of all polygons of a pass, and what round-off leaves open in them."""
        known: dict[tuple[int, int | None], bool] = {}
        shards: list[Shard] = []
        doubts: list[Doubt] = []
        for cell, agrees in zip(cells, self._agree(cells)):
            own = [self._shard(cell, part, decided, sound=agrees) for part, decided in self._parts(cell)]
            shards += own
            held = [any(shard.holds[index] for shard in own) for index in range(len(self._properties))]
            for beside in cell.beside:
                for index, some in enumerate(held):
                    if some and not self._also(index, cell, beside, known) and (zone := beside.zone()):
                        doubts.append(Doubt(index, zone))
        return shards, doubts

    def _agree(self, cells: Sequence[Cell]) -> list[bool]:
        """Whether the plain network gives the same logits in the center of each polygon."""
        middles = [center(cell.corners) for cell in cells]
        with torch.no_grad():
            plain = self._plane.network(torch.stack([self._plane.changed(one) for one in middles])).cpu()
        found = torch.stack([cell.logits_at(one) for cell, one in zip(cells, middles)])
        scale = MARGIN * float(plain.abs().max())
        return [bool((one - other).abs().max() <= scale) for one, other in zip(plain, found)]

    def _parts(self, cell: Cell) -> Iterator[tuple[Polygon, bool]]:
        """Parts of a polygon, each with whether the decision stays in it."""
        parts = [(cell.corners, True)]
        for one in self._properties:
            if isinstance(one, ClassificationRobustness):
                for form in _leads(one, cell):
                    parts = [part for polygon, stays in parts for part in _cut(polygon, stays, form, self._plane)]
            elif not one.is_fixed:
                parts = [(part, stays) for polygon, stays in parts for part in self._halved(one, cell, polygon)]
        return iter(parts)

    def _halved(self, one: Property, cell: Cell, polygon: Polygon, times: int = _HALVINGS) -> Iterator[Polygon]:
        """Parts in which a convex value is below its threshold at all corners, or not; small where it is both."""
        corners = [self._holds(one, cell.logits, cell.maps, corner[:2]) for corner in polygon]
        if all(corners) or not any(corners) or not times:
            yield polygon
            return
        for part in split(polygon, _bisector(polygon), next(self._plane.lines)):
            if part:
                yield from self._halved(one, cell, part, times - 1)

    def _shard(self, cell: Cell, polygon: Polygon, stays: bool, *, sound: bool) -> Shard:
        middle = center(polygon)
        logits, theta = cell.logits_at(middle), self._plane.strengths(middle)
        points = [corner[:2] for corner in polygon]
        return Shard(
            corners=polygon,
            values=tuple(one.value(logits, cell.maps, theta) for one in self._properties),
            holds=tuple(
                sound
                and all(self._holds(one, cell.logits, cell.maps, at) for at in ([middle] if one.is_fixed else points))
                if one.of_map
                else sound and stays
                for one in self._properties
            ),
        )

    def _also(self, index: int, cell: Cell, beside: Beside, known: dict[tuple[int, int | None], bool]) -> bool:
        """Whether a property also holds of a hidden pattern, in its zone."""
        one = self._properties[index]
        if not one.of_map:
            # Logits are continuous: those of the hidden pattern differ by round-off.
            return True
        if beside.maps is None:
            return False
        if not one.is_fixed:
            return all(self._holds(one, cell.logits, beside.maps, corner[:2]) for corner in beside.zone())
        if beside.pattern is None:
            return self._holds(one, cell.logits, beside.maps, center(cell.corners))
        key = index, beside.pattern
        if key not in known:
            known[key] = self._holds(one, cell.logits, beside.maps, center(cell.corners))
        return known[key]

    def _holds(self, one: Property, logits: torch.Tensor, maps: torch.Tensor, point: Point) -> bool:
        first, x, y = logits
        there = first + point[0] * (x - first) + point[1] * (y - first)
        return one.holds(there, maps, self._plane.strengths(point))


def _leads(one: ClassificationRobustness, cell: Cell) -> list[Form]:
    """The leads of the decision over their threshold, as affine functions."""
    first, x, y = (one.leads @ row - one.threshold for row in cell.logits)
    return [(a, b - a, c - a) for a, b, c in zip(first.tolist(), x.tolist(), y.tolist())]


def _cut(polygon: Polygon, stays: bool, form: Form, plane: Plane) -> Iterator[tuple[Polygon, bool]]:
    below, above = split(polygon, form, next(plane.lines))
    if below:
        yield below, False
    if above:
        yield above, stays
    if not below and not above:
        # So thin that float64 has no side of it.
        yield polygon, False


def _bisector(polygon: Polygon) -> Form:
    """A line through the center, across the longest edge."""
    one, other = max(edges(polygon), key=lambda edge: (edge[0][0] - edge[1][0]) ** 2 + (edge[0][1] - edge[1][1]) ** 2)
    right, up = other[0] - one[0], other[1] - one[1]
    x, y = center(polygon)
    return -(right * x + up * y), right, up
