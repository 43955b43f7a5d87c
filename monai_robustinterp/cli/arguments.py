"""Argument types that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

Number = TypeVar("Number", int, float)


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """A parser of finite numbers above 0; argparse turns its ValueError into wrong usage."""

    def parse(text: str) -> Number:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def confidence(text: str) -> float:
    """The eta of a confidence such as 0.999; argparse turns its ValueError into wrong usage."""
    try:
        # Exact first: 1 - 0.999 in floats is not 0.001.
        eta = float(1 - Fraction(text))
    except ArithmeticError as error:
        raise ValueError from error
    if not (0 < eta < 1 and 1 - eta < 1):
        raise ValueError
    return eta
