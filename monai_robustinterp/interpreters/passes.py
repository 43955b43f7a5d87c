"""One pass through a network: its logits, checked, and the gradient of the explained one."""

from __future__ import annotations

import torch
from torch import nn

from monai_robustinterp.interpreters.registry import without_gradient


def target_logits(logits: object, target: int) -> torch.Tensor:
    """Checks a network's output and returns it.

    Args:
        logits: the network's output.
        target: index of the explained logit.

    Raises:
        ValueError: if the output is no [B, classes] tensor, or the target is out of range.
    """
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(
            f"the network returned {found}; an interpreter needs logits of shape [batch, classes]. Wrap the network in "
            "a module whose forward returns its logits only."
        )
    if not 0 <= target < logits.shape[1]:
        raise ValueError(
            f"target is {target} and the network has {logits.shape[1]} logits: choose 0 to {logits.shape[1] - 1}."
        )
    return logits


def check_gradient(logits: torch.Tensor) -> None:
    """Refuses logits that let no gradient through.

    Raises:
        ValueError: with the interpreters that need none.
    """
    if not logits.requires_grad:
        raise ValueError(
            "the network's logits have no gradient with respect to its input, which this interpreter needs. Use one of "
            f"those that need none, {without_gradient()}. Or remove no_grad and detach from the network's forward; of "
            "a TorchScript module take the file from before torch.jit.optimize_for_inference."
        )


def logit_gradient(logits: torch.Tensor, target: int, source: torch.Tensor) -> torch.Tensor:
    """Gradient of each copy's target logit with respect to its own part of ``source``.

    Args:
        logits: float [B, classes]; copies do not depend on each other.
        target: index of the explained logit.
        source: the input, or a layer's output, [B, ...]; the gradient has its shape.

    Raises:
        ValueError: if the network let no gradient through.
    """
    check_gradient(logits)
    (gradient,) = torch.autograd.grad(logits[:, target].sum(), source, allow_unused=True)
    if gradient is None:
        raise ValueError(
            "the explained logit does not depend on the layer that was chosen, or on the input: choose a layer that "
            "the logits come from."
        )
    return gradient


def input_gradient(network: nn.Module, inputs: torch.Tensor, target: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of each copy's target logit with respect to its input, and the logits, by one pass.

    Args:
        network: as for :meth:`~monai_robustinterp.interpreters.base.Interpreter.attribute`.
        inputs: as there.
        target: as there.

    Returns:
        Float [B, C, H, W] and [B, classes], detached.

    Raises:
        ValueError: as there.
    """
    inputs = inputs.detach().requires_grad_()
    # A clone: a network that works in place may not overwrite a leaf.
    logits = target_logits(network(inputs.clone()), target)
    return logit_gradient(logits, target, inputs), logits.detach()
