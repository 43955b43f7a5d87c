"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.layer_output import layer_gradients, positive_map
from monai_robustinterp.interpreters.spatial import Reshape, check_reshape


class GradCAM(Interpreter):
    """ReLU of the layer's channels weighted by their mean gradients (eqs. 1 and 2), bilinear at the input's size.

    Args:
        target_layer: dotted name of a layer with output [B, K, h, w]; None finds the last one that the logit depends on
            (:func:`~monai_robustinterp.interpreters.spatial.last_spatial_layer`).
        reshape: makes that of another output: "tokens" of [B, tokens, K], a function of anything.

    Raises:
        ValueError: if ``reshape`` is none of these.
    """

    name: ClassVar[str] = "grad_cam"
    needs_hooks: ClassVar[bool] = True

    def __init__(self, target_layer: str | None = None, *, reshape: Reshape = None) -> None:
        check_reshape(reshape)
        self.target_layer, self.reshape = target_layer, reshape

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        return self.attribute_each(network, inputs, [target])

    def attribute_each(self, network: nn.Module, inputs: torch.Tensor, targets: Sequence[int]) -> Attribution:
        """See :meth:`Interpreter.attribute_each`: of a named layer from one forward pass, and a backward one a target.

        The backward passes end at the layer.
        """
        if self.target_layer is None and len(targets) > 1:
            # The last layer on which a logit depends may be another one for each.
            return super().attribute_each(network, inputs, targets)
        activation, gradients, logits = layer_gradients(
            network, inputs, targets, target_layer=self.target_layer, reshape=self.reshape
        )
        weights = [gradient.mean(dim=(2, 3), keepdim=True) for gradient in gradients]
        maps = [positive_map(activation, weight, inputs) for weight in weights]
        return Attribution(maps=torch.cat(maps, dim=1), logits=logits)
