"""Layer-wise relevance propagation (Bach et al. 2015, PLoS ONE 10(7), doi:10.1371/journal.pone.0130140)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.checks import check_choice, check_not_negative
from monai_robustinterp.interpreters.context.hooks import refuse_torchscript
from monai_robustinterp.interpreters.context.network_state import own_forwards
from monai_robustinterp.interpreters.context.relevance_rules import LinearLayer, RelevanceRules
from monai_robustinterp.interpreters.passes import logit_gradient, target_logits

TOLERANCE = 1e-3
"""Largest error of the sum that is the logit, as a share of its absolute terms."""

ConvolutionRule = Literal["zplus", "epsilon"]
FirstRule = Literal["flat", "same"]


@dataclass(frozen=True)
class Relevance:
    """Where the explained logit went.

    Attributes:
        maps: float [B, 1, H, W]; with ``absorbed`` they sum to the explained logit.
        logits: float [B, classes].
        absorbed: float [B], what biases and the stabilizer kept.
    """

    maps: torch.Tensor
    logits: torch.Tensor
    absorbed: torch.Tensor


class LRP(Interpreter):
    """The explained logit, handed back layer by layer to what contributed to it, with its sign.

    The composite is EpsilonPlusFlat of Kohlbrenner et al. (2020, arXiv:1910.09840), by layer kind: the epsilon rule for
    linear layers, whose bias keeps its own share; z-plus for convolutions, which goes by the positive contributions
    and leaves out biases; flat, the same to each pixel of the field, for the first convolution. (z-B, which is usual
    there, holds for pixels within a box, and noisy copies leave it.) Average pooling goes with the layer before it, or
    by the positive inputs. Max pooling hands all to its maximum. An activation passes on what it gets.

    A batch norm behind a convolution is folded into it. One behind a concatenation, as in DenseNet, has one input an
    output, and passes on what it gets, as in zennit. Other rules lose relevance there: the shift of such a batch norm
    can be many times its output.

    So the map sums to the logit, less what :meth:`relevance` says was absorbed: with the default rules the last bias,
    and the relevance of outputs without any positive contribution. About three forward and backward passes. What has
    no rule (sums and products of features, attention, swish) is refused with the name of its layer.

    Args:
        convolution: rule of the convolutions; with "epsilon", ``first`` "same" and ``epsilon`` 0 the map of a network
            of ReLUs and max pools without biases is that of ``input_x_gradient``.
        first: rule of the first convolution; "same" is that of the others.
        epsilon: added to the size of each sum that is divided by, >= 0.

    Raises:
        ValueError: if an argument is none of these.
    """

    name: ClassVar[str] = "lrp"
    needs_hooks: ClassVar[bool] = True
    needs_float32: ClassVar[bool] = True

    def __init__(
        self, *, convolution: ConvolutionRule = "zplus", first: FirstRule = "flat", epsilon: float = 1e-6
    ) -> None:
        check_choice("convolution", convolution, get_args(ConvolutionRule))
        check_choice("first", first, get_args(FirstRule))
        check_not_negative(epsilon=epsilon)
        self.convolution, self.first, self.epsilon = convolution, first, epsilon

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`.

        Raises:
            InputRefused: also if a layer has no rule.
            ValueError: also if a part of the network is TorchScript.
        """
        found = self.relevance(network, inputs, target)
        return Attribution(maps=found.maps, logits=found.logits)

    def relevance(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Relevance:
        """The map, with what is not in it.

        Args:
            network: as for :meth:`attribute`.
            inputs: as there.
            target: as there.

        Raises:
            InputRefused: as there.
            ValueError: as there.
        """
        refuse_torchscript(network)
        inputs = inputs.detach().requires_grad_()
        rules = RelevanceRules(self._rule, images=len(inputs))
        with own_forwards(network), rules.watching(network):
            output = network(inputs.clone())
        logits = target_logits(output, target)
        # All rules are linear in the relevance: it may start at 1, and be multiplied by the logit at the end.
        shares = logit_gradient(logits, target, inputs).sum(dim=1, keepdim=True)
        logits = logits.detach()
        absorbed = torch.stack([logits.new_zeros(len(logits)), *rules.absorbed]).sum(dim=0)
        explained = logits[:, target]
        found = Relevance(explained[:, None, None, None] * shares, logits, explained * absorbed)
        _check_conserved(found, explained)
        return found

    def _rule(self, layer: LinearLayer, relevance: torch.Tensor) -> torch.Tensor:
        if layer.first and self.first == "flat":
            return flat(layer, relevance)
        if self.convolution == "epsilon" or layer.kind.startswith("linear"):
            return epsilon_rule(layer, relevance, self.epsilon)
        return zplus(layer, relevance, self.epsilon)


def _check_conserved(found: Relevance, explained: torch.Tensor) -> None:
    """Refuses relevance that code unseen by the rules made or lost; NaN is left to who counts the votes."""
    sums = found.maps.sum(dim=(1, 2, 3)) + found.absorbed
    terms = found.maps.abs().sum(dim=(1, 2, 3)) + found.absorbed.abs() + explained.abs()
    wrong = (sums - explained).abs() > TOLERANCE * terms
    if bool(wrong.any()):
        raise InputRefused(
            f"LRP's map and what its layers absorbed sum to {float(sums[wrong][0]):.3g}, and the explained logit is "
            f"{float(explained[wrong][0]):.3g}: the network computes by code of its own (a torch.autograd.Function, "
            "say) that has no rule. Use 'integrated_gradients', which needs no rules."
        )


def epsilon_rule(layer: LinearLayer, relevance: torch.Tensor, epsilon: float) -> torch.Tensor:
    """R_i = sum_j x_i w_ij R_j / z_j, z_j with the bias and further from 0 by epsilon."""
    with torch.enable_grad():
        inputs = layer.inputs.requires_grad_()
        outputs = layer.function(inputs, layer.weight, layer.bias)
    return inputs.detach() * _back(outputs, inputs, relevance, epsilon)


def zplus(layer: LinearLayer, relevance: torch.Tensor, epsilon: float) -> torch.Tensor:
    """R_i = sum_j (x_i w_ij)+ R_j / sum_i (x_i w_ij)+, without the bias."""
    parts = [(layer.inputs.clamp(min=0), None if layer.weight is None else layer.weight.clamp(min=0))]
    if layer.weight is not None and bool((layer.inputs < 0).any()):
        parts.append((layer.inputs.clamp(max=0), layer.weight.clamp(max=0)))
    with torch.enable_grad():
        leaves = [inputs.requires_grad_() for inputs, _ in parts]
        outputs = sum(layer.function(leaf, weight, None) for leaf, (_, weight) in zip(leaves, parts))
    assert isinstance(outputs, torch.Tensor)
    slopes = torch.autograd.grad(outputs, leaves, relevance / _stabilized(outputs.detach(), epsilon))
    return torch.stack([leaf.detach() * slope for leaf, slope in zip(leaves, slopes)]).sum(dim=0)


def flat(layer: LinearLayer, relevance: torch.Tensor) -> torch.Tensor:
    """R_i = sum_j R_j / n_j over the n_j inputs of each output."""
    weight = None if layer.weight is None else torch.ones_like(layer.weight)
    with torch.enable_grad():
        inputs = torch.ones_like(layer.inputs).requires_grad_()
        outputs = layer.function(inputs, weight, None)
    return _back(outputs, inputs, relevance, 0.0)


def _back(outputs: torch.Tensor, inputs: torch.Tensor, relevance: torch.Tensor, epsilon: float) -> torch.Tensor:
    (slope,) = torch.autograd.grad(outputs, inputs, relevance / _stabilized(outputs.detach(), epsilon))
    return slope


def _stabilized(sums: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The sums further from 0 by epsilon; where one is 0 no input has a share, and any divisor will do."""
    moved = sums + epsilon * sums.sign()
    return torch.where(sums == 0, 1.0, moved)
