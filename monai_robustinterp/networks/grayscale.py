"""The adapter between the single-channel input that is certified and what a pretrained network wants."""

# No postponed annotations here: torch.jit.script reads those of the class.
from collections.abc import Sequence

import torch
from torch import nn


class GrayscaleInput(nn.Module):
    """Replicates one gray channel and normalizes it inside the network.

    Noise, perturbations and radii live on the single channel. Drawn on three replicated channels they would certify a
    threat that no image can carry (docs/theory/objects.md, D1), so these steps belong behind the noise.

    Args:
        network: takes [B, C, H, W] with C = ``len(mean)``.
        mean: per channel, in the units of the [0, 1] input.
        std: per channel, > 0.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(f"mean has {len(mean)} and std {len(std)} values; they must be as many, and std > 0.")
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the wrapped network for [B, 1, H, W]."""
        logits: torch.Tensor = self.network((image - self.mean) / self.std)
        return logits
