"""Interpretation of denoised copies, and which gradients that can be (docs/theory/shape.md, T21)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import nn

from monai_robustinterp.interpreters import Interpreter
from monai_robustinterp.interpreters.base import Attribution, attribute_copies
from monai_robustinterp.networks.denoised import Denoised, Denoiser

DenoiserGradient = Literal["at", "through"]
"""Of the network at the denoised copy, or of both together at the copy."""


def attribute_denoised(
    interpreter: Interpreter,
    network: nn.Module,
    copies: torch.Tensor,
    targets: Sequence[int],
    *,
    denoise: Callable[[torch.Tensor], torch.Tensor],
    gradient: DenoiserGradient,
) -> Attribution:
    """Interprets noisy copies after a denoiser, one by one where round-off would grow.

    Args:
        interpreter: the method.
        network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.
        copies: float [B, 1, H, W].
        targets: indices of the explained logits.
        denoise: of images [B, 1, H, W].
        gradient: which one.
    """
    if gradient == "through":
        return attribute_copies(interpreter, Denoised(network, denoise), copies, targets)
    with torch.no_grad():
        parts = torch.split(copies, 1 if interpreter.amplifies_round_off else len(copies))
        denoised = torch.cat([denoise(part) for part in parts])
    return attribute_copies(interpreter, network, denoised, targets)


def check_denoiser(
    denoiser: Denoiser | None, gradient: DenoiserGradient, interpreter: Interpreter, *, sigma: float
) -> None:
    """Refuses settings that go with no denoiser, with another one, or with another interpreter.

    Args:
        denoiser: of the copies; None for none.
        gradient: which one.
        interpreter: the method.
        sigma: standard deviation of the noise.

    Raises:
        ValueError: if they do not go together.
    """
    if gradient not in get_args(DenoiserGradient):
        raise ValueError(f"denoiser_gradient is {gradient!r}; it must be 'at' or 'through'.")
    if denoiser is not None:
        denoiser.check_sigma(sigma)
    if gradient == "at":
        return
    if denoiser is None:
        raise ValueError("denoiser_gradient is 'through', and there is no denoiser: give one, or leave it 'at'.")
    if interpreter.needs_hooks or not interpreter.needs_gradient:
        raise ValueError(
            f"denoiser_gradient is 'through', and {interpreter.name!r} takes no gradient with respect to the image, or "
            "looks into layers by their names: leave it 'at'."
        )
