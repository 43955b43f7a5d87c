"""Layers with a spatial output: found by a forward pass, and tokens of transformers laid out as channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from monai_robustinterp.interpreters.context.hooks import LayerNotFoundError, recorded_outputs, refuse_torchscript
from monai_robustinterp.interpreters.passes import target_logits

Reshape = Literal["tokens"] | Callable[[torch.Tensor], torch.Tensor] | None
"""What makes [B, K, h, w] of a layer's output: "tokens" of [B, tokens, K], a function of anything, None nothing."""


def check_reshape(reshape: object) -> None:
    """Refuses what lays out nothing.

    Raises:
        ValueError: with what was found.
    """
    if reshape is not None and reshape != "tokens" and not callable(reshape):
        raise ValueError(f"reshape is {reshape!r}; it must be None, 'tokens', or in Python a function.")


def as_channels(output: torch.Tensor, reshape: Reshape, *, size: torch.Size) -> torch.Tensor:
    """A layer's output, or a gradient with respect to it, as [B, K, h, w].

    Args:
        output: as the layer returns it.
        reshape: copies and drops values, and changes none.
        size: of the images, H and W.

    Raises:
        ValueError: if these are no tokens of a grid of the images' shape.
    """
    if reshape is None:
        return output
    return _token_grid(output, size) if reshape == "tokens" else reshape(output)


def _token_grid(output: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Tokens [B, N, K], row by row, as [B, K, h, w] with h : w = H : W; a first one that is left over is dropped."""
    height, width = size
    for class_tokens in (0, 1) if output.ndim == 3 else ():
        tokens = max(0, output.shape[1] - class_tokens)
        rows = math.isqrt(tokens * height // width)
        if rows > 0 and tokens % rows == 0 and rows * width == tokens // rows * height:
            return output[:, class_tokens:].transpose(1, 2).reshape(len(output), -1, rows, tokens // rows)
    raise ValueError(
        f"reshape is 'tokens' and the layer returned shape {tuple(output.shape)}: it must be [B, tokens, channels] "
        f"with as many tokens as a grid of the shape of the image, {height} x {width}, or one more, a class token. "
        "Name another layer, or give a function in Python that makes [B, channels, rows, columns] of it."
    )


def chosen_layer(
    network: nn.Module, inputs: torch.Tensor, target: int, *, target_layer: str | None, reshape: Reshape = None
) -> str:
    """The named layer, or where none is named :func:`last_spatial_layer`, whose arguments the others are."""
    return last_spatial_layer(network, inputs, target, reshape=reshape) if target_layer is None else target_layer


def last_spatial_layer(network: nn.Module, inputs: torch.Tensor, target: int, *, reshape: Reshape = None) -> str:
    """The last layer with an output [B, K, h, w] of several positions on which the logit depends.

    Class tokens make layers behind the last attention no such layers: the logit depends on one token of them. The pass
    is that of one fixed image of noise, so that the layer is one of the network and the images' shape, whatever they
    show. Where the network lets no gradient through, all layers count.

    Args:
        network: in the state of :func:`~monai_robustinterp.interpreters.context.network_state.explaining`.
        inputs: float [B, C, H, W].
        target: index of the explained logit.
        reshape: of outputs that are laid out otherwise; those that it cannot lay out, and with "tokens" those of
            another width than the last one, do not count.

    Returns:
        Its dotted name; of layers with one output the outermost.

    Raises:
        ValueError: if there is none, or the network has tokens and ``reshape`` is None.
    """
    noise = torch.rand(1, *inputs.shape[1:], generator=torch.Generator().manual_seed(0)).to(inputs).requires_grad_()
    with recorded_outputs(network) as outputs:
        logits = target_logits(network(noise.clone()), target)
    if reshape is None and any(output.ndim == 3 and output.shape[1] > 1 for _, output in outputs):
        raise LayerNotFoundError(
            "the network has layers that return [B, tokens, channels], as transformers do: pass reshape='tokens' (or "
            "in Python a function that makes [B, channels, rows, columns] of them), or name a target_layer."
        )
    spatial = [(name, output) for name, output in outputs if _is_spatial(output, reshape, noise)]
    if reshape == "tokens":
        spatial = [(name, output) for name, output in spatial if output.shape[2] == spatial[-1][1].shape[2]]
    if logits.requires_grad and spatial:
        explained = logits[0, target]
        slopes = torch.autograd.grad(explained, [output for _, output in spatial], allow_unused=True)
        spatial = [found for found, slope in zip(spatial, slopes) if _several(slope, reshape, noise)]
    if not spatial:
        refuse_torchscript(network)
        raise LayerNotFoundError(
            "the network has no layer with an output [B, channels, rows, columns] of several positions on which the "
            "explained logit depends, so no class activation map can be made of it: use 'gradient' or 'rise'."
        )
    return spatial[-1][0]


def _is_spatial(output: torch.Tensor, reshape: Reshape, image: torch.Tensor) -> bool:
    try:
        channels = as_channels(output, reshape, size=image.shape[-2:])
    except Exception:
        return False
    return channels.ndim == 4 and len(channels) == 1 and channels.shape[2:].numel() > 1


def _several(slope: torch.Tensor | None, reshape: Reshape, image: torch.Tensor) -> bool:
    if slope is None:
        return False
    return int((as_channels(slope, reshape, size=image.shape[-2:]) != 0).any(dim=1).sum()) > 1
