"""A radius in units that a person can read (section 5)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from monai_robustinterp.certificates.resize import Array, resize_norms

GREY_LEVELS = 255

_DOWN = 1 - 1e-12  # more than the round-off of the few operations behind it
_PRINTED = 1 + 1e-5  # the reader prints a rescale slope with 6 significant digits
_RESCALE = re.compile(r"(?:rescale slope|scl_slope) (\S+) (?:intercept|scl_inter) \S+")
_AFFINE_STEPS = re.compile(
    r"stored values|window \d+ of \d+ \((LINEAR|LINEAR_EXACT)\) recorded, not applied|inverted \(.*\)"
    r"|rows from axis .*|no orientation stated: .*|equal channels of (L|LA|RGB|RGBA) read as gray"
)
_FIXED_RANGES = re.compile(r"window \d+ of \d+ \((LINEAR|LINEAR_EXACT)\)|full \d+-bit range.*|header: cal_min, cal_max")
# Why a step or a range has no slope; the first word that occurs decides.
_REASONS = (
    ("LUT", "a lookup table is a step function, so no bound on its slope exists"),
    ("SIGMOID", "the width of the sigmoid window is not in the metadata (window_slope takes it from the header)"),
    ("padding", "pixels at the padding value become black, which jumps when a pixel takes or leaves that value"),
    ("Smallest", "the header's pixel range is used only while the pixels lie inside it, so it depends on the content"),
    ("unit range", "the unit range is used only while all values lie in it, so it depends on the content"),
    ("minimum and maximum", "the display range is the image's own minimum and maximum, so it depends on the content"),
)


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


@dataclass(frozen=True)
class NativeRadius:
    """A radius in the units of the stored pixels, on the detector's own grid.

    Attributes:
        l2: every perturbation of the stored values with at most this l2 norm is one of l2 norm <= L at the network.
        l_inf: the same for the largest change of a single pixel.
    """

    l2: float
    l_inf: float


@dataclass(frozen=True)
class IntensitySlope:
    """How fast the network's input moves with a stored value.

    Attributes:
        value: the largest slope, rounded up; None if there is no bound.
        reason: why there is none; empty otherwise.
    """

    value: float | None
    reason: str = ""


def intensity_slope(
    *, display_min: float, display_max: float, display_source: str, intensity_path: str
) -> IntensitySlope:
    """Slope from stored value to display range = [0, 1], from the metadata that ``ChestXRayReader`` gives.

    It is |rescale slope| / (display_max - display_min). Clipping to [0, 1] afterwards only brings values closer.

    Args:
        display_min: meta entry, after the modality LUT.
        display_max: meta entry.
        display_source: meta entry; ranges that depend on the content have no slope.
        intensity_path: meta entry, steps joined by "; "; an unknown step has no slope.
    """
    if not (math.isfinite(display_min) and math.isfinite(display_max) and display_min < display_max):
        return IntensitySlope(None, f"the display range {display_min:g} to {display_max:g} is no range.")
    if not _FIXED_RANGES.fullmatch(display_source):
        return IntensitySlope(None, _reason("display range", display_source))
    rescale = 1.0
    for step in intensity_path.split("; "):
        match = _RESCALE.fullmatch(step)
        if match:
            rescale *= abs(float(match[1])) * _PRINTED
        elif not _AFFINE_STEPS.fullmatch(step):
            return IntensitySlope(None, _reason("step", step))
    if not 0 < rescale < math.inf:
        return IntensitySlope(None, f"the rescale slope is {rescale:g}, which is no scale.")
    return IntensitySlope(rescale / (display_max - display_min) / _DOWN)


def window_slope(
    width: float, *, function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"], rescale_slope: float = 1.0
) -> float:
    """Largest slope of a DICOM window from stored value to [0, 1] (PS3.3 C.11.2.1.2), rounded up.

    A LINEAR window spans width - 1 values, LINEAR_EXACT width. The sigmoid 1 / (1 + exp(-4 (x - c) / w)) is steepest
    at its center, where the slope is 4 / w * 1 / 4 = 1 / w.

    Args:
        width: WindowWidth.
        function: VOILUTFunction.
        rescale_slope: RescaleSlope.

    Raises:
        ValueError: if the window is no wider than 0 (LINEAR: 1), or the slope is 0 or not finite.
    """
    span = width - 1 if function == "LINEAR" else width
    if not (0 < span < math.inf and 0 < abs(rescale_slope) < math.inf):
        raise ValueError(
            f"the window {function} has width {width:g} and rescale slope {rescale_slope:g}; it must be wider than 0 "
            "(LINEAR: 1) and the slope finite and not 0. Read them from the header again."
        )
    return abs(rescale_slope) / span / _DOWN


def native_radius(l2: float, *, rows: Array, columns: Array, slope: float) -> NativeRadius:
    """A certified radius in native detector units (section 5).

    The network sees R applied to slope * stored value + constant, so ||change of the input||_2 <= ||R||_2 slope
    ||d||_2 and <= sqrt(n) ||R||_{inf->inf} slope ||d||_inf. A fixed crop and the clipping to [0, 1] have norm <= 1. It
    needs a float resize of fixed geometry; 8-bit resizing and content-dependent crops have no native radius.

    Args:
        l2: radius L at the network's input, >= 0; 0 stays 0, which is no claim.
        rows: matrix of the resize along the rows, shape [H, h_native] (:func:`resize.area_resize_matrix`).
        columns: matrix along the columns, shape [W, w_native].
        slope: :func:`intensity_slope`, in 1 / stored unit.

    Returns:
        Both radii, rounded down, in stored units.

    Raises:
        ValueError: if L is negative or the slope not positive.
    """
    if not (l2 >= 0 and 0 < slope < math.inf):
        raise ValueError(
            f"the radius is {l2:g} and the slope {slope:g}; they must be >= 0 and > 0. Where the intensity path has no "
            "slope there is no native radius: report the reason instead."
        )
    norms = resize_norms(rows, columns)
    n_pixels = len(rows) * len(columns)
    return NativeRadius(
        l2=l2 / (norms.l2 * slope) * _DOWN,
        l_inf=l2 / (math.sqrt(n_pixels) * norms.l_inf * slope) * _DOWN,
    )


def _reason(what: str, found: str) -> str:
    for word, reason in _REASONS:
        if word in found:
            return f"no radius in stored units: {reason} ({what}: {found})."
    return f"no radius in stored units: the {what} {found!r} is not known to be affine and independent of the content."


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
