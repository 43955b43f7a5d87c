"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.layer_output import layer_output, positive_map
from monai_robustinterp.interpreters.passes import logit_gradient


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
        images = inputs.detach().requires_grad_()
        activation, logits = layer_output(network, images, target, target_layer=self.target_layer)
        weights = logit_gradient(logits, target, activation).mean(dim=(2, 3), keepdim=True)
        return Attribution(maps=positive_map(activation.detach(), weights, inputs), logits=logits.detach())
