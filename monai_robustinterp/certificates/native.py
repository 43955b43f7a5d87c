"""Certified radii in stored pixel values: what is known of the way from the pixels to the network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from monai_robustinterp.certificates.resize import ResizeNorms
from monai_robustinterp.certificates.units import native_radius

NATIVE_UNIT = (
    "l2 over the stored pixel values of the source; l_inf: a change of at most this much in every stored pixel"
)

NO_NATIVE = "no radius in stored units: "


@dataclass(frozen=True)
class NativeScale:
    """How a change of the stored pixels reaches the network's input: as a change of at most ``slope`` times its norm.

    Attributes:
        slope: largest change of a display value in [0, 1] per stored unit; None where there is no bound.
        norm_l2: largest ||R d||_2 / ||d||_2 of crop and resize R; None where there is no bound.
        norm_l_inf: the same for the largest absolute value.
        rho: largest of |black|, |white| and |intercept| over the width of the display range; None likewise.
        round_off: bound of the l2 norm of the float32 round-off on the way (L11, L12); None likewise.
        reason: a sentence why there is no bound; "" otherwise.
        margin_l2: l2 norm of a change of the stored pixels within which the display range stays the one in use.
        margin_l_inf: the same for the largest absolute value.
    """

    slope: float | None
    norm_l2: float | None
    norm_l_inf: float | None
    rho: float | None
    round_off: float | None
    reason: str
    margin_l2: float = math.inf
    margin_l_inf: float = math.inf


def no_scale(reason: str) -> NativeScale:
    """No bound, and a sentence why."""
    return NativeScale(None, None, None, None, None, NO_NATIVE + reason)


_BEYOND_MARGIN = "the display range depends on the content, and pixels within the radius could have another one."

UNKNOWN_SCALE = no_scale("the image was preprocessed outside of the package, in a way that is not known to it.")
"""Of an image that came as a tensor."""


def native_record(l2: float, scale: NativeScale, n_pixels: int) -> dict[str, Any]:
    """Entry ``native`` of certificate.json.

    Args:
        l2: certified radius at the network's input, >= 0; 0 gives radii of 0, which are no claim.
        scale: of the same image.
        n_pixels: n = H * W of the network's input.

    Returns:
        Radii in stored units (rounded down), the factors behind them, unit and reason; numbers are None where there is
        no native radius.
    """
    record: dict[str, Any] = {"l2": None, "l_inf": None}
    if scale.slope and scale.norm_l2 and scale.norm_l_inf and scale.round_off:
        norms = ResizeNorms(scale.norm_l2, scale.norm_l_inf)
        radius = native_radius(l2, norms=norms, slope=scale.slope, n_pixels=n_pixels, round_off=scale.round_off)
        if radius.l2 > scale.margin_l2 or radius.l_inf > scale.margin_l_inf:
            return native_record(l2, no_scale(_BEYOND_MARGIN), n_pixels)
        record = {"l2": radius.l2, "l_inf": radius.l_inf}
    return record | {
        "norm_l2": scale.norm_l2,
        "norm_l_inf": scale.norm_l_inf,
        "slope": scale.slope,
        "rho": scale.rho,
        "round_off": scale.round_off,
        "unit": NATIVE_UNIT,
        "reason": scale.reason,
    }
