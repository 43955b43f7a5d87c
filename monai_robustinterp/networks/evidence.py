"""A classifier whose logits are linear in evidence by position: its class activation map is its own account."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import DenseNet
from torch import nn

_FIRST, _GAIN = -3.0, 30.0


class EvidenceDenseNet(nn.Module):
    """A DenseNet that keeps the resolution of its second block, and sums up evidence >= 0 of each position.

    The pools of the last two transitions are left out, so the last layer has a position for every 8 x 8 pixels. Each
    position gets ``evidence = softplus(w . features + b)``, and the logits are one linear layer of its mean: the class
    activation map of layer ``evidence`` is exact, and needs no gradient.

    Args:
        out_channels: logits.
        n_maps: maps of evidence.
        init_features: channels of the first convolution.
        growth_rate: channels that a layer adds.
        block_config: layers of each of the four blocks.
    """

    def __init__(
        self,
        *,
        out_channels: int = 2,
        n_maps: int = 1,
        init_features: int = 32,
        growth_rate: int = 16,
        block_config: Sequence[int] = (4, 8, 12, 8),
    ) -> None:
        super().__init__()
        densenet = DenseNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            init_features=init_features,
            growth_rate=growth_rate,
            block_config=block_config,
        )
        self.features = densenet.features
        for transition in (self.features.transition2, self.features.transition3):
            transition.pool = nn.Identity()
        channels = densenet.class_layers.out.in_features
        last = nn.Conv2d(channels, n_maps, 1)
        self.evidence = nn.Sequential(nn.ReLU(), last, nn.Softplus())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(n_maps, out_channels)
        _start(last, self.head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, out_channels] of images [B, 1, H, W]."""
        logits: torch.Tensor = self.head(self.pool(self.evidence(self.features(images))).flatten(1))
        return logits


def _start(evidence: nn.Conv2d, head: nn.Linear) -> None:
    """Little evidence everywhere, which speaks for the last logits and against the others; all logits begin near 0."""
    with torch.no_grad():
        evidence.bias = nn.Parameter(torch.full((evidence.out_channels,), _FIRST))
        signs = torch.eye(head.out_features, head.in_features).flip(0, 1)
        head.weight.copy_(_GAIN * (2 * signs - 1))
        head.bias.copy_(-head.weight.sum(dim=1) * nn.functional.softplus(torch.tensor(_FIRST)))
