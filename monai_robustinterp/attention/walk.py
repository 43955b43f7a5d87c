"""From one region of a line to the next, outwards, with none left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from monai_robustinterp.attention.line import Line, Piece
from monai_robustinterp.attention.tape import TooManyRegions
from monai_robustinterp.errors import InputRefused

_REGIONS = 32
"""Regions that a section is meant to have: each section costs a pass, whatever it holds."""
_LEAST = 8
"""Regions from which the width of all is guessed."""
_SAMPLE = 2.0**-10
"""Share of a range that is looked at first."""


@dataclass(frozen=True)
class Section:
    """A part of the line on one side of 0, which is walked by itself.

    Attributes:
        near: its end towards 0.
        far: its other end.
    """

    near: float
    far: float

    @property
    def up(self) -> bool:
        """Whether theta grows from near to far."""
        return self.far > self.near


def walk(line: Line, section: Section) -> Iterator[Piece]:
    """Yields all pieces of a section, from near to far; where they are too many for a pass its halves follow.

    The pieces tile the section: each begins at the very theta at which the one before it ends.

    Raises:
        InputRefused: if float64 cannot tell the regions apart.
    """
    try:
        pieces = line.pieces(*sorted((section.near, section.far)))
    except TooManyRegions:
        middle = (section.near + section.far) / 2
        if middle in (section.near, section.far):
            raise InputRefused(
                "the network is so steep along this perturbation that float64 cannot tell its regions apart: choose "
                "a smaller range or another perturbation."
            ) from None
        yield from walk(line, Section(section.near, middle))
        yield from walk(line, Section(middle, section.far))
        return
    yield from pieces if section.up else reversed(pieces)


def sections(line: Line, low: float, high: float) -> list[Section]:
    """Sections that cover a range around 0 once, those near 0 first; they depend on line and range alone.

    Args:
        line: network and direction.
        low: lower end of the range, at most 0.
        high: upper end, at least 0.
    """
    width = _width(line, high if high >= -low else low)
    found = []
    for end in (low, high):
        number = math.ceil(abs(end) / width)
        edges = [end * i / number for i in range(number)] + [end] if number else []
        found += [Section(near, far) for near, far in itertools.pairwise(edges)]
    # The share of its side that a section ends at: both sides go on evenly.
    return sorted(found, key=lambda one: one.far / (high if one.up else low))


def _width(line: Line, end: float) -> float:
    """The length of theta that has about the wanted number of regions, as there are near 0."""
    sample = abs(end) * _SAMPLE
    while True:
        try:
            number = len(line.pieces(*sorted((0.0, math.copysign(sample, end)))))
        except TooManyRegions:
            sample /= 2
            continue
        if number >= _LEAST or sample >= abs(end):
            return sample * _REGIONS / number
        sample = min(2 * sample, abs(end))
