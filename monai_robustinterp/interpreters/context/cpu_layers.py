"""Layers that torch computes slowly on a CPU: the same values and gradients within round-off, in less time.

How much less is in docs/performance.md. Both hold for networks in eval mode whose parameters need no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import conv2d, pad
from torch.nn.modules.batchnorm import _BatchNorm

# With more input channels oneDNN's gradient is as fast as its forward pass.
_FEW_CHANNELS = 3

Pair = tuple[int, int]


def faster_forward(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """A faster forward of a layer; None for all but torch's own layers on a CPU that nobody has patched.

    It is of a batch norm of fixed statistics, or of a convolution that reads few channels: the first one of a network,
    whose gradient with respect to the image takes oneDNN longer than all that the convolution does otherwise.
    """
    if "forward" in vars(module):
        return None
    if isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward:
        return _affine(module) if module.running_var is not None and module.running_var.is_cpu else None
    if isinstance(module, nn.Conv2d) and _reads_few_channels(module):
        return _few_channels(module)
    return None


def is_faster(forward: object) -> bool:
    """Whether a layer's forward is one of :func:`faster_forward`."""
    return getattr(forward, "__module__", None) == __name__


def _affine(norm: _BatchNorm) -> Callable[[torch.Tensor], torch.Tensor]:
    """The batch norm as one multiplication and addition, rounded as torch rounds it."""
    mean, variance = cast(torch.Tensor, norm.running_mean), cast(torch.Tensor, norm.running_var)
    scale = 1 / torch.sqrt(variance + norm.eps)
    shift = torch.zeros_like(mean)
    if norm.affine:
        scale, shift = scale * norm.weight.detach(), norm.bias.detach()
    shift = torch.addcmul(shift, -mean, scale)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        ones = [1] * (inputs.ndim - 2)
        # Where the network lowers its precision by itself, a batch norm keeps it.
        return torch.addcmul(shift.view(-1, *ones), inputs, scale.view(-1, *ones)).to(inputs.dtype)

    return forward


def _reads_few_channels(layer: nn.Conv2d) -> bool:
    return (
        type(layer).forward is nn.Conv2d.forward
        and type(layer)._conv_forward is nn.Conv2d._conv_forward
        and layer.in_channels <= _FEW_CHANNELS
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and layer.weight.is_cpu
    )


def _few_channels(layer: nn.Conv2d) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        if inputs.ndim != 4:
            return nn.Conv2d.forward(layer, inputs)
        # Read at each call: a layer may compute its weight.
        arguments = inputs, layer.weight, layer.bias, layer.stride, layer.padding
        return cast(torch.Tensor, _FewChannels.apply(*arguments))  # type: ignore[no-untyped-call]

    return forward


class _FewChannels(torch.autograd.Function):
    """A convolution with the gradient of :func:`input_gradient`; weight and bias get none."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs: torch.Tensor, weight: torch.Tensor, bias: Any, stride: Pair, padding: Pair) -> torch.Tensor:
        return conv2d(inputs, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        image, weight, _, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(weight)
        ctx.size = image.shape[-2:]

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        # Where the network lowers its precision by itself, its slopes are of that precision.
        slope = slopes[0].to(weight.dtype)
        return input_gradient(slope, weight, ctx.size, ctx.stride, ctx.padding), None, None, None, None


def input_gradient(
    slope: torch.Tensor, weight: torch.Tensor, size: Sequence[int], stride: Pair, padding: Pair
) -> torch.Tensor:
    """The gradient of a convolution with respect to what it reads.

    Column s q + b of the padded input is read by the outputs q - u through column s u + b of the kernel: for each row
    of the kernel, the gradients of all columns are one convolution of the slope with s output channels. The rows are
    then added where they belong.

    Args:
        slope: gradient with respect to the output, [B, K, h, w].
        weight: [K, C, kh, kw].
        size: H and W of the input.
        stride: of rows and of columns.
        padding: with zeros, of rows and of columns.

    Returns:
        The gradient, [B, C, H, W].
    """
    (batch, kernels, height, width), (_, channels, rows, columns) = slope.shape, weight.shape
    taps = -(-columns // stride[1])
    across = width + taps - 1
    by_phase = pad(weight, (0, taps * stride[1] - columns)).reshape(kernels, channels, rows, taps, stride[1]).flip(3)
    flat = by_phase.permute(2, 4, 1, 0, 3).reshape(-1, kernels, 1, taps).contiguous(memory_format=torch.channels_last)
    parts = conv2d(slope, flat, padding=(0, taps - 1))
    parts = parts.permute(0, 2, 3, 1).reshape(batch, height, across, rows, stride[1] * channels)
    total = slope.new_zeros(batch, stride[0] * (height - 1) + rows, across, stride[1] * channels)
    for row in range(rows):
        total[:, row : row + stride[0] * height : stride[0]] += parts[:, :, :, row]
    padded = total.reshape(batch, -1, across * stride[1], channels).permute(0, 3, 1, 2)
    bottom, right = (side + p - found for side, p, found in zip(size, padding, padded.shape[-2:]))
    # What the kernels never reach has no gradient; what they reach beyond the image is cut off.
    return pad(padded, (-padding[1], right, -padding[0], bottom))
