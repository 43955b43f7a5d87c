"""One color scale for vote shares: the overlay and its color bar are painted by the same function."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps

_LEVELS = 256
MAX_ALPHA = 0.55
"""Opacity of a share of 1: enough to see at a glance, and ribs and vessels stay readable underneath."""

# inferno without its ends: the dark end has too little contrast to a line's black rim (below 4.5 to 1) and would darken
# lungs where few copies vote, the pale end looks like bone. Lightness rises all the way, whatever colors a reader sees.
_TABLE = colormaps["inferno"](np.linspace(0.60, 0.93, _LEVELS))[:, :3].astype(np.float32)


def to_uint8(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Display values in [0, 1] as 8-bit values, rounded to the nearest."""
    rounded: npt.NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return rounded


def colors_of(share: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Colors of shares in [0, 1], uint8 with a last axis of 3; a higher share is always brighter."""
    colors: npt.NDArray[np.uint8] = to_uint8(_TABLE)[np.rint(share * (_LEVELS - 1)).astype(np.intp)]
    return colors


def paint(gray: npt.NDArray[np.floating], share: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Blend the color of each share over a gray picture; the opacity is proportional to the share.

    Args:
        gray: display values in [0, 1], shape [H, W].
        share: vote shares in [0, 1], shape [H, W]; where it is 0 the pixel stays exactly gray.

    Returns:
        RGB picture, uint8, shape [H, W, 3]. A higher share is always the brighter color, on an absolute scale.
    """
    rgb = np.repeat(to_uint8(gray)[..., None], 3, axis=-1)
    painted = share > 0
    shares = share[painted].astype(np.float32)
    alpha = (MAX_ALPHA * shares)[:, None]
    colors = _TABLE[np.rint(shares * (_LEVELS - 1)).astype(np.intp)]
    rgb[painted] = to_uint8((1 - alpha) * gray[painted].astype(np.float32)[:, None] + alpha * colors)
    return rgb
