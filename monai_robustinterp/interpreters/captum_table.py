"""Which of Captum's attributions are run, how, and what their maps must agree with; and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from monai_robustinterp.interpreters.base import ROWS
from monai_robustinterp.interpreters.context.activation_rules import ActivationRules
from monai_robustinterp.interpreters.deep_lift import DeepLift
from monai_robustinterp.interpreters.guided_backprop import GuidedBackprop
from monai_robustinterp.interpreters.lrp import LRP
from monai_robustinterp.interpreters.passes import logit_gradient, target_logits

Oracle = Callable[[nn.Module, torch.Tensor, int, Mapping[str, Any]], torch.Tensor]
"""Network, inputs, target and settings -> what the map is by the method's rule, [B, 1, H, W]."""


@dataclass(frozen=True)
class Method:
    """How one of Captum's attributions is run.

    Attributes:
        gradient: whether it differentiates the network.
        draws: whether it draws random numbers: each copy alone, from the seed.
        required: settings that must be given.
        excluded: settings that it does not take here, because the oracle does not.
        defaults: settings that are not Captum's own defaults.
        oracle: of a method that sets hooks, which are wrong for some networks; None where there are none.
    """

    gradient: bool = False
    draws: bool = False
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()
    oracle: Oracle | None = None


def _deep_lift(network: nn.Module, inputs: torch.Tensor, target: int, settings: Mapping[str, Any]) -> torch.Tensor:
    return DeepLift(baseline=float(settings.get("baselines", 0.0))).attribute(network, inputs, target).maps


def _guided(network: nn.Module, inputs: torch.Tensor, target: int, _: Mapping[str, Any]) -> torch.Tensor:
    return GuidedBackprop().attribute(network, inputs, target).maps


def _deconvolution(network: nn.Module, inputs: torch.Tensor, target: int, _: Mapping[str, Any]) -> torch.Tensor:
    inputs = inputs.detach().requires_grad_()
    with ActivationRules({"relu": lambda _relu, _inputs, gradient: gradient.clamp(min=0)}):
        logits = target_logits(network(inputs.clone()), target)
    return logit_gradient(logits, target, inputs).abs().sum(dim=1, keepdim=True)


def _lrp(network: nn.Module, inputs: torch.Tensor, target: int, _: Mapping[str, Any]) -> torch.Tensor:
    return LRP(convolution="epsilon", first="same", epsilon=1e-9).attribute(network, inputs, target).maps


_FEATURES = ("feature_mask",)
METHODS = {
    "Saliency": Method(gradient=True),
    "InputXGradient": Method(gradient=True),
    "IntegratedGradients": Method(gradient=True, defaults=(("internal_batch_size", ROWS),)),
    "GradientShap": Method(gradient=True, draws=True, defaults=(("baselines", 0.0),)),
    "NoiseTunnel": Method(
        gradient=True, draws=True, required=("attribution_method",), defaults=(("nt_samples_batch_size", ROWS),)
    ),
    "Occlusion": Method(required=("sliding_window_shapes",)),
    "FeatureAblation": Method(required=_FEATURES),
    "ShapleyValueSampling": Method(draws=True, required=_FEATURES),
    "ShapleyValues": Method(required=_FEATURES),
    "KernelShap": Method(draws=True, required=_FEATURES),
    "Lime": Method(draws=True, required=_FEATURES),
    "DeepLift": Method(gradient=True, excluded=("multiply_by_inputs", "eps"), oracle=_deep_lift),
    "GuidedBackprop": Method(gradient=True, oracle=_guided),
    "Deconvolution": Method(gradient=True, oracle=_deconvolution),
    "LRP": Method(gradient=True, oracle=_lrp),
}
"""Captum's attributions of images that can be run."""

TUNNELED = ("Saliency", "InputXGradient", "IntegratedGradients")
"""Methods whose inputs NoiseTunnel may add noise to."""

OF_MAGNITUDES = ("GuidedBackprop", "Deconvolution")
"""Methods whose oracle has no signs."""

REFUSED = {
    "FeaturePermutation": "it swaps features between the images of a batch, and a map must depend on its copy alone",
    "DeepLiftShap": "it has the hooks of DeepLift, and no rule to compare its mean with. Use 'gradient_shap'",
    "GuidedGradCam": "it multiplies a map of a layer with GuidedBackprop's. Use 'grad_cam', or 'captum:GuidedBackprop'",
}
"""Captum's attributions of images that are not run, and why."""

OURS = {
    "DeepLift": "'deep_lift'",
    "GuidedBackprop": "'guided_backprop'",
    "Deconvolution": "'guided_backprop', or modules (nn.ReLU) in the network",
    "LRP": "'lrp'",
}
"""What to use where a method with an oracle is wrong."""

MISSING = {
    "attribution_method": f"it adds noise for another method. Give attribution_method, one of {list(TUNNELED)}.",
    "sliding_window_shapes": "it needs the [channels, rows, columns] of the occluding box. Give sliding_window_shapes, "
    "such as [1, 32, 32], and strides, whose default is 1 pixel and a pass each.",
    "feature_mask": "it would take each pixel for a feature, a pass or more each. Give feature_mask: the side of "
    "squares in pixels, such as 32, or the index of each pixel's feature, as a list of lists.",
}
"""Why a setting must be given."""
