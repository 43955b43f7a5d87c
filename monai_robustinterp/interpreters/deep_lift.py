"""DeepLIFT with the rescale rule (Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.checks import check_finite, check_share
from monai_robustinterp.interpreters.context.activation_rules import ActivationRules, Function
from monai_robustinterp.interpreters.context.hooks import refuse_torchscript
from monai_robustinterp.interpreters.passes import logit_gradient, target_logits


class DeepLift(Interpreter):
    """(input - baseline) * multiplier, with its sign; multipliers are slopes between the input and the baseline.

    An activation's multiplier is the change of its output over the change of its input (section 3.5.2); the change of a
    max-pool goes to where the larger of the two maxima is. All else must be linear. That is checked for every copy: the
    map must sum to logit(input) - logit(baseline) (eq. 1). One forward and one backward pass over the batch and one
    image more, the baseline; the backward pass computes each activation again.

    Captum's sets hooks on modules: functional activations, GELU and SiLU keep their plain derivatives there, and so
    does a max-pool behind a ReLU, without a word; one with overlapping windows loses a part, and a module that is used
    twice fails. Here the rules go to the calls themselves.

    Args:
        baseline: value of all pixels of the image without evidence; 0 is black.
        tolerance: largest error of that sum, as a share of the sum of the map's absolute values. Round-off was seen at
            2e-7 of it in float32 (DenseNet-121), and at 1e-4 with convolutions rounded to TF32, as GPUs do; operations
            without a rule at 1e-3 to 1e-1. A sum that is right does not prove the map, but a wrong one refutes it.

    Raises:
        ValueError: if an argument is out of range.
    """

    name: ClassVar[str] = "deep_lift"
    needs_hooks: ClassVar[bool] = True
    needs_float32: ClassVar[bool] = True

    def __init__(self, *, baseline: float = 0.0, tolerance: float = 1e-3) -> None:
        check_finite(baseline=baseline)
        check_share(tolerance=tolerance)
        self.baseline, self.tolerance = baseline, tolerance

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`.

        Raises:
            ValueError: also if a copy's map does not sum to its change of the logit, or a part of the network is
                TorchScript.
        """
        refuse_torchscript(network)
        rows = torch.cat([inputs.detach(), torch.full_like(inputs[:1], self.baseline)]).requires_grad_()
        with ActivationRules(_RULES):
            logits = target_logits(network(rows.clone()), target)
        multipliers = logit_gradient(logits[:-1], target, rows)[:-1]
        maps = (multipliers * (inputs.detach() - self.baseline)).sum(dim=1, keepdim=True)
        logits = logits.detach()
        self._check_sums(maps, logits[:, target])
        return Attribution(maps=maps, logits=logits[:-1])

    def _check_sums(self, maps: torch.Tensor, logits: torch.Tensor) -> None:
        """Compares maps [B, 1, H, W] with logits [B + 1], the baseline's last; NaN is left to who counts the votes."""
        changes = logits[:-1] - logits[-1]
        error = (maps.sum(dim=(1, 2, 3)) - changes).abs()
        # A large constant in the logits takes digits from their difference.
        round_off = _ROUND_OFF * torch.maximum(logits[:-1].abs(), logits[-1].abs())
        wrong = error > self.tolerance * maps.abs().sum(dim=(1, 2, 3)) + round_off
        if bool(wrong.any()):
            raise ValueError(
                f"DeepLIFT's map sums to another value than the change of the logit from the baseline, by "
                f"{float(error[wrong][0]):.2g} for a change of {float(changes[wrong][0]):.2g}. The network has an "
                "operation that the rescale rule does not know (a product of features as in swish, gates and "
                "squeeze-and-excitation, a normalization by the image's own statistics, attention, a layer that is "
                "checkpointed), so the map would be wrong. Use 'integrated_gradients' or 'gradient_shap', which need "
                "no rules."
            )


def rescale(function: Function, inputs: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The rule of an elementwise function: its slope between each row and the last one, the baseline.

    Where the two inputs agree but for round-off, it is the derivative.
    """
    outputs, derivative = _with_derivative(function, inputs)
    slope = (outputs - outputs[-1:]) / (inputs - inputs[-1:])
    same = torch.isclose(inputs, inputs[-1:], rtol=1e-6, atol=0)
    return torch.where(same, derivative(gradient), gradient * slope)


def larger_maximum(function: Function, inputs: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The rule of a maximum over windows: its change comes from where the larger of the two maxima is.

    There the input changes in the same direction and at least as much, so a window's multiplier is in [0, 1].
    """
    reference = inputs[-1:].expand_as(inputs)
    outputs, derivative = _with_derivative(function, inputs)
    reference_outputs, reference_derivative = _with_derivative(function, reference)
    change = outputs - reference_outputs
    contribution = derivative(gradient * change.clamp(min=0)) + reference_derivative(gradient * change.clamp(max=0))
    return torch.where(inputs == reference, derivative(gradient), contribution / (inputs - reference))


def _with_derivative(function: Function, inputs: torch.Tensor) -> tuple[torch.Tensor, Callable[..., torch.Tensor]]:
    """The outputs, and the map from the gradient with respect to them to the one with respect to the inputs."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        outputs: torch.Tensor = function(leaf.clone())
    return outputs.detach(), lambda gradient: torch.autograd.grad(outputs, leaf, gradient, retain_graph=True)[0]


_ROUND_OFF = 1e-6
ELEMENTWISE = (
    *("abs", "celu", "clamp", "clamp_max", "clamp_min", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish"),
    *("hardtanh", "leaky_relu", "log_sigmoid", "logsigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu"),
    *("sigmoid", "silu", "softplus", "softshrink", "softsign", "special_expit", "tanh", "tanhshrink", "threshold"),
)
"""Names of the functions of one value each that have the rescale rule."""
_MAXIMA = tuple(f"{kind}max_pool{dimensions}d" for kind in ("", "adaptive_") for dimensions in (1, 2, 3))
_RULES = dict.fromkeys(ELEMENTWISE, rescale) | dict.fromkeys(_MAXIMA, larger_maximum)
