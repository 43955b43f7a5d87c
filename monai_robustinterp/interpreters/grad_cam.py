"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter, logit_gradient, target_logits
from monai_robustinterp.interpreters.model_context import find_layer, recorded_output


class GradCAM(Interpreter):
    """ReLU of the layer's channels weighted by their mean gradients (eqs. 1 and 2), bilinear at the input's size.

    Args:
        target_layer: dotted name of a layer with output [B, K, h, w]; None raises, with the candidates.
    """

    name: ClassVar[str] = "grad_cam"
    needs_hooks: ClassVar[bool] = True

    def __init__(self, target_layer: str | None = None) -> None:
        self.target_layer = target_layer

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        with recorded_output(find_layer(network, self.target_layer)) as outputs:
            logits = target_logits(network(inputs.detach().requires_grad_()), target)
        activation = outputs[-1]
        if activation.ndim != 4:
            raise ValueError(
                f"layer {self.target_layer!r} returned shape {tuple(activation.shape)}; Grad-CAM needs [B, K, h, w]: "
                "choose a layer before the pooling."
            )
        weights = logit_gradient(logits, target, activation).mean(dim=(2, 3), keepdim=True)
        cam = torch.relu((weights * activation.detach()).sum(dim=1, keepdim=True))
        maps = nn.functional.interpolate(cam, size=inputs.shape[-2:], mode="bilinear", align_corners=False)
        return Attribution(maps=maps, logits=logits.detach())
