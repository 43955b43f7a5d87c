"""Expectations of a record: a tree of what the counts give, walked beside the record."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from monai_robustinterp.audit.real import MP, Real

ABOVE = MP.mpf(10) ** -12
"""Share by which a recorded guarantee may exceed the number that the counts give: float round-off."""
BELOW = MP.mpf(10) ** -6
"""Share by which it may fall short of it: guarantees are rounded down."""
NEAR = MP.mpf(10) ** -9
"""Relative difference of all other numbers."""


class Leaf(Protocol):
    """What one value of the record must be."""

    def problem(self, found: Any) -> str:
        """What the file says and what the counts give; empty if they agree."""


@dataclass(frozen=True)
class Same:
    """Exactly this value, of this type."""

    value: Any

    def problem(self, found: Any) -> str:
        """See :class:`Leaf`."""
        agree = type(found) is type(self.value) and found == self.value
        return "" if agree else _difference(found, self.value)


@dataclass(frozen=True)
class Number:
    """A number in an interval around ``value``; infinity is the string "Infinity".

    Attributes:
        value: what the counts give.
        above: how far the file's number may exceed it.
        below: how far it may fall short of it.
    """

    value: Real
    above: Real
    below: Real

    def problem(self, found: Any) -> str:
        """See :class:`Leaf`."""
        number = as_number(found)
        if number is None or MP.isinf(self.value) or MP.isinf(number):
            agree = number == self.value
        else:
            agree = self.value - self.below <= number <= self.value + self.above
        return "" if agree else _difference(found, self.value)


@dataclass(frozen=True)
class Judged:
    """A value that was compared elsewhere, with the outcome.

    Attributes:
        outcome: empty if it was right.
        number: the number that was compared, which must be the one that stands there; None for what is no number.
    """

    outcome: str
    number: Real | None = None

    def problem(self, found: Any) -> str:
        """See :class:`Leaf`."""
        read = self.number is None or as_number(found) == self.number
        return self.outcome if read else "the file has no number here that could be compared"


@dataclass(frozen=True)
class HashOnly:
    """A value of this type that nothing in the two files determines; ``outcome`` is of what it must fit.

    Attributes:
        kind: its type.
        outcome: empty if it fits.
        form: regular expression that a text must match.
    """

    kind: type
    outcome: str = ""
    form: str = ""

    def problem(self, found: Any) -> str:
        """See :class:`Leaf`."""
        agree = as_number(found) is not None if self.kind is float else type(found) is self.kind
        if agree and self.form and not re.fullmatch(self.form, found):
            return "the file has a text of another form"
        return self.outcome if agree else "the file has a value of another type"


def near(value: Real, *, absolute: Real = 0) -> Number:
    """A number that is no guarantee: within 1e-9 of itself, or ``absolute``."""
    margin = max(abs(value) * NEAR, MP.mpf(absolute)) if MP.isfinite(value) else MP.mpf(0)
    return Number(value, margin, margin)


def guarantee(value: Real, *, least: Real | None = None) -> Number:
    """A guarantee: it may not exceed ``value``, nor fall short of it (or of ``least``) by more than 1e-6 of itself."""
    lowest = (value if least is None else min(value, least)) * (1 - BELOW)
    return Number(value, value * ABOVE, value - lowest)


def follows(value: Real) -> Number:
    """A guarantee in another unit, from the recorded one: rounded down, but for round-off."""
    return Number(value, value * ABOVE, value * NEAR)


def bound_above(value: Real) -> Number:
    """An upper bound: it may not fall short of ``value``, nor exceed it by more than 1e-6 of itself."""
    return Number(value, value * BELOW, value * ABOVE)


def four_digits(share: Real, found: float, *, upwards: bool = False) -> Leaf:
    """A share that is rounded down, or up, to 4 digits."""
    if found != round(found, 4):
        return Judged("the file has more than 4 digits")
    step, round_off = MP.mpf(10) ** -4, share * ABOVE
    return Number(share, step, round_off) if upwards else Number(share, round_off, step)


def as_number(found: Any) -> Real | None:
    """A JSON number, or the string "Infinity", as a real number; None for anything else."""
    if isinstance(found, str) and found == "Infinity":
        return MP.inf
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return None if isinstance(found, float) and not math.isfinite(found) else MP.mpf(found)


def _said(value: Any) -> str:
    """A value as a sentence may say it: numbers and hashes as they are, and of a text only that it is one."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return f"{value[:12]}..." if re.fullmatch("[0-9a-f]{64}", value) else "another text"
    return str(MP.nstr(MP.mpf(value), 17)) if isinstance(value, int | float | MP.mpf) else "another form"


def _difference(found: Any, value: Any) -> str:
    return f"the file says {_said(found)}, the counts give {_said(value)}"


@dataclass(frozen=True)
class Finding:
    """One place of the walk.

    Attributes:
        path: where it is, such as ``claim.l_max.l2``.
        leaf: what was expected; None for the form of the tree.
        found: the file's value.
        problem: empty if the two agree.
    """

    path: str
    leaf: Leaf | None
    found: Any
    problem: str


def walk(expected: Any, found: Any, path: str = "") -> Iterator[Finding]:
    """Walks a tree of expectations beside a record.

    Args:
        expected: leaves in dictionaries and lists.
        found: the record.
        path: where they are.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            yield Finding(path, None, found, "the file has another form")
            return
        for name in expected:
            place = f"{path}.{name}" if path else name
            if name not in found:
                yield Finding(place, None, None, "the file lacks it")
            else:
                yield from walk(expected[name], found[name], place)
        unknown = len(set(found) - set(expected))
        if unknown:
            yield Finding(
                path or "record", None, found, f"the file has {unknown} entries that this audit does not know"
            )
    elif isinstance(expected, Sequence):
        if not isinstance(found, list) or len(found) != len(expected):
            yield Finding(path, None, found, f"the file has another form than a list of {len(expected)}")
            return
        for position, (leaf, value) in enumerate(zip(expected, found)):
            yield from walk(leaf, value, f"{path}[{position}]")
    else:
        yield Finding(path, expected, found, expected.problem(found))
