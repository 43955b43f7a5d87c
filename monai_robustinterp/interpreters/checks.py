"""Checks of interpreters' arguments: each says what was found and the rule."""

from __future__ import annotations

import math
from collections.abc import Sequence


def check_whole(least: int, /, **values: int) -> None:
    """Refuses what is no whole number, or below ``least``.

    Raises:
        ValueError: with the name of the first one, and its value.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}; it must be an integer >= {least}.")


def check_seed(seed: int) -> None:
    """Refuses what torch takes for no seed.

    Raises:
        ValueError: with what was found.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed is {seed!r}; it must be an integer of 64 bits.")


def check_not_negative(**values: float) -> None:
    """Refuses negative, infinite and undefined values, and what is no number.

    Raises:
        ValueError: with the name of the first one, and its value.
    """
    for name, value in values.items():
        if not _is_number(value) or not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r}; it must be a number >= 0, and finite.")


def check_share(**values: float) -> None:
    """Refuses what is no number above 0 and below 1.

    Raises:
        ValueError: with the name of the first one, and its value.
    """
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a share above 0 and below 1.")


def check_finite(**values: float) -> None:
    """Refuses infinite and undefined values, and what is no number.

    Raises:
        ValueError: with the name of the first one, and its value.
    """
    for name, value in values.items():
        if not _is_number(value) or not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}; it must be a number, and finite.")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuses a value that is none of the choices.

    Raises:
        ValueError: with the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {list(choices)}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
