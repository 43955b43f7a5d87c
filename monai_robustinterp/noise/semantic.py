"""Noise in the strength of one semantic change of an image: one real number a copy, whatever the size of the image.

Each change phi(x, u) is a group: phi(phi(x, d), a) = phi(x, a + d). So a copy of the changed image is a function of
a + d, and all that is claimed of Gaussian noise holds in one dimension (docs/theory/attention.md, T23).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.certificates.units import readable, round_down, round_up_to
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.types import float32_sigma

Array = npt.NDArray[np.float64]

SEMANTIC_PROTOCOL = "semantic/philox4x32-10/box-muller/1"

_INWARD = 1 - 1e-12  # more than exp and expm1 lose


@dataclass(frozen=True, kw_only=True)
class SemanticNoise(ABC):
    """u ~ N(0, sigma^2) for the strength of one change; u = 0 leaves the image as it is.

    Attributes:
        sigma: standard deviation of the strength, a float32 number.
        name: its key in ``SEMANTIC_NOISES``.
        unit: of the strength, in words.
        largest: sigma that still has a meaning.
        on_source: whether it changes the display values of the source, not cut off at black and white, before all
            preprocessing; else the network's input.

    Raises:
        InputRefused: if sigma is out of range.
    """

    sigma: float

    name: ClassVar[str]
    unit: ClassVar[str]
    largest: ClassVar[float] = 1.0
    on_source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.001 <= self.sigma / self.largest <= 1:
            raise InputRefused(
                f"sigma of {self.name!r} is {self.sigma:g}; it must lie in [{0.001 * self.largest:g}, "
                f"{self.largest:g}] ({self.unit})."
            )
        object.__setattr__(self, "sigma", float32_sigma(self.sigma))

    def strengths(self, stream: CounterNoise, samples: torch.Tensor) -> Array:
        """Strengths of the copies with these indices, int64 [B]: float64 [B]."""
        normals = stream.normal(samples, (1,), purpose=f"semantic/{self.name}")[:, 0]
        return self.sigma * normals.cpu().numpy().astype(np.float64)

    @abstractmethod
    def changed(self, values: Array, strength: float) -> Array:
        """phi(values, strength) of values [..., H, W]; those of a few rows where ``on_source``."""

    def moved_back(self, maps: torch.Tensor, strengths: Array) -> torch.Tensor:
        """Maps [B, 1, H, W] of copies of these strengths, where the anatomy lies in the image itself."""
        return maps

    @abstractmethod
    def range(self, radius: float) -> tuple[float, float]:
        """Lower and upper end, in a reader's unit, of the changes of strength below ``radius``; rounded inwards."""

    def proven(self, radius: float) -> float:
        """The largest strength up to which changes are covered: the radius, or whole steps below it."""
        return radius

    @abstractmethod
    def words(self, radius: float) -> str:
        """The changes of strength below ``radius`` in words; "" if there is none but 0."""


@dataclass(frozen=True, kw_only=True)
class BrightnessNoise(SemanticNoise):
    """phi(x, u) = x + u: a shift of the window's center by -u widths."""

    sigma: float = 0.1

    name: ClassVar[str] = "brightness"
    unit: ClassVar[str] = "added to the display values, whose range is [0, 1]"

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        return values + strength

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: what is added."""
        return -radius, radius

    def words(self, radius: float) -> str:
        """See :meth:`SemanticNoise.words`."""
        return f"any brightness change within +-{readable(radius)} of the display range" if radius > 0 else ""


@dataclass(frozen=True, kw_only=True)
class ContrastNoise(SemanticNoise):
    """phi(x, u) = pivot + e^u (x - pivot): distances to the pivot grow by the share e^u - 1.

    Attributes:
        pivot: display value that stays; at 0.5 this is a window of e^-u times the width.
    """

    sigma: float = 0.3
    pivot: float = 0.5

    name: ClassVar[str] = "contrast"
    unit: ClassVar[str] = "logarithm of the factor by which distances to the pivot grow"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.pivot):
            raise InputRefused(f"the pivot is {self.pivot}; it must be a display value, such as 0.5.")

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        return self.pivot + math.exp(strength) * (values - self.pivot)

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: the share by which distances grow."""
        return math.expm1(-radius) * _INWARD, math.expm1(radius) * _INWARD

    def words(self, radius: float) -> str:
        """See :meth:`SemanticNoise.words`."""
        low, high = self.range(radius)
        return (
            f"any contrast change from -{round_down(-100 * low, 2)} % to +{round_down(100 * high, 2)} %"
            if radius > 0
            else ""
        )


@dataclass(frozen=True, kw_only=True)
class GammaNoise(SemanticNoise):
    """phi(x, u) = x^(e^u) where x > 0, and x elsewhere: what is shown black stays so, and so does white."""

    sigma: float = 0.3

    name: ClassVar[str] = "gamma"
    unit: ClassVar[str] = "logarithm of the exponent of the display values"

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        with np.errstate(over="ignore"):
            power: Array = np.where(values > 0, np.maximum(values, 0) ** math.exp(strength), values)
        return power

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: the exponent."""
        return min(1.0, math.exp(-radius) / _INWARD), max(1.0, math.exp(radius) * _INWARD)

    def words(self, radius: float) -> str:
        """See :meth:`SemanticNoise.words`."""
        low, high = self.range(radius)
        return f"any gamma from {round_up_to(low, 4)} to {round_down(high, 4)}" if radius > 0 else ""


@dataclass(frozen=True, kw_only=True)
class ShiftNoise(SemanticNoise):
    """phi(x, u) moves x by floor(u + 1/2) pixels to the right, and what leaves it enters on the left.

    A group for whole numbers d: floor(a + d + 1/2) = floor(a + 1/2) + d. The map of a copy is moved back by that
    copy's own pixels before cells are made of it.
    """

    sigma: float = 4.0

    name: ClassVar[str] = "shift"
    unit: ClassVar[str] = "pixels of the network's input, to the right"
    largest: ClassVar[float] = 64.0
    on_source: ClassVar[bool] = False

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        return np.roll(values, _pixels(strength), axis=-1)

    def moved_back(self, maps: torch.Tensor, strengths: Array) -> torch.Tensor:
        """See :meth:`SemanticNoise.moved_back`."""
        return torch.stack([one.roll(-_pixels(strength), dims=-1) for one, strength in zip(maps, strengths)])

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
        return f"any shift to the left or right by at most {most:.0f} px of the network's input" if most > 0 else ""


SEMANTIC_NOISES: dict[str, type[SemanticNoise]] = {
    one.name: one for one in (BrightnessNoise, ContrastNoise, GammaNoise, ShiftNoise)
}


def make_semantic_noise(name: str, **settings: Any) -> SemanticNoise:
    """The semantic noise of that name.

    Args:
        name: a key of ``SEMANTIC_NOISES``.
        settings: its attributes.

    Raises:
        InputRefused: if there is none, it has no such setting, or a setting is out of range.
    """
    if name not in SEMANTIC_NOISES:
        raise InputRefused(
            f"there is no certified range of {name!r}: choose of {', '.join(SEMANTIC_NOISES)}, or pass --exact."
        )
    known = sorted(setting.name for setting in fields(SEMANTIC_NOISES[name]))
    if not set(settings) <= set(known):
        raise InputRefused(f"{name!r} has the settings {known}, and was given {sorted(settings)}.")
    return SEMANTIC_NOISES[name](**settings)


def _pixels(strength: float) -> int:
    return math.floor(strength + 0.5)
