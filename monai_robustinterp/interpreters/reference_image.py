"""What a mask shows where it takes the image away: the image blurred, or one gray.

The papers give lengths in pixels of their own image size. Here a length keeps its share of the image's shorter side.
Borders are mirrored (the median repeats the edge): zeros beyond the border would darken it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from torch import nn

Reference = Literal["blur", "mean"]
"""The paper's blur, or one gray: the image's own mean, where a network sees its finding in a blurred image as well."""

Blend = Callable[[torch.Tensor], torch.Tensor]
"""Masks [B, 1, H, W] in [0, 1] -> images [B, C, H, W]: the input where a mask is 1, its reference where it is 0."""


def scaled(length_px: float, *, of_px: int, images: torch.Tensor) -> float:
    """A length in pixels of an image with shorter side ``of_px``, as that of ``images`` [B, C, H, W]."""
    return length_px * min(images.shape[-2:]) / of_px


def gaussian_blur(signal: torch.Tensor, sigma: float, *, radius: int | None = None) -> torch.Tensor:
    """Gaussian blur with the sampled kernel, summing to 1.

    Args:
        signal: float [B, C, L] or [B, C, H, W], blurred along all of L, or H and W.
        sigma: standard deviation in pixels, > 0.
        radius: where the kernel ends, in pixels, below each size; None for 4 sigma.
    """
    reach = 4.0 if radius is None else radius / sigma
    kernel = gaussian_1d(torch.tensor(sigma), truncated=reach, approx="sampled", normalize=True)
    blurred: torch.Tensor = separable_filtering(signal, kernel, mode="reflect")
    return blurred


def median_blur(images: torch.Tensor, radius: int) -> torch.Tensor:
    """Median over squares of 2 radius + 1 pixels; one image at a time, for each takes as many copies as the square."""
    size = 2 * radius + 1
    padded = nn.functional.pad(images, (radius,) * 4, mode="replicate")
    rows = [image.unfold(1, size, 1).unfold(2, size, 1).flatten(-2).median(dim=-1).values for image in padded]
    return torch.stack(rows)


def mean_gray(images: torch.Tensor) -> torch.Tensor:
    """Each channel's mean over the image, everywhere, [B, C, H, W]."""
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


def toward(images: torch.Tensor, reference: torch.Tensor) -> Blend:
    """The blend m x + (1 - m) x_r."""
    return lambda masks: reference + masks * (images - reference)


def through_levels(levels: torch.Tensor) -> Blend:
    """Each pixel from the level that its mask value points to, linear between two levels.

    Args:
        levels: float [L, B, C, H, W], from the reference to the image itself, L >= 2.
    """
    last = len(levels) - 1

    def blend(masks: torch.Tensor) -> torch.Tensor:
        position = masks.expand_as(levels[0]) * last
        below = position.detach().floor().clamp(0, last - 1)
        lower, upper = (levels.gather(0, below.long()[None] + shift)[0] for shift in (0, 1))
        return lower + (position - below) * (upper - lower)

    return blend
