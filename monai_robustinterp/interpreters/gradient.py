"""Plain gradient (Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.passes import input_gradients


class Gradient(Interpreter):
    """|d logit / d input|, summed over the input's channels (one, for a radiograph)."""

    name: ClassVar[str] = "gradient"

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        return self.attribute_each(network, inputs, [target])

    def attribute_each(self, network: nn.Module, inputs: torch.Tensor, targets: Sequence[int]) -> Attribution:
        """See :meth:`Interpreter.attribute_each`: from one forward pass, and a backward pass a target."""
        gradients, logits = input_gradients(network, inputs, targets)
        maps = [gradient.abs().sum(dim=1, keepdim=True) for gradient in gradients]
        return Attribution(maps=torch.cat(maps, dim=1), logits=logits)
