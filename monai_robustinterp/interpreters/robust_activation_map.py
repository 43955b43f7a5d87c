"""Robust activation map (Prakash et al., "Robust Discriminative Localization Maps", eq. 2)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.checks import check_whole
from monai_robustinterp.interpreters.pooled_head import PooledHead, pooled_features, weighted_sum


class RobustActivationMap(Interpreter):
    """Class activation maps of the classes with the largest logits, the i-th one halved i times, over their maximum.

    M = sum_{i=1..k} M_{c_i} / 2^i with c_i ranked by the logits of each copy itself; of equal logits the class of lower
    index comes first. Classes that exclude each other and independent findings are ranked alike. There is one map for
    all classes: the target chooses none, it is only checked. Where the maximum is not positive, no place speaks for
    these classes, and the map is left undivided; the order of its cells is the same. Values below 0 stay.

    The authors' code differs from this equation: 7 classes, each map scaled to [0, 1] beforehand, a recursion
    M <- (M + M_c) / 2 from the last class to the first that begins with 1.2 times the last map, the result scaled to
    [0, 1] once more.

    Args:
        target_layer: dotted name of the last layer before the pooling, or before a ReLU and the pooling, with output
            [B, K, h, w]; None finds the last one with such an output.
        top_classes: k, at least 1; all classes where there are fewer.

    Raises:
        ValueError: if ``top_classes`` is no positive integer.
    """

    name: ClassVar[str] = "robust_activation_map"
    needs_hooks: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False
    needs_float32: ClassVar[bool] = True
    explains_target: ClassVar[bool] = False

    def __init__(self, target_layer: str | None = None, top_classes: int = 5) -> None:
        check_whole(1, top_classes=top_classes)
        self.target_layer = target_layer
        self.top_classes = top_classes

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`; ValueError too if the network has no such head."""
        features, logits, head = pooled_features(network, inputs, target, target_layer=self.target_layer)
        maps = weighted_sum(features, self._weights(logits, head), inputs)
        peaks = maps.amax(dim=(1, 2, 3), keepdim=True)
        return Attribution(maps=torch.where(peaks > 0, maps / peaks, maps), logits=logits.detach())

    def _weights(self, logits: torch.Tensor, head: PooledHead) -> torch.Tensor:
        """Channel weights [B, K] of each copy's average."""
        ranked = logits.argsort(dim=1, descending=True, stable=True)[:, : self.top_classes]
        shares = 0.5 ** torch.arange(1, ranked.shape[1] + 1, device=logits.device, dtype=logits.dtype)
        return torch.zeros_like(logits).scatter(1, ranked, shares.expand_as(ranked)) @ head.weight
