"""A classifier whose logits are linear in evidence by position: its class activation map is its own account."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import DenseNet
from torch import nn

FIRST = -3.0
"""Evidence before its softplus that positions begin with: little."""

GAIN = 30.0
"""What the head's weights begin with."""


class EvidenceDenseNet(nn.Module):
    """A DenseNet that keeps the resolution of its second block, and sums up evidence >= 0 of each position.

    The last two pools move by one position instead of two, and what follows them is dilated to match (Chen et al. 2018,
    "DeepLab"). So the last layer has a position for every 8 x 8 pixels, and at every fourth one of them what the
    ordinary network of the same weights has there. Each position gets ``evidence = softplus(w . features + b)``, and
    the logits are one linear layer of its mean: the class activation map of layer ``evidence`` is exact, and needs no
    gradient.

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
        for number, dilation in ((2, 1), (3, 2)):
            self.features.get_submodule(f"transition{number}").pool = DenseAverage(dilation)
            _dilate(self.features.get_submodule(f"denseblock{number + 1}"), 2 * dilation)
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


class DenseAverage(nn.Module):
    """The average of 2 x 2 positions at every position, not at every second one; at the ends the last ones repeat.

    Args:
        dilation: distance of the positions that are averaged.
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Averages [B, C, H, W] of the same shape."""
        d, channels = self.dilation, values.shape[1]
        padded = nn.functional.pad(values, (0, d, 0, d), mode="replicate")
        kernel = values.new_full((channels, 1, 2, 2), 0.25)
        return nn.functional.conv2d(padded, kernel, groups=channels, dilation=d)


def _dilate(block: nn.Module, dilation: int) -> None:
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (dilation, dilation)


def _start(evidence: nn.Conv2d, head: nn.Linear) -> None:
    """Little evidence everywhere, which speaks for the last logits and against the others; all logits begin near 0."""
    with torch.no_grad():
        evidence.bias = nn.Parameter(torch.full((evidence.out_channels,), FIRST))
        signs = torch.eye(head.out_features, head.in_features).flip(0, 1)
        head.weight.copy_(GAIN * (2 * signs - 1))
        head.bias.copy_(-head.weight.sum(dim=1) * nn.functional.softplus(torch.tensor(FIRST)))
