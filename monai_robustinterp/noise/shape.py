"""What a shape of noise is: it draws copies, and measures changes of the image in its own standard deviations."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.noise.exposure import ExposureNoise
from monai_robustinterp.noise.white import WhiteNoise
from monai_robustinterp.types import SmoothingSpec


class Draws(Protocol):
    """What makes the copies of an image."""

    def copies(self, clean: torch.Tensor, stream: CounterNoise, samples: torch.Tensor) -> torch.Tensor:
        """Copies [B, 1, H, W] of an image [1, H, W], of the random numbers with these indices, int64 [B]."""


class Noise(Draws, Protocol):
    """Gaussian noise N(0, Sigma) over the network's single-channel input, fixed before the image is seen.

    Every certificate is a radius r in its standard deviations: it holds for changes d with ||Sigma^(-1/2) d||_2 < r
    (docs/theory/shape.md, T20), and so for all of l2 norm below r sigma.
    """

    @property
    def sigma(self) -> float:
        """Its standard deviation in the direction where it is smallest."""

    def norm(self, change: npt.NDArray[np.float64]) -> float:
        """||Sigma^(-1/2) d||_2 of a change d of the input [1, H, W], never rounded down."""

    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        """Of all changes of norm 1 the one along which a function with this gradient [1, H, W] rises most."""


def noise_of_spec(spec: SmoothingSpec) -> Noise:
    """The noise that a spec names."""
    return noise_of(sigma=spec.sigma, brightness=spec.brightness, tilt=spec.tilt)


def noise_of(*, sigma: float, brightness: float = 0.0, tilt: float = 0.0) -> Noise:
    """The noise of these settings, which are those of :class:`~monai_robustinterp.types.SmoothingSpec`."""
    if brightness or tilt:
        return ExposureNoise(sigma=sigma, brightness=brightness, tilt=tilt)
    return WhiteNoise(sigma)
