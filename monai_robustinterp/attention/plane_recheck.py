"""A record of exact boxes checked on the network: witnesses, points and edges of polygons, by autograd alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_robustinterp.attention.plain import PlainNetwork, agree
from monai_robustinterp.attention.recheck import Rechecked
from monai_robustinterp.audit import PolygonRow
from monai_robustinterp.bundle import SaliencyBundle

SAMPLE = 24
"""Polygons that are looked at, and points of each proven box."""
_INSIDE = 0.98
"""Share of the way from a polygon's point to its corners at which its map must still be the same one."""
_BEYOND = 0.02
"""Share of a polygon's width by which the point beyond an edge lies outside."""


def recheck_plane(
    record: Mapping[str, Any],
    regions: Sequence[PolygonRow],
    *,
    source: str | Path,
    bundle: SaliencyBundle,
    sample: int = SAMPLE,
    progress: Callable[[], object] | None = None,
) -> Rechecked:
    """Evaluates the network of a record that was audited (:func:`~monai_robustinterp.audit.verify_plane`).

    Args:
        record: content of attention.json.
        regions: rows of its regions.csv.
        source: the image file.
        bundle: with the network.
        sample: polygons, and points of each box, that are drawn at random by the record's own hash.
        progress: called after each polygon.
    """
    plain = PlainNetwork(record, record["settings"]["perturbations"], source=source, bundle=bundle)
    others = plain.others()
    if others:
        return Rechecked(tuple(others), 0, 0, 0, 0)
    check = _Check(record, plain)
    draw = random.Random(record["content_sha256"])
    witnesses = check.boxes(draw, sample)
    chosen = sorted(draw.sample(range(len(regions)), min(sample, len(regions))))
    edges = [check.polygon(regions, i, progress) for i in chosen]
    seen = sum(found for found, _ in edges)
    return Rechecked(tuple(check.differences), witnesses, len(chosen), seen, sum(every for _, every in edges) - seen)


class _Check:
    def __init__(self, record: Mapping[str, Any], plain: PlainNetwork) -> None:
        self.differences: list[str] = []
        self._record, self._plain = record, plain
        self._limits = [high for _, high in record["settings"]["ranges"]]

    def boxes(self, draw: random.Random, sample: int) -> int:
        """Evaluates each property at its witness and at points of its box; returns the number of witnesses."""
        number = 0
        for name, result in self._record["results"].items():
            for _ in range(sample):
                strengths = [draw.uniform(low, high) for low, high in result["box"]]
                if self._plain.violated(name, self._plain.value(name, strengths)):
                    self.differences.append(f"{name} is violated within the box, at {strengths}")
            if result["witness"] is None:
                continue
            number += 1
            value = self._plain.value(name, result["witness"])
            if not self._plain.violated(name, value) or not agree(value, result["witness_value"]):
                self.differences.append(
                    f"the witness of {name} gives {value:g}, and the record says {result['witness_value']:g}"
                )
        return number

    def polygon(self, regions: Sequence[PolygonRow], i: int, progress: Callable[[], object] | None) -> tuple[int, int]:
        """Looks at one polygon, and beyond each of its edges.

        Returns:
            The edges beyond which another polygon's map is found, and all edges that another one adjoins.
        """
        row = regions[i]
        values = {name: self._plain.value(name, self._strengths(row.point)) for name in row.values}
        off = [name for name in values if not agree(values[name], row.values[name])]
        if off:
            self.differences.append(f"polygon {i} has other values at {row.point} ({', '.join(off)})")
        own = self._plain.at(self._strengths(row.point))[1]
        inner = [_towards(row.point, corner, _INSIDE) for corner in row.corners]
        if not all(self._plain.same_map(own, self._plain.at(self._strengths(point))[1]) for point in inner):
            self.differences.append(f"the map changes within polygon {i}, which is more than one")
        if progress is not None:
            progress()
        beyond = [point for point in _outside(row) if any(_contains(other, point) for other in regions)]
        changed = [not self._plain.same_map(own, self._plain.at(self._strengths(point))[1]) for point in beyond]
        return sum(changed), len(changed)

    def _strengths(self, point: Sequence[float]) -> list[float]:
        return [share * limit for share, limit in zip(point, self._limits)]


def _towards(one: Sequence[float], other: Sequence[float], share: float) -> tuple[float, float]:
    return one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])


def _outside(row: PolygonRow) -> Iterator[tuple[float, float]]:
    """A point beyond the middle of each edge."""
    for one, other in zip(row.corners, [*row.corners[1:], row.corners[0]]):
        yield _towards(row.point, _towards(one, other, 0.5), 1 + _BEYOND)


def _contains(row: PolygonRow, point: tuple[float, float]) -> bool:
    x, y = point
    following = [*row.corners[1:], row.corners[0]]
    return all((c - a) * (y - b) > (d - b) * (x - a) for (a, b), (c, d) in zip(row.corners, following))
