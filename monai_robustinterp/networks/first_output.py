"""The logits alone of a network that returns more."""

from __future__ import annotations

import torch
from torch import nn


class FirstOutput(nn.Module):
    """Returns the first of a network's outputs: MONAI's ViT returns logits, and what its blocks return.

    Args:
        network: returns a tuple or list whose first entry is logits [B, classes].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, classes] of images [B, C, H, W]."""
        logits: torch.Tensor = self.network(images)[0]
        return logits
