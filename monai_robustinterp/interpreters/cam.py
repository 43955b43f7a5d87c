"""Class activation map (Zhou et al. 2016, arXiv:1512.04150)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.passes import target_logits
from monai_robustinterp.interpreters.pooled_head import pooled_features, weighted_sum


class CAM(Interpreter):
    """Sum of the pooled channels with the target's weights in the linear layer behind the pooling, without its bias.

    M_c = sum_k w_k^c f_k, signed, bilinear at the input's size (Zhou et al., eq. 2; Prakash et al., eq. 1, whose text
    calls w the max-pooled channels, but a weight of class c is one of the linear layer, as in their code). For networks
    of global average or max pooling and one linear layer, which is checked at each call.

    Args:
        target_layer: dotted name of the last layer before the pooling, or before a ReLU and the pooling, with output
            [B, K, h, w]; None finds the last one with such an output.
    """

    name: ClassVar[str] = "cam"
    needs_hooks: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False
    needs_float32: ClassVar[bool] = True

    def __init__(self, target_layer: str | None = None) -> None:
        self.target_layer = target_layer

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`; ValueError too if the network has no such head."""
        return self.attribute_each(network, inputs, [target])

    def attribute_each(self, network: nn.Module, inputs: torch.Tensor, targets: Sequence[int]) -> Attribution:
        """See :meth:`Interpreter.attribute_each`: of a named layer from one forward pass."""
        if self.target_layer is None and len(targets) > 1:
            # The last layer on which a logit depends may be another one for each.
            return super().attribute_each(network, inputs, targets)
        features, logits, head = pooled_features(network, inputs, targets[0], target_layer=self.target_layer)
        for target in targets[1:]:
            target_logits(logits, target)
        maps = [weighted_sum(features, head.weight[target].expand(len(inputs), -1), inputs) for target in targets]
        return Attribution(maps=torch.cat(maps, dim=1), logits=logits.detach())
