"""A network on the line x + theta * direction: one affine piece a region of theta, and its constant gradient maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from monai_robustinterp.attention.dual import Dual, Pass
from monai_robustinterp.attention.switches import Choice, Forced, options
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.context.network_state import plain_copy

_MOST_PATTERNS = 16
"""That are looked at, for one boundary."""
_AGREE = 1e-9
"""Relative difference that logits carried through the calls may have from the network's own."""


@dataclass(frozen=True)
class Piece:
    """One region of theta, in which no switch changes.

    Attributes:
        theta: where it was evaluated.
        low: its lower end.
        high: its upper end.
        logits: at ``theta``, float64 [classes].
        slopes: derivatives of the logits by theta, [classes].
        maps: gradient of each label's logit with respect to the image, [labels, 1, H, W].
        close: for each end (low, high) the patterns that round-off could hide there: several switches within the
            round-off of one theta. Empty where one switch is there alone, None if they are too many to look at.
        doubt: for each end the length of theta before it, within which the next region may have begun.
    """

    theta: float
    low: float
    high: float
    logits: torch.Tensor
    slopes: torch.Tensor
    maps: torch.Tensor
    close: tuple[Sequence[Forced] | None, Sequence[Forced] | None]
    doubt: tuple[float, float]

    def logits_at(self, theta: float) -> torch.Tensor:
        """The logits of this piece at theta, [classes]."""
        return self.logits + (theta - self.theta) * self.slopes


class Line:
    """A piecewise linear network, in float64, along one direction.

    Args:
        network: torch module with float32 weights, which is left as it is.
        image: float [1, H, W].
        direction: of the same shape.
        labels: logits whose gradient maps are taken.

    Attributes:
        resolution: length of theta that is not looked into (docs/theory/attention.md).

    Raises:
        InputRefused: if the network calls anything that is not piecewise linear, or nothing changes along the line.
    """

    def __init__(self, network: nn.Module, image: torch.Tensor, direction: torch.Tensor, labels: Sequence[int]) -> None:
        with explaining(network):
            # The layout that is fast for float32 on a CPU is slow for float64.
            self._network = plain_copy(network).double().eval()
            self._network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.image, self.direction, self.labels = image.detach().double(), direction.detach().double(), tuple(labels)
        if not bool(self.direction.any()):
            raise InputRefused("the perturbation does not change this image at all: choose another one.")
        run, logits, _ = self._pass(torch.zeros(1, dtype=torch.float64))
        self.n_switches = sum(layer.gap.shape[1] for layer in run.layers)
        self.resolution = math.inf
        plain, _ = self.gradient(0.0)
        if not torch.allclose(logits.value[0].detach(), plain, rtol=_AGREE, atol=_AGREE * float(plain.abs().max())):
            raise InputRefused(
                "carried through one by one, the network's calls give other logits than the network: it computes "
                "something that exact verification does not see, and is not verified."
            )

    def gradient(self, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's logits [classes] and gradient maps [labels, 1, H, W] at theta, by autograd alone."""
        with torch.enable_grad():
            inputs = (self.image + theta * self.direction)[None].requires_grad_()
            logits = self._network(inputs)
            maps = [torch.autograd.grad(logits[0, j], inputs, retain_graph=True)[0][0] for j in self.labels]
        return logits[0].detach(), torch.stack(maps)

    def pieces(self, thetas: Sequence[float]) -> list[Piece]:
        """The pieces at several points, in one pass."""
        points = torch.tensor(thetas, dtype=torch.float64)
        run, logits, inputs = self._pass(points)
        maps = self._maps(logits, inputs)
        self.resolution = min([self.resolution, *(layer.resolution() for layer in run.layers)])
        values, slopes = logits.value.detach().cpu(), logits.slope.cpu()
        ends = [layer.steps() for layer in run.layers]
        down = torch.stack([end[0] for end in ends]).amax(dim=0) if ends else torch.full_like(values[:, 0], -torch.inf)
        up = torch.stack([end[1] for end in ends]).amin(dim=0) if ends else torch.full_like(values[:, 0], torch.inf)
        (below, doubt_below), (above, doubt_above) = (_near_end(run, step) for step in (down, up))
        return [
            Piece(
                theta=theta,
                low=theta + float(down[i]),
                high=theta + float(up[i]),
                logits=values[i],
                slopes=slopes[i],
                maps=maps[i],
                close=(below[i], above[i]),
                doubt=(doubt_below[i], doubt_above[i]),
            )
            for i, theta in enumerate(thetas)
        ]

    def forced_maps(self, theta: float, forced: Forced) -> torch.Tensor:
        """Gradient maps [labels, 1, H, W] at theta with the given switches in the given states."""
        _, logits, inputs = self._pass(torch.tensor([theta], dtype=torch.float64), forced)
        return self._maps(logits, inputs)[0]

    def _pass(self, thetas: torch.Tensor, forced: Forced | None = None) -> tuple[Pass, Dual, torch.Tensor]:
        run = Pass(forced)
        with torch.enable_grad():
            steps = thetas.to(self.image.device)[:, None, None, None]
            inputs = (self.image + steps * self.direction).requires_grad_()
            logits = self._network(run.start(inputs, self.direction.expand_as(inputs)))
        if not isinstance(logits, Dual) or logits.ndim != 2:
            raise InputRefused("the network must return logits [B, classes], one tensor that depends on the image.")
        return run, logits, inputs

    def _maps(self, logits: Dual, inputs: torch.Tensor) -> torch.Tensor:
        """Gradients of the labels' logits, [B, labels, 1, H, W]."""
        totals = [logits.value[:, label].sum() for label in self.labels]
        return torch.stack([torch.autograd.grad(total, inputs, retain_graph=True)[0] for total in totals], dim=1)


def _near_end(run: Pass, steps: torch.Tensor) -> tuple[list[Sequence[Forced] | None], list[float]]:
    """Of each point what :class:`Piece` says of the end that is a step [B] away: close patterns, and doubt."""
    finite = torch.isfinite(steps)
    near = [layer.near(steps.where(finite, 0.0)) & finite[:, None] for layer in run.layers]
    if not near:
        return [()] * len(steps), [0.0] * len(steps)
    counts = torch.stack([one.sum(dim=1) for one in near])
    found: list[Sequence[Forced] | None] = []
    doubt = torch.zeros_like(steps)
    for number in counts.any(dim=1).nonzero()[:, 0].tolist():
        doubt = torch.maximum(doubt, run.layers[number].doubt(near[number]))
    for i, count in enumerate(counts.sum(dim=0).tolist()):
        found.append(_patterns(run, [one[i] for one in near], i) if count > 1 else ())
    return found, doubt.tolist()


def _patterns(run: Pass, near: Sequence[torch.Tensor], point: int) -> Sequence[Forced] | None:
    """Every combination of the near switches of one point; None if they are too many."""
    choices: dict[Choice, list[int]] = {}
    for number, layer in enumerate(run.layers):
        winner = run.winners[number]
        choices |= options(layer, number, near[number], None if winner is None else winner[point])
    if math.prod(len(states) for states in choices.values()) > _MOST_PATTERNS:
        return None
    return [dict(zip(choices, states)) for states in itertools.product(*choices.values())]
