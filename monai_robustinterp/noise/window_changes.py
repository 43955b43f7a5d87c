"""Noise in the window of a film, by the words and in the unit of its header (docs/theory/attention.md, T23)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, ClassVar, Self

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.noise.semantic import INWARD, Array, SemanticNoise

_LINEAR_WINDOW = re.compile(r"(window \d+ of \d+) \((LINEAR|LINEAR_EXACT)\)")


@dataclass(frozen=True)
class Window:
    """The linear window through which a film was read (DICOM PS3.3 C.11.2.1.2).

    Attributes:
        center: WindowCenter.
        width: WindowWidth.
        function: LINEAR, from center - 1/2 - (width - 1)/2 to center - 1/2 + (width - 1)/2; or LINEAR_EXACT, from
            center - width/2 to center + width/2.
        source: which of the header's windows it is, such as "window 1 of 2".
        inverted: whether its low end is shown white.
    """

    center: float
    width: float
    function: str
    source: str
    inverted: bool

    @property
    def one(self) -> int:
        """What LINEAR takes off the width."""
        return 1 if self.function == "LINEAR" else 0

    @property
    def span(self) -> float:
        """From black to white, in the header's unit."""
        return self.width - self.one

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Window | None:
        """That of a film with these entries of ``ChestXRayReader``; None if it is not shown by a linear window."""
        found = _LINEAR_WINDOW.fullmatch(str(meta.get("display_source", "")))
        if not found:
            return None
        low, high = float(meta["display_min"]), float(meta["display_max"])
        one = 1 if found[2] == "LINEAR" else 0
        return cls(
            center=(low + high) / 2 + one / 2,
            width=high - low + one,
            function=found[2],
            source=found[1],
            inverted="; inverted (" in str(meta["intensity_path"]),
        )


@dataclass(frozen=True, kw_only=True)
class _WindowNoise(SemanticNoise):
    """Noise in a number of the film's window.

    Attributes:
        window: of the film; None until :meth:`of_film` has looked it up.
    """

    window: Window | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """See :attr:`SemanticNoise.settings`."""
        window = self.shown_through
        return {
            "name": self.name,
            "unit": self.unit,
            "sigma": self.sigma,
            "center": window.center,
            "width": window.width,
            "function": window.function,
            "window": window.source,
            "inverted": window.inverted,
        }

    @property
    def shown_through(self) -> Window:
        """The film's window."""
        assert self.window is not None, "of_film gives the window"
        return self.window

    def of_film(self, meta: Mapping[str, Any]) -> Self:
        """See :meth:`SemanticNoise.of_film`.

        Raises:
            InputRefused: if it is not shown by a linear window, or has pixels that stay black whatever the window.
        """
        window, instead = Window.of(meta), "brightness" if self.name == "window_center" else "contrast"
        if window is None:
            raise InputRefused(
                f"{self.name} needs a film that is shown by a linear window of its header, and the display range of "
                f"this one is: {meta.get('display_source') or 'not stated'}. Take {instead}, which is the same change "
                "of the display values."
            )
        if "set to black" in str(meta["intensity_path"]):
            raise InputRefused(
                f"{self.name} moves all pixels, and padding or a shutter keeps pixels of this film black whatever the "
                f"window. Take {instead}, which is about the display values, theirs too."
            )
        return replace(self, window=window)

    def words(self, radius: float) -> str:
        """See :meth:`SemanticNoise.words`."""
        if not radius > 0:
            return ""
        window, (low, high) = self.shown_through, self.range(radius)
        stated = {"window_center": window.center, "window_width": window.width}[self.name]
        step = Decimal(1).scaleb(math.floor(math.log10((high - low) / 2)) - 2).min(Decimal(1))
        lowest, highest = (
            Decimal(repr(end)).quantize(step, rounding=way) for end, way in ((low, ROUND_CEILING), (high, ROUND_FLOOR))
        )
        return (
            f"any {self.name.replace('_', ' ')} from {lowest} to {highest} ({stated:g} in {window.source} of the "
            f"header, {window.function})"
        )


@dataclass(frozen=True, kw_only=True)
class WindowCenterNoise(_WindowNoise):
    """The window's center moves by u of its widths: phi(x, u) = x - u, or x + u where its low end is shown white."""

    sigma: float = 0.1

    name: ClassVar[str] = "window_center"
    unit: ClassVar[str] = "move of the window's center, in widths of the window from black to white"
    axis: ClassVar[str] = "window center, in the header's unit"

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        return values + (strength if self.shown_through.inverted else -strength)

    def shown(self, strength: float) -> float:
        """See :meth:`SemanticNoise.shown`."""
        return self.shown_through.center + strength * self.shown_through.span

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: centers."""
        center, half = self.shown_through.center, radius * self.shown_through.span * INWARD
        return min(center, _above(center - half)), max(center, _below(center + half))


@dataclass(frozen=True, kw_only=True)
class WindowWidthNoise(_WindowNoise):
    """The window becomes e^u times as wide about its center: phi(x, u) = 1/2 + e^-u (x - 1/2)."""

    sigma: float = 0.3

    name: ClassVar[str] = "window_width"
    unit: ClassVar[str] = "logarithm of the factor by which the window grows from black to white"
    axis: ClassVar[str] = "window width, in the header's unit"
    commutes: ClassVar[bool] = False

    def changed(self, values: Array, strength: float) -> Array:
        """See :meth:`SemanticNoise.changed`."""
        return 0.5 + math.exp(-strength) * (values - 0.5)

    def shown(self, strength: float) -> float:
        """See :meth:`SemanticNoise.shown`."""
        return self.shown_through.one + self.shown_through.span * math.exp(strength)

    def range(self, radius: float) -> tuple[float, float]:
        """See :meth:`SemanticNoise.range`: widths."""
        window = self.shown_through
        low, high = window.span * math.exp(-radius) / INWARD, window.span * math.exp(radius) * INWARD
        return min(window.width, _above(window.one + low)), max(window.width, _below(window.one + high))


def _above(value: float) -> float:
    return math.nextafter(value, math.inf)


def _below(value: float) -> float:
    return math.nextafter(value, -math.inf)
