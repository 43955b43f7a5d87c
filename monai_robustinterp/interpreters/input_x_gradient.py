"""Input times gradient (Shrikumar et al. 2016, arXiv:1605.01713)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.passes import input_gradient


class InputXGradient(Interpreter):
    """input * (d logit / d input), summed with its sign over the channels: evidence for the target where positive.

    A black pixel, 0, has no importance. The map sums to the logit less its intercept where the network is linear
    between a multiple of the input and the input itself. One forward and one backward pass.
    """

    name: ClassVar[str] = "input_x_gradient"

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        gradient, logits = input_gradient(network, inputs, target)
        return Attribution(maps=(inputs.detach() * gradient).sum(dim=1, keepdim=True), logits=logits)
