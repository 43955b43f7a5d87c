"""Noise in the place of a film, along each axis (docs/theory/attention.md, T23)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.noise.semantic import Array, SemanticNoise


@dataclass(frozen=True, kw_only=True)
class ShiftNoise(SemanticNoise):
    """phi(x, u) moves x by floor(u + 1/2) pixels to the right, and what leaves it enters on the left.

    A group for whole numbers d: floor(a + d + 1/2) = floor(a + 1/2) + d. The map of a copy is moved back by that
    copy's own pixels before cells are made of it.

    Attributes:
        surround: gray level of the plane in which the film lies: then what leaves the frame is not lost, and the
            plane enters on the other side. None moves in a circle.
    """

    sigma: float = 4.0
    surround: float | None = None

    name: ClassVar[str] = "shift"
    unit: ClassVar[str] = "pixels of the network's input, to the right"
    axis: ClassVar[str] = "shift to the right, in pixels of the network's input"
    largest: ClassVar[float] = 64.0
    on_source: ClassVar[bool] = False
    dimension: ClassVar[int] = -1
    sides: ClassVar[str] = "to the left or right"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.surround is not None and not 0 <= self.surround <= 1:
            raise InputRefused(
                f"the surround is {self.surround:g}; it must be a display value from 0, black, to 1, white."
            )

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        pixels = _pixels(strength)
        moved: Array = np.roll(values, pixels, axis=self.dimension)
        if self.surround is not None and pixels:
            entering = slice(None, pixels) if pixels > 0 else slice(pixels, None)
            np.moveaxis(moved, self.dimension, 0)[entering] = self.surround
        return moved

    def moved_back(self, maps: torch.Tensor, strengths: Array) -> torch.Tensor:
        """See :meth:`SemanticNoise.moved_back`."""
        return torch.stack([one.roll(-_pixels(back), dims=self.dimension) for one, back in zip(maps, strengths)])

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: pixels."""
        most = self.proven(radius)
        return -most, most

    def proven(self, radius: float) -> float:
        """See :meth:`SemanticNoise.proven`: whole pixels, fewer than the radius."""
        return float(max(0, math.ceil(radius) - 1))

    def words(self, radius: float) -> str:
        """See :meth:`SemanticNoise.words`."""
        most = self.proven(radius)
        where = "" if self.surround is None else f" in a surround of gray level {self.surround:g}"
        return f"any shift {self.sides} by at most {most:.0f} px of the network's input{where}" if most > 0 else ""


@dataclass(frozen=True, kw_only=True)
class ShiftDownNoise(ShiftNoise):
    """The same downwards, and what leaves below enters above."""

    name: ClassVar[str] = "shift_down"
    unit: ClassVar[str] = "pixels of the network's input, downwards"
    axis: ClassVar[str] = "shift downwards, in pixels of the network's input"
    dimension: ClassVar[int] = -2
    sides: ClassVar[str] = "up or down"


def _pixels(strength: float) -> int:
    return math.floor(strength + 0.5)
