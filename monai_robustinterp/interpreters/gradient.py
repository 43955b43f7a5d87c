"""Plain gradient (Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.passes import input_gradient


class Gradient(Interpreter):
    """|d logit / d input|, summed over the input's channels (one, for a radiograph)."""

    name: ClassVar[str] = "gradient"

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        gradient, logits = input_gradient(network, inputs, target)
        return Attribution(maps=gradient.abs().sum(dim=1, keepdim=True), logits=logits)
