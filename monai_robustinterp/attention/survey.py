"""The exact traversal of a plane: the largest scaled box in which each property provably holds, and what ends it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from monai_robustinterp.attention.frontier import Frontier, Order
from monai_robustinterp.attention.outline import Reached
from monai_robustinterp.attention.plane import Plane
from monai_robustinterp.attention.polygons import Point, Polygon, area, center, nearest
from monai_robustinterp.attention.properties import Property
from monai_robustinterp.attention.shards import Doubt, Judge, Shard
from monai_robustinterp.attention.tape import TooManyRegions
from monai_robustinterp.attention.verify import End
from monai_robustinterp.errors import InputRefused

_INWARDS = 1 - 1e-12
"""A scale is rounded towards 0 by what float64 makes of its polygons."""
_STEPS = (1e-9, 1e-7, 1e-5, 1e-3, 0.1, 0.5, 1.0)
"""Shares of the way from the nearest point of a polygon to its center at which a witness is looked for."""
_BESIDE = 1e-6
"""Relative distance of a violating polygon from the end of the scale that it ends."""


@dataclass
class Scale:
    """How large a scaled box one property provably holds in.

    Attributes:
        scale: it holds at all strengths in scale times the ranges.
        end: what ends it; None while the walk goes on.
        witness: strengths just outside that violate it.
        witness_value: the property's value there, by autograd.
    """

    scale: float = 0.0
    end: End | None = None
    witness: Point | None = None
    witness_value: float | None = None


@dataclass
class Survey:
    """What a walk through the polygons of a box found.

    Attributes:
        low: lower ends of both ranges, in shares of the limits: -1 or 0.
        limits: upper ends of both ranges.
        properties: that were checked.
        scales: of each property.
        reached: parts of the polygons that were crossed, and which of them are reached from 0.
        sections: upright rectangles that were crossed, in shares: the shards tile each of them.
        whole: whether everything was crossed that the areas of the properties need.
        boundary_after: number of shards behind which the outermost boundaries of the areas had been followed, and no
            piece was left that one may pass through; None if it did not come to that.
        hidden: patterns that were checked since round-off could hide them at a corner.
        elapsed_s: seconds of this run.
        process_s: processor seconds of this run.
    """

    low: Point
    limits: Point
    properties: tuple[Property, ...]
    scales: dict[str, Scale]
    reached: Reached
    sections: list[Polygon] = field(default_factory=list)
    whole: bool = False
    boundary_after: int | None = None
    hidden: int = 0
    elapsed_s: float = 0.0
    process_s: float = 0.0

    @property
    def shards(self) -> list[Shard]:
        """Parts of the polygons that were crossed."""
        return self.reached.shards

    @property
    def crossed(self) -> float:
        """Share of the box that was crossed."""
        return sum(map(area, self.sections)) / ((1 - self.low[0]) * (1 - self.low[1]))


def survey(
    plane: Plane,
    properties: Sequence[Property],
    *,
    low: Point = (-1.0, -1.0),
    order: Order = "nearest",
    inside: bool = True,
    everything: bool = False,
    time_budget_s: float | None = None,
    progress: Callable[[float], object] | None = None,
) -> Survey:
    """Walks outwards from 0 through all polygons that can be reached where a property holds.

    What is nearest to 0 comes first, by the larger one of both shares. So the box that is proven grows until a
    violation is met, and then the area in which the property holds is followed to its outermost boundary; what lies
    beyond is left out.

    Args:
        plane: network, image and both directions.
        properties: to check.
        low: lower ends of both ranges, in shares of the plane's limits: -1, or 0 where a parameter has no negative one.
        order: whether what is nearest to 0 comes first, or what the outermost boundary of an area passes through, as in
            the paper: then the boundary is known early and the box late. Without an end in time both find the same.
        inside: whether to go on when the outermost boundary has been followed; else nothing is proven inside of it.
        everything: whether also to cross what no property reaches.
        time_budget_s: seconds after which the walk ends; what is proven so far is kept.
        progress: called with the share of the box that was just covered.

    Raises:
        InputRefused: if a property does not hold at 0.
    """
    start, process = time.perf_counter(), time.process_time()
    logits, maps = plane.gradient((0.0, 0.0))
    for one in properties:
        if not one.holds(logits.cpu(), maps, (0.0, 0.0)):
            raise InputRefused(
                f"{one.name!r} does not hold of the clean image beyond round-off, so that nothing can be verified: "
                f"its value is {one.value(logits.cpu(), maps, (0.0, 0.0)):g}, and the threshold {one.threshold:g}."
            )
    scales = {one.name: Scale() for one in properties}
    found = Survey(low, plane.limits, tuple(properties), scales, Reached(len(properties)))
    walk, crossed = _Walk(plane, found, order=order, everything=everything), 0
    while walk.step():
        if progress is not None:
            progress(sum(map(area, found.sections[crossed:])) / ((1 - low[0]) * (1 - low[1])))
        crossed = len(found.sections)
        if not inside and found.boundary_after is not None:
            break
        if time_budget_s is not None and time.perf_counter() - start > time_budget_s:
            break
    walk.close()
    found.elapsed_s, found.process_s = time.perf_counter() - start, time.process_time() - process
    return found


class _Walk:
    """What is crossed piece by piece, and what stands in the way of each property."""

    def __init__(self, plane: Plane, found: Survey, *, order: Order, everything: bool) -> None:
        self._plane, self._found = plane, found
        self._judge = Judge(plane, found.properties)
        self._frontier = Frontier(found.low, len(found.properties), order=order, everything=everything)
        # Of each property: the nearest part in which it is not said to hold, and the nearest shard of those.
        self._ends: list[tuple[float, float, Shard | None]] = [(math.inf, math.inf, None)] * len(found.properties)

    def step(self) -> bool:
        """Crosses the piece that comes next, or cuts it if it is too large; False if no more is wanted."""
        section = self._frontier.next([end for end, _, _ in self._ends])
        if section is None:
            self._found.whole = True
            return False
        try:
            cells = self._plane.cells(section)
        except TooManyRegions:
            self._frontier.quarter(section)
            return True
        shards, doubts = self._judge.judged(cells)
        self._found.hidden += sum(
            beside.pattern is None and beside.maps is not None for cell in cells for beside in cell.beside
        )
        self._note(shards, doubts)
        for index, numbers in enumerate(self._found.reached.add(shards)):
            reached = [self._found.shards[number] for number in sorted(numbers)]
            self._frontier.touched(index, reached=reached, left=[one for one in shards if not one.holds[index]])
        self._found.sections.append(section)
        if self._found.boundary_after is None and not self._frontier.boundary_left:
            self._found.boundary_after = len(self._found.shards)
        return True

    def close(self) -> None:
        """Says how far each property is proven, and what ends it."""
        left = self._frontier.nearest
        for (obstacle, gauge, shard), one in zip(self._ends, self._found.properties):
            scale = self._found.scales[one.name]
            if left < obstacle:
                scale.scale, scale.end = min(1.0, left), "time"
            elif obstacle == math.inf:
                scale.scale, scale.end = 1.0, "range"
            else:
                scale.scale, scale.end = obstacle * _INWARDS, "undecided"
                if shard is not None and gauge <= obstacle * (1 + _BESIDE):
                    self._witness(scale, one, shard)

    def _witness(self, scale: Scale, one: Property, shard: Shard) -> None:
        _, (x, y) = nearest(shard.corners)
        right, up = center(shard.corners)
        for share in _STEPS:
            point = x + share * (right - x), y + share * (up - y)
            theta = self._plane.strengths(point)
            logits, maps = self._plane.gradient(point)
            if max(map(abs, point)) > scale.scale and one.violates(logits.cpu(), maps, theta):
                scale.end, scale.witness = "violation", theta
                scale.witness_value = one.value(logits.cpu(), maps, theta)
                return

    def _note(self, shards: Sequence[Shard], doubts: Sequence[Doubt]) -> None:
        """Keeps the nearest part in which each property is not said to hold."""
        for index, (obstacle, gauge, shard) in enumerate(self._ends):
            for one in shards:
                if not one.holds[index] and (near := nearest(one.corners)[0]) < gauge:
                    gauge, shard = near, one
            zones = [nearest(doubt.zone)[0] for doubt in doubts if doubt.index == index]
            self._ends[index] = min([obstacle, gauge, *zones]), gauge, shard
