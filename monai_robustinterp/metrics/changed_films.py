"""Changed versions of a film, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from monai_robustinterp.interpreters.reference_image import gaussian_blur


def within_ball(image: torch.Tensor, *, radius: float, number: int, seed: int) -> Iterator[torch.Tensor]:
    """Films with noise that is uniform in [-radius, radius] at each pixel, clipped to [0, 1].

    Args:
        image: float [1, H, W].
        radius: in units of the input.
        number: of films.
        seed: of the noise.
    """
    draws = torch.Generator().manual_seed(seed)
    for _ in range(number):
        noise = (2 * torch.rand(image.shape, generator=draws) - 1) * radius
        yield (image + noise.to(image)).clamp(0, 1)


def with_noise(image: torch.Tensor, *, sigma: float, number: int, seed: int) -> Iterator[torch.Tensor]:
    """Films with white Gaussian noise, clipped to [0, 1].

    Args:
        image: float [1, H, W].
        sigma: standard deviation in units of the input.
        number: of films.
        seed: of the noise.
    """
    draws = torch.Generator().manual_seed(seed)
    for _ in range(number):
        yield (image + sigma * torch.randn(image.shape, generator=draws).to(image)).clamp(0, 1)


def with_smooth_change(image: torch.Tensor, *, size: float, number: int, seed: int) -> Iterator[torch.Tensor]:
    """Films with smooth fields added, all of one root mean square, clipped to [0, 1].

    Fields are white noise, blurred with a standard deviation of 1/16 of the film's shorter side.

    Args:
        image: float [1, H, W].
        size: root mean square of the field, in units of the input.
        number: of films.
        seed: of the fields.
    """
    draws = torch.Generator().manual_seed(seed)
    for _ in range(number):
        white = torch.randn((1, *image.shape), generator=draws)
        side = min(image.shape[1:])
        field = gaussian_blur(white, side / 16, radius=min(side - 1, max(1, side // 4)))[0]
        yield (image + (size * field / field.square().mean().sqrt()).to(image)).clamp(0, 1)
