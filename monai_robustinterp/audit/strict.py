"""Strict JSON, and the error of a file that cannot be audited."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

_LONGEST = 2**22  # characters of a JSON text; a record of many regions has 2**18
_DEEPEST = 32  # brackets that are open at once; a record has 5
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]+|\\.)*"?|[][{}]', re.DOTALL)


class AuditError(ValueError):
    """A file that cannot be audited: it is none of this format, or damaged."""


def bounded_bytes(path: str | Path, what: str, most: int) -> bytes:
    """Content of a regular file that is not larger than it may be.

    Args:
        path: the file.
        what: it is, as the error says it.
        most: bytes that it may have.

    Raises:
        AuditError: if it cannot be opened, is no regular file, or is larger.
    """
    try:
        # A pipe has no end, and opening one may wait forever.
        if not Path(path).is_file():
            raise AuditError(f"{what} cannot be opened (there is no regular file of that name).")
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise AuditError(f"{what} cannot be opened ({error.strerror}).") from error
    if len(content) > most:
        raise AuditError(f"{what} has more than {most} bytes, and none of this format has.")
    return content


def strict_json(text: str) -> Any:
    """A JSON value whose keys are unique and whose numbers are finite, of bounded length and depth.

    Raises:
        ValueError: if the text is none.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"the text has {len(text)} characters; at most {_LONGEST} are read")
    if _depth(text) > _DEEPEST:
        raise ValueError(f"the text is nested deeper than {_DEEPEST}")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)


def _depth(text: str) -> int:
    """Most brackets that are open at once, outside of texts."""
    depth = deepest = 0
    for match in _TEXT_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        deepest = max(deepest, depth)
    return deepest


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
