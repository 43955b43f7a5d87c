"""The exact traversal: how far from 0 each property provably holds, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from monai_robustinterp.attention.line import Line, Piece
from monai_robustinterp.attention.properties import MARGIN, Property
from monai_robustinterp.attention.switches import Forced
from monai_robustinterp.attention.walk import walk
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
        values: of the properties, in their order, in its middle.
    """

    low: float
    high: float
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
        elapsed_s: seconds.
    """

    low: float
    high: float
    properties: tuple[Property, ...]
    reaches: dict[str, tuple[Reach, Reach]]
    regions: list[Region] = field(default_factory=list)
    hidden: int = 0
    elapsed_s: float = 0.0

    def interval(self, name: str) -> tuple[float, float]:
        """The proven interval of a property."""
        below, above = self.reaches[name]
        return below.theta, above.theta


def traverse(
    line: Line,
    properties: Sequence[Property],
    *,
    low: float,
    high: float,
    time_budget_s: float | None = None,
    batch_size: int = 1,
    progress: Callable[[float], object] | None = None,
) -> Traversal:
    """Walks from 0 to both ends, until the range ends or every property has ended there.

    Args:
        line: network and direction.
        properties: to check.
        low: lower end of the range, at most 0.
        high: upper end, at least 0.
        time_budget_s: seconds after which the walk ends; what is proven so far is kept.
        batch_size: points a pass.
        progress: called with the share of the range that was just covered.

    Raises:
        InputRefused: if the range does not contain 0, or a property does not hold at 0.
    """
    if not low <= 0 <= high or low == high:
        raise InputRefused(f"the range is [{low:g}, {high:g}]; it must contain 0, the clean image, and have a length.")
    start = time.perf_counter()
    first = line.pieces([0.0])[0]
    for one in properties:
        if not one.holds(first.logits, first.maps, 0.0):
            raise InputRefused(
                f"{one.name!r} does not hold of the clean image beyond round-off, so that nothing can be verified: "
                f"its value is {one.value(first.logits, first.maps, 0.0):g}, and the threshold {one.threshold:g}."
            )
    reaches = {one.name: (Reach(), Reach()) for one in properties}
    found = Traversal(low, high, tuple(properties), reaches)
    sides = [
        _Side(line, found, index, walk(line, first, end, batch_size=batch_size), end)
        for index, end in enumerate((low, high))
        if end
    ]
    for index, end in enumerate((low, high)):
        if not end:
            for pair in reaches.values():
                pair[index].end = "range"
    while open_sides := [side for side in sides if side.step_open()]:
        # The region of the clean image is known already.
        late = time_budget_s is not None and time.perf_counter() - start > time_budget_s
        if late and found.regions:
            for side in open_sides:
                side.close("time")
            break
        # The side that is behind: what a time budget leaves is even.
        side = min(open_sides, key=lambda one: abs(one.covered / one.end))
        before = side.covered
        side.step()
        if progress is not None:
            progress(abs(side.covered - before) / (high - low))
    found.regions.sort(key=lambda region: region.low)
    found.elapsed_s = time.perf_counter() - start
    return found


class _Side:
    """The walk on one side of 0."""

    def __init__(self, line: Line, found: Traversal, index: int, pieces: Iterator[Piece], end: float) -> None:
        self._line, self._found, self._index, self._pieces = line, found, index, pieces
        self.end, self.covered = end, 0.0
        self._before: Piece | None = None
        # What holds up to a boundary is proven only up to where round-off leaves no doubt about the next region.
        self._safe = 0.0

    def step_open(self) -> bool:
        """Whether a property is still being followed here."""
        return any(reach.end is None for _, reach in self._reaches())

    def step(self) -> None:
        """Takes one piece more."""
        piece = next(self._pieces)
        near = self.covered
        far = min(piece.high, self.end) if self.end > 0 else max(piece.low, self.end)
        if self._before is not None and not _meet(self._before, piece, near):
            self.close("undecided")
            return
        # Each boundary is looked at from both sides; 0 and the end of the range need not be boundaries.
        at_near = piece.close[1 - self._index] if self._before is not None else ()
        at_far = piece.close[self._index]
        hidden = [self._hidden_maps(theta, patterns) for theta, patterns in ((near, at_near), (far, at_far))]
        safe = self._least(far, self._before_end(piece), most=near)
        for one, reach in self._reaches():
            if reach.end is None:
                self._follow(one, reach, piece, near=near, far=far, safe=safe, hidden=hidden)
        values = tuple(one.value(*_middle(piece, near, far)) for one in self._found.properties)
        self._found.regions.append(Region(min(near, far), max(near, far), values))
        self.covered, self._before, self._safe = far, piece, safe
        if far == self.end:
            self.close("range" if safe == far else "undecided")

    def close(self, end: End) -> None:
        """Ends all properties that are still followed."""
        for _, reach in self._reaches():
            if reach.end is None:
                reach.theta, reach.end = self._safe, end

    def _before_end(self, piece: Piece) -> float:
        """The theta up to which the piece is surely itself."""
        return piece.high - piece.doubt[1] if self.end > 0 else piece.low + piece.doubt[0]

    def _least(self, one: float, other: float, *, most: float) -> float:
        """What is nearer to 0 of two thetas, but not nearer than a third one."""
        return max(most, min(one, other)) if self.end > 0 else min(most, max(one, other))

    def _reaches(self) -> Iterator[tuple[Property, Reach]]:
        for one in self._found.properties:
            yield one, self._found.reaches[one.name][self._index]

    def _hidden_maps(self, theta: float, patterns: Sequence[Forced] | None) -> list[tuple[float, torch.Tensor]] | None:
        if patterns is None:
            return None
        self._found.hidden += len(patterns)
        return [(theta, self._line.forced_maps(theta, forced)) for forced in patterns]

    def _follow(
        self,
        one: Property,
        reach: Reach,
        piece: Piece,
        *,
        near: float,
        far: float,
        safe: float,
        hidden: list[list[tuple[float, torch.Tensor]] | None],
    ) -> None:
        until = one.holds_until(piece, near, far)
        if until != far:
            reach.theta = self._safe if until == near else self._least(until, safe, most=near)
            witness = (until + far) / 2
            logits, maps = self._line.gradient(witness)
            reach.end = "undecided"
            if one.violates(logits.cpu(), maps, witness):
                reach.end, reach.witness, reach.witness_value = "violation", witness, one.value(logits, maps, witness)
            return
        for at in hidden:
            if at is None or not all(one.holds(piece.logits_at(theta), maps, theta) for theta, maps in at):
                reach.theta, reach.end = self._safe, "undecided"
                return


def _meet(before: Piece, piece: Piece, theta: float) -> bool:
    """Whether two pieces have the same logits where they meet: the network is continuous."""
    left, right = before.logits_at(theta), piece.logits_at(theta)
    return bool(torch.allclose(left, right, rtol=MARGIN, atol=MARGIN * float(piece.logits.abs().max())))


def _middle(piece: Piece, near: float, far: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    middle = (near + far) / 2
    return piece.logits_at(middle), piece.maps, middle
