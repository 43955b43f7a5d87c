"""Noise in the gray levels of a film: brightness, exposure slope, contrast, gamma (docs/theory/attention.md, T23)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from monai_robustinterp.certificates.units import readable, round_down, round_up_to
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.noise.semantic import INWARD, Array, SemanticNoise


@dataclass(frozen=True, kw_only=True)
class BrightnessNoise(SemanticNoise):
    """phi(x, u) = x + u: a shift of the window's center by -u widths."""

    sigma: float = 0.1

    name: ClassVar[str] = "brightness"
    unit: ClassVar[str] = "added to the display values, whose range is [0, 1]"
    axis: ClassVar[str] = "added brightness, in shares of the display range"

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
    axis: ClassVar[str] = "contrast: share by which distances to the pivot grow"
    commutes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.pivot):
            raise InputRefused(f"the pivot is {self.pivot}; it must be a display value, such as 0.5.")

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        return self.pivot + math.exp(strength) * (values - self.pivot)

    def shown(self, strength: float) -> float:
        """See :meth:`SemanticNoise.shown`."""
        return math.expm1(strength)

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: the share by which distances grow."""
        return math.expm1(-radius) * INWARD, math.expm1(radius) * INWARD

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
    axis: ClassVar[str] = "gamma: exponent of the display values"
    commutes: ClassVar[bool] = False

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        with np.errstate(over="ignore"):
            power: Array = np.where(values > 0, np.maximum(values, 0) ** math.exp(strength), values)
        return power

    def shown(self, strength: float) -> float:
        """See :meth:`SemanticNoise.shown`."""
        return math.exp(strength)

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: the exponent."""
        return min(1.0, math.exp(-radius) / INWARD), max(1.0, math.exp(radius) * INWARD)

    def words(self, radius: float) -> str:
        """See :meth:`SemanticNoise.words`."""
        low, high = self.range(radius)
        return f"any gamma from {round_up_to(low, 4)} to {round_down(high, 4)}" if radius > 0 else ""


@dataclass(frozen=True, kw_only=True)
class SlopeNoise(SemanticNoise):
    """phi(x, u) = x + u r, r a ramp from -1/2 in the first column of the source to 1/2 in its last: uneven exposure."""

    sigma: float = 0.1

    name: ClassVar[str] = "slope"
    unit: ClassVar[str] = "added from -1/2 of it at the left edge of the source to 1/2 of it at the right one"
    axis: ClassVar[str] = "slope: display value by which the right edge gains on the left one"

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        return values + strength * np.linspace(-0.5, 0.5, values.shape[-1])

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: what the right edge gains on the left one."""
        return -radius, radius

    def words(self, radius: float) -> str:
        """See :meth:`SemanticNoise.words`."""
        return (
            f"any slope of the exposure within +-{readable(radius)} of the display range from edge to edge"
            if radius > 0
            else ""
        )
