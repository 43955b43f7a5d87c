"""Seconds of the parts of a study."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from monai_robustinterp.smoothing.batching import wait_for

T = TypeVar("T")


class Clock:
    """Times parts by name; a part that runs again adds to its list.

    Args:
        device: the part is over when this device has done its work.

    Attributes:
        seconds: of each run of each part, in order.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, part: str, call: Callable[[], T]) -> T:
        """Runs a part and returns what it returns."""
        start = time.perf_counter()
        result = call()
        wait_for(self.device)
        self.seconds.setdefault(part, []).append(time.perf_counter() - start)
        return result

    @property
    def totals(self) -> dict[str, float]:
        """Seconds of each part in all."""
        return {part: sum(seconds) for part, seconds in self.seconds.items()}
