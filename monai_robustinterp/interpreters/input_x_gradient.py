"""Input times gradient (Shrikumar et al. 2016, arXiv:1605.01713)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.passes import input_gradients


class InputXGradient(Interpreter):
    """input * (d logit / d input), summed with its sign over the channels: evidence for the target where positive.

    A black pixel, 0, has no importance. The map sums to the logit less its intercept where the network is linear
    between a multiple of the input and the input itself. One forward and one backward pass.
    """

    name: ClassVar[str] = "input_x_gradient"

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        return self.attribute_each(network, inputs, [target])

    def attribute_each(self, network: nn.Module, inputs: torch.Tensor, targets: Sequence[int]) -> Attribution:
        """See :meth:`Interpreter.attribute_each`: from one forward pass, and a backward pass a target."""
        gradients, logits = input_gradients(network, inputs, targets)
        maps = [(inputs.detach() * gradient).sum(dim=1, keepdim=True) for gradient in gradients]
        return Attribution(maps=torch.cat(maps, dim=1), logits=logits)
