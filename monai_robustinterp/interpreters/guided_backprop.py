"""Guided backpropagation (Springenberg et al. 2015, arXiv:1412.6806)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.context.activation_rules import ActivationRules, Function
from monai_robustinterp.interpreters.context.hooks import refuse_torchscript
from monai_robustinterp.interpreters.passes import logit_gradient, target_logits


class GuidedBackprop(Interpreter):
    """|gradient|, summed over the channels, with only positive gradients through the ReLUs (section 3.4).

    Captum's has the sign of the last step, which is not that of the evidence; the absolute value is as for
    ``gradient``. ReLUs are modules and functions of that name, in-place and used twice too; all else keeps its
    derivative: leaky ReLU, ReLU6, and a ReLU that is written as a clamp, a maximum or a threshold. One
    forward and one backward pass.

    The map shows edges of the image more than what the classifier uses, and hardly depends on the weights of its last
    layers (Adebayo et al. 2018, arXiv:1810.03292): it is here to be compared with.
    """

    name: ClassVar[str] = "guided_backprop"
    needs_hooks: ClassVar[bool] = True

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`.

        Raises:
            ValueError: also if the network has no ReLU, or a part of it is TorchScript.
        """
        refuse_torchscript(network)
        inputs = inputs.detach().requires_grad_()
        with ActivationRules({"relu": positive_only}) as rules:
            logits = target_logits(network(inputs.clone()), target)
        gradient = logit_gradient(logits, target, inputs)
        if rules.calls == 0:
            raise ValueError(
                "the network has no ReLU between its input and its logits, and guided backpropagation is a rule for "
                "ReLUs: without them it is the plain gradient. Use 'gradient'."
            )
        return Attribution(maps=gradient.abs().sum(dim=1, keepdim=True), logits=logits.detach())


def positive_only(_relu: Function, inputs: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient where it is positive and the ReLU was active, else 0."""
    return gradient.clamp(min=0) * (inputs > 0)
