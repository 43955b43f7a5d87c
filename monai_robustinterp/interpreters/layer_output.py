"""A layer's output with the logits of the same forward pass, for the interpreters that weight its channels."""

from __future__ import annotations

import torch
from torch import nn

from monai_robustinterp.interpreters.context.hooks import find_layer, recorded_output
from monai_robustinterp.interpreters.passes import target_logits


def layer_output(
    network: nn.Module, inputs: torch.Tensor, target: int, *, target_layer: str | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs the network once.

    Args:
        network: in the state of :func:`~monai_robustinterp.interpreters.context.network_state.explaining`.
        inputs: float [B, C, H, W]; the results carry the graph down to them where they require gradients.
        target: index of the explained logit.
        target_layer: dotted name of a layer with output [B, K, h, w].

    Returns:
        That output, and the logits [B, classes].

    Raises:
        ValueError: if there is no such layer or it has no such output of several positions, if the network's output is
            not [B, classes], or if the target is none of them.
    """
    with recorded_output(find_layer(network, target_layer)) as outputs:
        # A clone: a network that works in place would overwrite the caller's batch.
        logits = target_logits(network(inputs.clone()), target)
    if not outputs:
        raise ValueError(
            f"the forward pass does not go through layer {target_layer!r}, so it has no output to explain with: choose "
            "a layer that the network's forward calls."
        )
    output = outputs[-1]
    if output.ndim != 4 or len(output) != len(inputs):
        raise ValueError(
            f"layer {target_layer!r} returned shape {tuple(output.shape)} for a batch of {len(inputs)}; class "
            "activation maps need [B, K, h, w]: choose a layer before the pooling."
        )
    if output.shape[2:].numel() == 1 < inputs.shape[2:].numel():
        raise ValueError(
            f"layer {target_layer!r} returned shape {tuple(output.shape)}, one position, which makes no map: choose a "
            "layer before the pooling."
        )
    return output, logits


def positive_map(activation: torch.Tensor, weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """ReLU of the channels' weighted sum, bilinear at the inputs' size: float [B, 1, H, W].

    Args:
        activation: float [B, K, h, w], detached.
        weights: of the channels, float [B, K, 1, 1].
        inputs: float [B, C, H, W].
    """
    cam = torch.relu((weights * activation).sum(dim=1, keepdim=True))
    return nn.functional.interpolate(cam, size=inputs.shape[-2:], mode="bilinear", align_corners=False)
