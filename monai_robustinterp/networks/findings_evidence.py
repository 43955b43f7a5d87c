"""Independent findings by evidence at each position: a map a finding, and each logit by its own map alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from monai_robustinterp.networks.evidence import FIRST, GAIN, EvidenceDenseNet


class FindingsEvidenceDenseNet(EvidenceDenseNet):
    """As :class:`~monai_robustinterp.networks.evidence.EvidenceDenseNet`, with a map of evidence >= 0 a finding.

    Logit j is ``GAIN * (mean of map j) + bias j``: the head's weights are a fixed positive diagonal, which no training
    changes. So the class activation map of a finding is its own map and no mixture, and what moves one map moves one
    logit.

    Args:
        out_channels: findings.
        init_features: channels of the first convolution.
        growth_rate: channels that a layer adds.
        block_config: layers of each of the four blocks.
    """

    def __init__(
        self,
        *,
        out_channels: int,
        init_features: int = 32,
        growth_rate: int = 16,
        block_config: Sequence[int] = (4, 8, 12, 8),
    ) -> None:
        super().__init__(
            out_channels=out_channels,
            n_maps=out_channels,
            init_features=init_features,
            growth_rate=growth_rate,
            block_config=block_config,
        )
        # A linear layer, which interpreters know; all logits begin near 0.
        self.head.weight = nn.Parameter(GAIN * torch.eye(out_channels), requires_grad=False)
        with torch.no_grad():
            self.head.bias.fill_(-GAIN * nn.functional.softplus(torch.tensor(FIRST)))
