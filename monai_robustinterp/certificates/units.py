"""A radius in units that a person can read (docs/theory/units.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from monai_robustinterp.certificates.resize import ResizeNorms

GRAY_LEVELS = 255

_DOWN = 1 - 1e-12  # more than the round-off of the few operations behind it


@dataclass(frozen=True)
class RadiusUnits:
    """One l2 radius, said in several ways.

    Attributes:
        l2: radius over the n values of the network's single-channel input, whose display range is [0, 1].
        rms: the same as root mean square per pixel, l2 / sqrt(n).
        rms_gray_levels: rms on the 0-255 scale of the network's input.
        l_inf: a perturbation of at most this much in every pixel has l2 norm <= l2: l2 / sqrt(n).
    """

    l2: float
    rms: float
    rms_gray_levels: float
    l_inf: float


def radius_units(l2: float, n_pixels: int) -> RadiusUnits:
    """Converts an l2 radius at the network's input grid.

    Args:
        l2: radius in units of the network's input.
        n_pixels: n = H * W of the network's input.
    """
    rms = l2 / math.sqrt(n_pixels)
    return RadiusUnits(l2=l2, rms=rms, rms_gray_levels=rms * GRAY_LEVELS, l_inf=rms)


@dataclass(frozen=True)
class NativeRadius:
    """A radius in the units of the stored pixels, on the detector's own grid.

    Attributes:
        l2: every perturbation of the stored values with at most this l2 norm is one of l2 norm <= L at the network.
        l_inf: the same for the largest change of a single pixel.
    """

    l2: float
    l_inf: float


def native_radius(l2: float, *, norms: ResizeNorms, slope: float, n_pixels: int, round_off: float) -> NativeRadius:
    """A certified radius in native detector units (T17).

    The network sees R applied to slope * stored value + constant, so ||change of the input||_2 <= ||R||_2 slope
    ||d||_2 and <= sqrt(n) ||R||_{inf->inf} slope ||d||_inf. A fixed crop and the clipping to [0, 1] have norm <= 1. It
    needs a float resize of fixed geometry; 8-bit resizing and content-dependent crops have no native radius.

    Args:
        l2: radius L at the network's input, >= 0; 0 stays 0, which is no claim.
        norms: of the resize R.
        slope: largest change of a display value in [0, 1] per stored unit.
        n_pixels: n = H * W of the network's input.
        round_off: e, bound of the l2 norm of the float32 round-off on the way, which both images have.

    Returns:
        Both radii, rounded down, in stored units; 0, no claim, where L is not above 2 e.

    Raises:
        ValueError: if L is negative or the slope not positive.
    """
    if not (l2 >= 0 and 0 < slope < math.inf):
        raise ValueError(
            f"the radius is {l2:g} and the slope {slope:g}; they must be >= 0 and > 0. Where the intensity path has no "
            "slope there is no native radius: report the reason instead."
        )
    left = max(0.0, l2 - 2 * round_off)
    return NativeRadius(
        l2=left / (norms.l2 * slope) * _DOWN,
        l_inf=left / (math.sqrt(n_pixels) * norms.l_inf * slope) * _DOWN,
    )


def readable(value: float) -> str:
    """A radius for print, rounded down to 4 decimals, or to 3 significant digits if it is below 0.01."""
    digits = 4 if not 0 < value < 0.01 else 2 - math.floor(math.log10(value))
    return round_down(value, digits)


def round_down(value: float, digits: int) -> str:
    """A radius for print: never larger than the number, as a decimal with ``digits`` digits after the point."""
    if math.isinf(value):
        return "unbounded"
    return _in_digits(value, digits, ROUND_FLOOR)


def round_up_to(value: float, digits: int) -> str:
    """A bound from above for print: never smaller than the number, as a decimal with ``digits`` digits."""
    return _in_digits(value, digits, ROUND_CEILING)


def _in_digits(value: float, digits: int, rounding: str) -> str:
    # In decimals: 100 times 0.57 is below 57 in floats.
    return f"{Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), rounding):f}"


def round_up(probability: float) -> str:
    """A failure probability for print, in 6 significant digits at most: never below the decimal that was given."""
    exact = Decimal(repr(probability))
    return f"{Context(prec=6, rounding=ROUND_CEILING).plus(exact).normalize():g}"


def sum_up(*probabilities: float) -> float:
    """The sum of failure probabilities, rounded up."""
    total, exact = sum(probabilities), sum(map(Fraction, probabilities))
    while Fraction(total) < exact:
        total = math.nextafter(total, math.inf)
    return total
