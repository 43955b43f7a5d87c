"""A radius in units that a person can read (section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

GREY_LEVELS = 255


@dataclass(frozen=True)
class RadiusUnits:
    """One l2 radius, said in several ways.

    Attributes:
        l2: radius over the n values of the network's single-channel input, whose display range is [0, 1].
        rms: the same as root mean square per pixel, l2 / sqrt(n).
        rms_grey_levels: rms on the 0-255 scale of the network's input.
        l_inf: a perturbation of at most this much in every pixel has l2 norm <= l2: l2 / sqrt(n).
    """

    l2: float
    rms: float
    rms_grey_levels: float
    l_inf: float


def radius_units(l2: float, n_pixels: int) -> RadiusUnits:
    """Converts an l2 radius at the network's input grid.

    Args:
        l2: radius in units of the network's input.
        n_pixels: n = H * W of the network's input.
    """
    rms = l2 / math.sqrt(n_pixels)
    return RadiusUnits(l2=l2, rms=rms, rms_grey_levels=rms * GREY_LEVELS, l_inf=rms)


def readable(value: float) -> str:
    """A radius for print, rounded down to 4 decimals, or to 3 significant digits if it is below 0.01."""
    digits = 4 if not 0 < value < 0.01 else 2 - math.floor(math.log10(value))
    return round_down(value, digits)


def round_down(value: float, digits: int) -> str:
    """A radius for print: never larger than the number, as a decimal with ``digits`` digits after the point."""
    if math.isinf(value):
        return "unbounded"
    scaled = math.floor(value * 10**digits)
    if scaled / 10**digits > value:
        scaled -= 1
    return f"{scaled / 10**digits:.{digits}f}"
