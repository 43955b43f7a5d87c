"""The exact traversal of a plane: the largest scaled box in which each property provably holds, and what ends it."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from monai_robustinterp.attention.outline import Reached
from monai_robustinterp.attention.plane import Plane
from monai_robustinterp.attention.polygons import Point, Polygon, area, center, edges, nearest, rectangle
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
_LEAST_SIDE = 2.0**-26
"""Of a piece of the plane, in shares of the range: less has no polygons that float64 can tell apart."""


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
    whole: bool = True
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
    walk = _Walk(plane, found, everything=everything)
    while walk.is_open:
        section = walk.step()
        if section is not None:
            found.sections.append(section)
            if progress is not None:
                progress(area(section) / ((1 - low[0]) * (1 - low[1])))
        if time_budget_s is not None and time.perf_counter() - start > time_budget_s:
            break
    walk.close()
    found.elapsed_s, found.process_s = time.perf_counter() - start, time.process_time() - process
    return found


class _Walk:
    """Pieces of the box, the nearest first, and what stands in the way of each property."""

    def __init__(self, plane: Plane, found: Survey, *, everything: bool) -> None:
        self._plane, self._found, self._everything = plane, found, everything
        self._judge = Judge(plane, found.properties)
        self._count = itertools.count()
        self._seams: dict[tuple[int, float], int] = {}
        self._waiting: list[tuple[float, int, Polygon]] = []
        self._beyond: list[Polygon] = []
        self._edges: list[_Box] = []
        # Of each property: the nearest part in which it is not said to hold, and the nearest shard of those.
        self._ends: list[tuple[float, float, Shard | None]] = [(math.inf, math.inf, None)] * len(found.properties)
        for left, right in itertools.pairwise(sorted({found.low[0], 0.0, 1.0})):
            for bottom, top in itertools.pairwise(sorted({found.low[1], 0.0, 1.0})):
                self._push(self._rectangle((left, bottom), (right, top)))

    @property
    def is_open(self) -> bool:
        """Whether a piece is left that may be wanted."""
        return bool(self._waiting)

    def step(self) -> Polygon | None:
        """Crosses the nearest piece, if it is wanted and not too large; else it is put aside, or cut."""
        gauge, _, section = heapq.heappop(self._waiting)
        if not self._wanted(gauge, section):
            self._beyond.append(section)
            return None
        try:
            cells = self._plane.cells(section)
        except TooManyRegions:
            self._quarter(section)
            return None
        shards, doubts = self._judge.judged(cells)
        self._found.hidden += sum(beside.pattern is None for cell in cells for beside in cell.beside or ())
        self._note(shards, doubts)
        self._reach(self._found.reached.add(shards))
        return section

    def close(self) -> None:
        """Says how far each property is proven, and what ends it."""
        left = min((gauge for gauge, _, _ in self._waiting), default=math.inf)
        self._found.whole = not self._waiting
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

    def _wanted(self, gauge: float, section: Polygon) -> bool:
        if self._everything or any(gauge < end for end, _, _ in self._ends):
            return True
        return _touches(section, self._edges)

    def _note(self, shards: Sequence[Shard], doubts: Sequence[Doubt]) -> None:
        """Keeps the nearest part in which each property is not said to hold."""
        for index, (obstacle, gauge, shard) in enumerate(self._ends):
            for one in shards:
                if not one.holds[index] and (near := nearest(one.corners)[0]) < gauge:
                    gauge, shard = near, one
            zones = [nearest(doubt.zone)[0] for doubt in doubts if doubt.index == index]
            self._ends[index] = min([obstacle, gauge, *zones]), gauge, shard

    def _reach(self, numbers: set[int]) -> None:
        """Goes on to the pieces at whose edge there are shards that were newly reached."""
        new = []
        for number in numbers:
            for (a, b, line), (c, d, _) in edges(self._found.shards[number].corners):
                if line < 0:
                    new.append((min(a, c), min(b, d), max(a, c), max(b, d)))
        self._edges += new
        reached = [one for one in self._beyond if _touches(one, new)]
        self._beyond = [one for one in self._beyond if one not in reached]
        for one in reached:
            self._push(one)

    def _quarter(self, section: Polygon) -> None:
        (left, bottom, _), _, (right, top, _), _ = section
        x, y = (left + right) / 2, (bottom + top) / 2
        if min(right - left, top - bottom) < _LEAST_SIDE:
            raise InputRefused(
                "the network is so steep along these perturbations that float64 cannot tell its polygons apart: choose "
                "smaller ranges or other perturbations."
            )
        for low in ((left, bottom), (x, bottom), (left, y), (x, y)):
            self._push(self._rectangle(low, (x if low[0] == left else right, y if low[1] == bottom else top)))

    def _push(self, section: Polygon) -> None:
        heapq.heappush(self._waiting, (nearest(section)[0], next(self._count), section))

    def _rectangle(self, low: Point, high: Point) -> Polygon:
        sides = ((1, low[1]), (0, high[0]), (1, high[1]), (0, low[0]))
        bottom, right, top, left = (self._seams.setdefault(side, -1 - len(self._seams)) for side in sides)
        return rectangle(low, high, (bottom, right, top, left))


_Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def _touches(section: Polygon, boxes: Sequence[_Box]) -> bool:
    (left, bottom, _), _, (right, top, _), _ = section
    return any(a <= right and c >= left and b <= top and d >= bottom for a, b, c, d in boxes)
