"""Numbers as text, rounded down where they are claims; Markdown tables, paragraphs and lists; strict JSON."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np

from monai_robustinterp.certificates.units import round_down
from monai_robustinterp.metrics.intervals import Interval

_WIDTH = 118


@dataclass(frozen=True)
class Goal:
    """A goal that was set beforehand.

    Attributes:
        name: what was wanted.
        met: whether it was reached.
        found: the numbers.
    """

    name: str
    met: bool
    found: str

    @property
    def line(self) -> str:
        """One line of a list."""
        return f"- {self.name}: **{'met' if self.met else 'not met'}**. {self.found}"


def radius_text(radius: float) -> str:
    """Four decimals, rounded down; 0 is no claim; an infinite plug-in estimate is "unbounded"."""
    return round_down(radius, 4) if radius else "0"


def spread(radii: Sequence[float]) -> str:
    """Median [minimum, maximum] over the images, and how many of them abstain."""
    low, high = (radius_text(radius) for radius in (min(radii), max(radii)))
    text = f"{radius_text(statistics.median(radii))} [{low}, {high}]"
    abstained = sum(radius == 0 for radius in radii)
    return f"{text}, {abstained} abstain" if abstained else text


def cells_spread(cells: Sequence[int]) -> str:
    """Median [minimum, maximum] of numbers of cells."""
    return f"{statistics.median(cells):g} [{min(cells)}, {max(cells)}]"


def count_range(values: Sequence[int]) -> str:
    """The value, or the smallest and the largest one."""
    least, most = min(values), max(values)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def interval_text(interval: Interval, *, digits: int = 2, signed: bool = False) -> str:
    """Value [lower end, upper end]."""
    form = f"{'+' if signed else ''}.{digits}f"
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def rounded_down(value: float, digits: int = 2) -> str:
    """Decimal text, never above the value."""
    return str(Decimal(str(value)).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))


def rounded_up(value: float, digits: int = 2) -> str:
    """Decimal text, never below the value."""
    return str(Decimal(str(value)).quantize(Decimal(1).scaleb(-digits), ROUND_CEILING))


def prose(*sentences: str) -> list[str]:
    """Lines of a paragraph."""
    return textwrap.wrap(" ".join(sentences), width=_WIDTH, break_long_words=False, break_on_hyphens=False)


def bullet(*sentences: str) -> list[str]:
    """Lines of one point of a list."""
    text = f"- {' '.join(sentences)}"
    return textwrap.wrap(text, width=_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def strict(value: Any) -> Any:
    """The same for JSON: numbers of numpy as Python's, infinity as the string "Infinity"."""
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    return "Infinity" if isinstance(value, float) and math.isinf(value) else value
