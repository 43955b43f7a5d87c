"""Gray pixels out of color files whose channels are equal, or nearly so after lossy compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.errors import InputRefused

TOLERANCE = 8
"""Gray levels of 256 by which the channels of a pixel may differ."""

NO_CHANNEL_SLOPE = "the gray value is a rounded mean of unequal color channels, so there is no bound on its slope."


@dataclass(frozen=True)
class GrayChannels:
    """One gray value a pixel.

    Attributes:
        pixels: uint8 [H, W].
        warning: how much the channels differ; "" if they are equal.
    """

    pixels: npt.NDArray[np.uint8]
    warning: str


def gray_of_channels(channels: npt.NDArray[Any]) -> GrayChannels:
    """The common value of the channels, or their mean.

    Args:
        channels: uint8 [H, W, 3].

    Raises:
        InputRefused: if the image is in color.
    """
    spread = int((channels.max(axis=-1) - channels.min(axis=-1)).max())
    if spread == 0:
        return GrayChannels(channels[..., 0].copy(), "")
    if spread > TOLERANCE:
        raise InputRefused(
            "The image is in color; a radiograph is gray, with equal channels. Give the radiograph itself, neither a "
            "photo nor an overlay."
        )
    mean: npt.NDArray[np.uint8] = np.rint(channels.mean(axis=-1)).astype(np.uint8)
    return GrayChannels(mean, f"the color channels differ by up to {spread} of 255 gray levels; their mean is read")
