"""The smooth masks of extremal perturbations (Fong, Patrick & Vedaldi, ICCV 2019, section 3.2)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

_COLDNESS = 20.0


class SmoothMaximum:
    """Soft maximum over a grid's values, each fading with distance: smooth masks that can still be sharply 0 or 1.

    m(u) = sum_j a_j e^(20 a_j) / sum_j e^(20 a_j) with a_j = v_j exp(-2 max(|u - u_j| / sigma - 1/2, 0)^2), over the
    grid points j around pixel u. It is evaluated beyond the image too, by a margin.

    Args:
        step: distance of the grid's points in pixels; each is at the center of its square.
        sigma: in pixels; the points are those up to sigma, rounded up to steps, and one step more.
        device: where it works.

    Attributes:
        margin: pixels by which the result is larger than the grid on each side: sigma, rounded up to steps.
    """

    def __init__(self, step: int, sigma: float, *, device: torch.device) -> None:
        reach = math.ceil(sigma / step)
        self.step, self.margin, self.radius = step, reach * step, reach + 1
        within = torch.arange(step) - (step - 1) / 2
        points = step * torch.arange(-self.radius, self.radius + 1)
        squares = (within[None, :] - points[:, None]).square()
        distance = (squares[:, None, :, None] + squares[None, :, None, :]).sqrt() / sigma
        weights = torch.exp(-2 * (distance - 0.5).clamp(min=0).square())
        self.weights = weights.flatten(2)[..., None, None, None].to(device)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """The mask of values in [0, 1].

        Args:
            values: float [B, 1, h, w].

        Returns:
            float [B, 1, h step + 2 margin, w step + 2 margin].
        """
        padding = self.radius + self.margin // self.step
        padded = nn.functional.pad(values[:, 0], (padding,) * 4)
        apply: Any = _Pool.apply
        pooled: torch.Tensor = apply(padded, self.weights)
        return nn.functional.pixel_shuffle(pooled.transpose(0, 1), self.step)


class _Pool(torch.autograd.Function):
    """The sums, one row of the window at a time: all at once would take about a hundred images of memory a copy.

    Weights are [window, window, step^2, 1, 1, 1]: of a grid point's row and column in the window, at each pixel of a
    square. The result is [step^2, B, rows, columns].
    """

    @staticmethod
    def forward(ctx: Any, padded: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        total = normalizer = torch.zeros((), device=padded.device)
        for near, weight in zip(_window_rows(padded, len(weights)), weights):
            near = near * weight
            # Without the usual subtraction of the maximum: near <= 1, and e^20 is far from overflow.
            mass = (_COLDNESS * near).exp_()
            normalizer = normalizer + mass.sum(dim=0)
            total = total + near.mul_(mass).sum(dim=0)
        maximum = total / normalizer
        ctx.save_for_backward(padded, weights, maximum, normalizer)
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        padded, weights, maximum, normalizer = ctx.saved_tensors
        scaled = gradient / normalizer
        result = torch.zeros_like(padded)
        targets = _window_rows(result, len(weights))
        for near, weight, target in zip(_window_rows(padded, len(weights)), weights, targets):
            near = near * weight
            mass = (_COLDNESS * near).exp_()
            slopes = near.sub_(maximum).mul_(_COLDNESS).add_(1).mul_(mass).mul_(scaled).mul_(weight).sum(dim=1)
            for part, slope in zip(target[:, 0], slopes):
                part += slope
        return result, None


def _window_rows(padded: torch.Tensor, window: int) -> list[torch.Tensor]:
    """Views of values [B, h, w]: for each row of the window, of all its columns: [window, 1, B, rows, columns]."""
    rows, columns = (length - window + 1 for length in padded.shape[1:])
    shifted = padded.unfold(2, columns, 1).permute(2, 0, 1, 3)[:, None]
    return [shifted[..., first : first + rows, :] for first in range(window)]
