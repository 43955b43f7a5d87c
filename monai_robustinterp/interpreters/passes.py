"""One pass through a network: its logits, checked, and the gradient of the explained one."""

from __future__ import annotations

from collections.abc import Sequence

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


def logit_gradients(logits: torch.Tensor, targets: Sequence[int], source: torch.Tensor) -> list[torch.Tensor]:
    """Gradient of each copy's target logits with respect to its own part of ``source``, a backward pass a target.

    Args:
        logits: float [B, classes]; copies do not depend on each other.
        targets: indices of the explained logits.
        source: the input, or a layer's output, [B, ...]; the gradients have its shape.

    Raises:
        ValueError: if a target is out of range, or the network let no gradient through.
    """
    check_gradient(logits)
    gradients: list[torch.Tensor] = []
    for target in targets:
        explained = target_logits(logits, target)[:, target].sum()
        (gradient,) = torch.autograd.grad(
            explained, source, allow_unused=True, retain_graph=len(gradients) < len(targets) - 1
        )
        if gradient is None:
            raise ValueError(
                "the explained logit does not depend on the layer that was chosen, or on the input: choose a layer "
                "that the logits come from."
            )
        gradients.append(gradient)
    return gradients


def logit_gradient(logits: torch.Tensor, target: int, source: torch.Tensor) -> torch.Tensor:
    """:func:`logit_gradients` of one target."""
    return logit_gradients(logits, [target], source)[0]


def input_gradient(network: nn.Module, inputs: torch.Tensor, target: int) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`input_gradients` of one target.

    Args:
        network: as for :meth:`~monai_robustinterp.interpreters.base.Interpreter.attribute`.
        inputs: as there.
        target: as there.

    Returns:
        Float [B, C, H, W] and [B, classes], detached.

    Raises:
        ValueError: as there.
    """
    (gradient,), logits = input_gradients(network, inputs, [target])
    return gradient, logits


def input_gradients(
    network: nn.Module, inputs: torch.Tensor, targets: Sequence[int]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Gradient of each copy's target logits with respect to its input, and the logits, by one forward pass.

    Args:
        network: as for :meth:`~monai_robustinterp.interpreters.base.Interpreter.attribute`.
        inputs: as there.
        targets: as for :meth:`~monai_robustinterp.interpreters.base.Interpreter.attribute_each`.

    Returns:
        Float [B, C, H, W] a target, and [B, classes], detached.

    Raises:
        ValueError: as there.
    """
    inputs = inputs.detach().requires_grad_()
    # A clone: a network that works in place may not overwrite a leaf.
    logits = target_logits(network(inputs.clone()), targets[0])
    return logit_gradients(logits, targets, inputs), logits.detach()
