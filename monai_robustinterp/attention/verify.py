"""The exact traversal: how far from 0 each property provably holds, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from monai_robustinterp.attention.crossed import Crossed
from monai_robustinterp.attention.line import Line
from monai_robustinterp.attention.parts import Parts, crossings
from monai_robustinterp.attention.properties import MARGIN, Property
from monai_robustinterp.attention.walk import sections
from monai_robustinterp.errors import InputRefused

End = Literal["range", "violation", "undecided", "time"]
END_SENTENCES: dict[End, str] = {
    "range": "holds up to the end of the range",
    "violation": "the next theta violates it; the witness does so beyond round-off",
    "undecided": "round-off leaves open what holds there",
    "time": "the time budget ended here; nothing is said of what follows",
}


@dataclass
class Reach:
    """How far one property provably holds on one side of 0.

    Attributes:
        theta: it holds from 0 to here.
        end: what ends it; None while the walk goes on.
        witness: a theta just outside that violates it.
        witness_value: the property's value there, by autograd.
    """

    theta: float = 0.0
    end: End | None = None
    witness: float | None = None
    witness_value: float | None = None


@dataclass(frozen=True)
class Region:
    """One region crossed.

    Attributes:
        low: its lower end, not beyond the range.
        high: its upper end.
        theta: a point of it.
        values: of the properties, in their order, at theta.
    """

    low: float
    high: float
    theta: float
    values: tuple[float, ...]


@dataclass
class Traversal:
    """What a walk from 0 to both ends of a range found.

    Attributes:
        low: lower end of the range.
        high: upper end.
        properties: that were checked.
        reaches: for each property the reach below and above 0.
        regions: crossed, by their order in theta.
        hidden: patterns that were checked since round-off could hide them at a boundary.
        elapsed_s: seconds of this run.
        process_s: processor seconds of all parts, also of those that an earlier run left.
    """

    low: float
    high: float
    properties: tuple[Property, ...]
    reaches: dict[str, tuple[Reach, Reach]]
    regions: list[Region] = field(default_factory=list)
    hidden: int = 0
    elapsed_s: float = 0.0
    process_s: float = 0.0

    def interval(self, name: str) -> tuple[float, float]:
        """The proven interval of a property."""
        below, above = self.reaches[name]
        return below.theta, above.theta

    @property
    def ended_by_time(self) -> bool:
        """Whether the time budget ended it before all was known."""
        return any(reach.end == "time" for pair in self.reaches.values() for reach in pair)


def traverse(
    line: Line,
    properties: Sequence[Property],
    *,
    low: float,
    high: float,
    time_budget_s: float | None = None,
    workers: int = 1,
    parts: Parts | None = None,
    progress: Callable[[float], object] | None = None,
) -> Traversal:
    """Walks from 0 to both ends, until the range ends or every property has ended there.

    What it finds does not depend on the number of processes, nor on where an earlier run was ended.

    Args:
        line: network and direction.
        properties: to check.
        low: lower end of the range, at most 0.
        high: upper end, at least 0.
        time_budget_s: seconds after which the walk ends; what is proven so far is kept.
        workers: processes.
        parts: where sections are kept, so that a run that was ended goes on; None keeps none.
        progress: called with the share of the range that was just covered.

    Raises:
        InputRefused: if the range does not contain 0, or a property does not hold at 0.
    """
    if not low <= 0 <= high or low == high:
        raise InputRefused(f"the range is [{low:g}, {high:g}]; it must contain 0, the clean image, and have a length.")
    start = time.perf_counter()
    logits, maps = line.gradient(0.0)
    for one in properties:
        if not one.holds(logits.cpu(), maps, 0.0):
            raise InputRefused(
                f"{one.name!r} does not hold of the clean image beyond round-off, so that nothing can be verified: "
                f"its value is {one.value(logits.cpu(), maps, 0.0):g}, and the threshold {one.threshold:g}."
            )
    found = Traversal(low, high, tuple(properties), {one.name: (Reach(), Reach()) for one in properties})
    sides = [_Side(line, found, index, end) for index, end in enumerate((low, high))]
    wanted = (one for one in sections(line, low, high) if sides[one.up].is_open)
    with crossings(line, properties, workers=workers, parts=parts) as cross:
        for section, process_s, pieces in cross(wanted):
            side = sides[section.up]
            if side.is_open:
                found.process_s += process_s
                side.take(pieces)
                if progress is not None:
                    progress(abs(section.far - section.near) / (high - low))
            if time_budget_s is not None and time.perf_counter() - start > time_budget_s:
                for side in sides:
                    side.close("time")
                break
    found.regions = list(_whole(sides))
    found.elapsed_s = time.perf_counter() - start
    return found


class _Side:
    """The walk on one side of 0."""

    def __init__(self, line: Line, found: Traversal, index: int, end: float) -> None:
        self._line, self._found, self._index, self._end = line, found, index, end
        self.crossed: list[Crossed] = []
        # What holds up to a boundary is proven only up to where round-off leaves no doubt about the next region.
        self._safe = 0.0
        if not end:
            self.close("range")

    @property
    def is_open(self) -> bool:
        """Whether a property is still being followed here."""
        return any(reach.end is None for _, reach in self._reaches())

    def take(self, pieces: Sequence[Crossed]) -> None:
        """Goes through the next pieces, until no property is followed any more."""
        for piece in pieces:
            if not self.is_open:
                return
            if self.crossed and not self.crossed[-1].meets(piece, MARGIN):
                self.close("undecided")
                return
            self._step(piece)

    def _step(self, piece: Crossed) -> None:
        safe = self._least(piece.far, piece.far - self._sign * piece.doubt, most=piece.near)
        for number, (one, reach) in enumerate(self._reaches()):
            if reach.end is None:
                self._follow(number, one, reach, piece, safe)
        self._found.hidden += piece.hidden
        self.crossed.append(piece)
        self._safe = safe
        if piece.far == self._end:
            self.close("range" if safe == piece.far else "undecided")

    def close(self, end: End) -> None:
        """Ends all properties that are still followed."""
        for _, reach in self._reaches():
            if reach.end is None:
                reach.theta, reach.end = self._safe, end

    @property
    def _sign(self) -> int:
        return 1 if self._end > 0 else -1

    def _least(self, one: float, other: float, *, most: float) -> float:
        """What is nearer to 0 of two thetas, but not nearer than a third one."""
        return max(most, min(one, other)) if self._sign > 0 else min(most, max(one, other))

    def _reaches(self) -> Iterator[tuple[Property, Reach]]:
        for one in self._found.properties:
            yield one, self._found.reaches[one.name][self._index]

    def _follow(self, number: int, one: Property, reach: Reach, piece: Crossed, safe: float) -> None:
        until = piece.until[number]
        if until == piece.far and piece.certain[number]:
            return
        inside = until != piece.near and piece.certain[number]
        reach.theta = self._least(until, safe, most=piece.near) if inside else self._safe
        reach.end = "undecided"
        if until != piece.far:
            witness = (until + piece.far) / 2
            logits, maps = self._line.gradient(witness)
            if one.violates(logits.cpu(), maps, witness):
                value = one.value(logits.cpu(), maps, witness)
                reach.end, reach.witness, reach.witness_value = "violation", witness, value


def _whole(sides: Sequence[_Side]) -> Iterator[Region]:
    """The regions in order; what a seam between sections cuts is one region."""
    pieces = [*reversed(sides[0].crossed), *sides[1].crossed]
    last: Region | None = None
    cut = False
    for piece in pieces:
        low, high = sorted((piece.near, piece.far))
        open_low, open_high = piece.open if low == piece.near else piece.open[::-1]
        region = Region(low, high, (low + high) / 2, tuple(piece.values))
        if last is not None and cut and not open_low:
            # No switch is there.
            longer = max(last, region, key=lambda one: one.high - one.low)
            region = Region(last.low, high, longer.theta, longer.values)
        elif last is not None:
            yield last
        last, cut = region, not open_high
    if last is not None:
        yield last
