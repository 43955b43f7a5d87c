"""White noise: independent and of one standard deviation in every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.noise.counter import CounterNoise


@dataclass(frozen=True)
class WhiteNoise:
    """N(0, sigma^2 I) over the values of the network's single-channel input.

    Attributes:
        sigma: standard deviation, a float32 number (:func:`~monai_robustinterp.types.float32_sigma`).
    """

    sigma: float

    def norm(self, change: npt.NDArray[np.float64]) -> float:
        """l2 norm of a change of the input over sigma: its length in standard deviations of the noise, rounded up.

        Args:
            change: float64 of any shape.
        """
        # More than the round-off of the sum, whose terms are positive.
        up = 1 + (change.size + 8) * float(np.finfo(np.float64).eps)
        return float(np.sqrt(np.square(change).sum())) / self.sigma * up

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

    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        """The direction of a gradient [1, H, W], a standard deviation long."""
        length = torch.linalg.vector_norm(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
        along: torch.Tensor = self.sigma * gradient / length
        return along
