"""White noise: independent and of one standard deviation in every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monai_robustinterp.noise.counter import CounterNoise


@dataclass(frozen=True)
class WhiteNoise:
    """N(0, sigma^2 I) over the values of the network's single-channel input.

    Attributes:
        sigma: standard deviation, a float32 number (:func:`~monai_robustinterp.types.float32_sigma`).
    """

    sigma: float

    def copies(self, clean: torch.Tensor, stream: CounterNoise, samples: torch.Tensor) -> torch.Tensor:
        """Noisy copies of an image.

        Args:
            clean: float32 [1, H, W].
            stream: the random numbers of this image.
            samples: indices of the copies, int64 [B].

        Returns:
            float32 [B, 1, H, W].
        """
        return stream.normal(samples, tuple(clean.shape)).mul_(self.sigma).add_(clean)
