"""A layer's output with the logits of the same forward pass, for the interpreters that weight its channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from monai_robustinterp.interpreters.context.hooks import find_layer, recorded_output
from monai_robustinterp.interpreters.passes import logit_gradients, target_logits
from monai_robustinterp.interpreters.spatial import Reshape, as_channels, chosen_layer


def layer_output(
    network: nn.Module, inputs: torch.Tensor, target: int, *, target_layer: str, reshape: Reshape = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs the network once.

    Args:
        network: in the state of :func:`~monai_robustinterp.interpreters.context.network_state.explaining`.
        inputs: float [B, C, H, W]; the results carry the graph down to them where they require gradients.
        target: index of the explained logit.
        target_layer: dotted name of a layer with output [B, K, h, w].
        reshape: makes that of another output.

    Returns:
        The layer's output, before ``reshape``, and the logits [B, classes].

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
    channels = as_channels(output, reshape, size=inputs.shape[-2:])
    if channels.ndim != 4 or len(channels) != len(inputs):
        raise ValueError(
            f"layer {target_layer!r} returned shape {tuple(output.shape)} for a batch of {len(inputs)}; class "
            "activation maps need [B, K, h, w]: choose a layer before the pooling, or of a transformer's tokens pass "
            "a reshape."
        )
    if channels.shape[2:].numel() == 1 < inputs.shape[2:].numel():
        raise ValueError(
            f"layer {target_layer!r} returned shape {tuple(output.shape)}, one position, which makes no map: choose a "
            "layer before the pooling."
        )
    return output, logits


def layer_gradients(
    network: nn.Module, inputs: torch.Tensor, targets: Sequence[int], *, target_layer: str | None, reshape: Reshape
) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """A layer's channels, the gradients of each copy's target logits with respect to them, and the logits, detached.

    Args:
        network: as for :func:`layer_output`.
        inputs: as there.
        targets: indices of the explained logits.
        target_layer: as there; None finds :func:`~monai_robustinterp.interpreters.spatial.last_spatial_layer` of the
            first target.
        reshape: as there.

    Returns:
        Float [B, K, h, w], as much a target, and [B, classes].

    Raises:
        ValueError: as there, and if the network let no gradient through.
    """
    layer = chosen_layer(network, inputs, targets[0], target_layer=target_layer, reshape=reshape)
    images = inputs.detach().requires_grad_()
    output, logits = layer_output(network, images, targets[0], target_layer=layer, reshape=reshape)
    gradients = logit_gradients(logits, targets, output)
    channels, *slopes = (as_channels(one, reshape, size=inputs.shape[-2:]) for one in (output.detach(), *gradients))
    return channels, slopes, logits.detach()


def positive_map(activation: torch.Tensor, weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """ReLU of the channels' weighted sum, bilinear at the inputs' size: float [B, 1, H, W].

    Args:
        activation: float [B, K, h, w], detached.
        weights: of the channels, float [B, K, 1, 1].
        inputs: float [B, C, H, W].
    """
    cam = torch.relu((weights * activation).sum(dim=1, keepdim=True))
    return nn.functional.interpolate(cam, size=inputs.shape[-2:], mode="bilinear", align_corners=False)
