"""Grad-CAM++ (Chattopadhay et al. 2018, WACV, arXiv:1710.11063)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.layer_output import layer_gradients, positive_map
from monai_robustinterp.interpreters.spatial import Reshape, check_reshape


class GradCAMpp(Interpreter):
    """ReLU of the layer's channels, weighted by their positive gradients with a coefficient for each position.

    With g = d S_c / d A^k_ij and the class score exp(S_c) of the paper, alpha = g^2 / (2 g^2 + g^3 sum_ab A^k_ab), and
    0 where the denominator is 0; w_k = sum_ij alpha relu(g). The factor exp(S_c) of all weights of an image is left
    out: it changes the order of no two places, and overflows for large logits. The authors' code divides the alpha of
    each channel by their sum too, which these equations and MONAI do not.

    The denominator is meant for A >= 0. At a layer whose output has negative sums it can come close to 0, and single
    channels then outweigh all others: prefer a layer behind a ReLU (class_layers.relu of a MONAI DenseNet).

    Args:
        target_layer: dotted name of a layer with output [B, K, h, w]; None finds the last one that the logit depends on
            (:func:`~monai_robustinterp.interpreters.spatial.last_spatial_layer`).
        reshape: makes that of another output: "tokens" of [B, tokens, K], a function of anything.

    Raises:
        ValueError: if ``reshape`` is none of these.
    """

    name: ClassVar[str] = "grad_cam_pp"
    needs_hooks: ClassVar[bool] = True

    def __init__(self, target_layer: str | None = None, *, reshape: Reshape = None) -> None:
        check_reshape(reshape)
        self.target_layer, self.reshape = target_layer, reshape

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        activation, (gradient,), logits = layer_gradients(
            network, inputs, [target], target_layer=self.target_layer, reshape=self.reshape
        )
        # alpha shortened by g^2, whose float32 would be 0 for gradients below 1e-23.
        denominator = 2 + gradient * activation.sum(dim=(2, 3), keepdim=True)
        alpha = torch.where(denominator == 0, 0, 1 / denominator)
        weights = (alpha * torch.relu(gradient)).sum(dim=(2, 3), keepdim=True)
        return Attribution(maps=positive_map(activation, weights, inputs), logits=logits)
