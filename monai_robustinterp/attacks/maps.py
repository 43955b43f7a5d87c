"""Interpretations that can be differentiated with respect to the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from monai_robustinterp.attacks.surrogate import SoftplusCurvature
from monai_robustinterp.interpreters import GradCAM, Gradient, Interpreter
from monai_robustinterp.interpreters.context.hooks import find_layer, recorded_output
from monai_robustinterp.interpreters.passes import target_logits
from monai_robustinterp.interpreters.spatial import as_channels, chosen_layer
from monai_robustinterp.smoothing.voting import pool_cells


@dataclass(frozen=True)
class CellMap:
    """The pooled map of one explained logit as a function that autograd can go through.

    The interpreters themselves detach their maps. Values are theirs; the derivative is that of
    :class:`~monai_robustinterp.attacks.surrogate.SoftplusCurvature`.

    Attributes:
        network: in the state of :func:`~monai_robustinterp.interpreters.context.network_state.explaining`.
        interpreter: ``gradient`` or ``grad_cam``.
        target: index of the explained logit.
        cell_size: side of a cell in pixels.
        denoise: of inputs [B, 1, H, W], before the network; gradients are taken at its output. None leaves them.

    Raises:
        ValueError: if the interpreter cannot be attacked, or the network is TorchScript.
    """

    network: nn.Module
    interpreter: Interpreter
    target: int
    cell_size: int
    denoise: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __post_init__(self) -> None:
        # A subclass may compute another map, so the class itself counts.
        if type(self.interpreter) not in (Gradient, GradCAM):
            raise ValueError(
                f"the interpreter is {self.interpreter.name!r}; only 'gradient' and 'grad_cam' have a differentiable "
                "form here and can be attacked. Certify with one of them to attack it."
            )
        if any(isinstance(module, torch.jit.ScriptModule) for module in self.network.modules()):
            raise ValueError(
                "the network is, or holds, a TorchScript module, whose ReLUs cannot be given a second derivative. "
                "Attack the network as Python code."
            )

    def __call__(self, inputs: torch.Tensor, *, differentiable: bool) -> torch.Tensor:
        """Cell values [B, c] of inputs [B, 1, H, W].

        Args:
            inputs: requires grad, if ``differentiable``.
            differentiable: whether the values carry the graph down to ``inputs``.
        """
        if not differentiable:
            with torch.no_grad():
                seen = self._seen(inputs)
            attribution = self.interpreter.attribute(self.network, seen, self.target)
            return pool_cells(attribution.maps, self.cell_size).flatten(1)
        with SoftplusCurvature():
            seen = self._seen(inputs)
            maps = self._grad_cam(seen) if isinstance(self.interpreter, GradCAM) else self._gradient(seen)
        return pool_cells(maps, self.cell_size).flatten(1)

    def _seen(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the network gets."""
        return inputs if self.denoise is None else self.denoise(inputs)

    def _gradient(self, inputs: torch.Tensor) -> torch.Tensor:
        logits = target_logits(self.network(inputs), self.target)
        (gradient,) = torch.autograd.grad(logits[:, self.target].sum(), inputs, create_graph=True)
        return gradient.abs().sum(dim=1, keepdim=True)

    def _grad_cam(self, inputs: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.interpreter, GradCAM)
        named, reshape = self.interpreter.target_layer, self.interpreter.reshape
        layer = chosen_layer(self.network, inputs, self.target, target_layer=named, reshape=reshape)
        with recorded_output(find_layer(self.network, layer)) as outputs:
            logits = target_logits(self.network(inputs), self.target)
        (slope,) = torch.autograd.grad(logits[:, self.target].sum(), outputs[-1], create_graph=True)
        activation, gradient = (as_channels(one, reshape, size=inputs.shape[-2:]) for one in (outputs[-1], slope))
        weighted = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1, keepdim=True)
        return nn.functional.interpolate(
            weighted.clamp_min(0), size=inputs.shape[-2:], mode="bilinear", align_corners=False
        )
