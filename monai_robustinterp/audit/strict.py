"""Strict JSON, and the error of a file that cannot be audited."""

from __future__ import annotations

import json
import math
from typing import Any


class AuditError(ValueError):
    """A file that cannot be audited: it is none of this format, or damaged."""


def strict_json(text: str) -> Any:
    """A JSON value whose keys are unique and whose numbers are finite.

    Raises:
        ValueError: if the text is none.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key occurs twice")
    return entries


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number
