"""Exposure-shaped noise: white noise, and more of it where exposures differ, in brightness and tilt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.noise.counter import CounterNoise

_PURPOSE = "exposure"


@dataclass(frozen=True, kw_only=True)
class ExposureNoise:
    """N(0, sigma^2 I + sum_k n tau_k^2 u_k u_k^T) over the n values of the network's single-channel input.

    The u_k are three vectors of the orthonormal DCT-II: the constant one, and the lowest frequency down and across the
    image. tau_k is the root mean square over the image of what a standard deviation along sqrt(n) u_k adds to it, so
    it means the same on every grid (docs/theory/shape.md, T20).

    Attributes:
        sigma: standard deviation of the white part, a float32 number; no direction has a smaller one.
        brightness: tau of the constant vector, a float32 number >= 0.
        tilt: tau of the two others.
    """

    sigma: float
    brightness: float
    tilt: float

    def norm(self, change: npt.NDArray[np.float64]) -> float:
        """Length of a change [1, H, W] in standard deviations of the noise, rounded up."""
        size = change.size
        modes = [np.broadcast_to(mode.numpy(), change.shape) for mode in _modes(*change.shape[-2:])]
        parts = [float((mode * change).mean()) for mode in modes]
        rest = change - sum(part * mode for part, mode in zip(parts, modes))
        squares = [float(np.square(rest).sum()) / self.sigma**2] + [
            size * part**2 / (self.sigma**2 + size * spread**2) for part, spread in zip(parts, self._spreads)
        ]
        # More than the round-off of the parts and of the sums, wherever it goes.
        round_off = 16 * (size + 8) * float(np.finfo(np.float64).eps) * float(np.sqrt(np.square(change).sum()))
        return math.sqrt(sum(squares)) + round_off / self.sigma

    def copies(self, clean: torch.Tensor, stream: CounterNoise, samples: torch.Tensor) -> torch.Tensor:
        """Noisy copies [B, 1, H, W] of an image [1, H, W], whose white part is that of white noise."""
        constant, down, across = (mode.to(clean) for mode in _modes(*clean.shape[-2:]))
        brightness, tilt_down, tilt_across = stream.normal(samples, (3, 1, 1, 1), purpose=_PURPOSE).unbind(dim=1)
        columns = self.brightness * brightness * constant + self.tilt * tilt_down * down
        white = stream.normal(samples, tuple(clean.shape)).mul_(self.sigma)
        # The image last: so the copy is a function of the real sum of image and noise (docs/theory/noise.md, L9).
        return white.add_(columns).add_(self.tilt * tilt_across * across).add_(clean)

    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        """Sigma g / sqrt(g^T Sigma g) of a gradient g [1, H, W]."""
        spread = self.sigma**2 * gradient
        for mode, tau in zip(_modes(*gradient.shape[-2:]), self._spreads):
            along = mode.to(gradient)
            spread = spread + tau**2 * (gradient * along).sum() * along
        return spread / (gradient * spread).sum().sqrt().clamp_min(torch.finfo(gradient.dtype).tiny)

    @property
    def _spreads(self) -> tuple[float, float, float]:
        return self.brightness, self.tilt, self.tilt


def _modes(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """sqrt(n) u_k, of root mean square 1: float64 [1, 1, 1], [1, H, 1] and [1, 1, W]."""

    def lowest(side: int) -> torch.Tensor:
        return math.sqrt(2) * torch.cos(math.pi * (torch.arange(side, dtype=torch.float64) + 0.5) / side)

    return torch.ones(1, 1, 1, dtype=torch.float64), lowest(height)[None, :, None], lowest(width)[None, None, :]
