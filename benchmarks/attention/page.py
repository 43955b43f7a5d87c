"""The page of the study, from its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def sections(results: Mapping[str, Any]) -> list[list[str]]:
    """The parts of the page."""
    return [["# x"]]
