"""A network on the line x + theta * direction: one affine piece a region of theta, and its constant gradient maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from monai_robustinterp.attention.line_tape import LineTape
from monai_robustinterp.attention.rows import Rows
from monai_robustinterp.attention.switches import Gaps, Layer, owners
from monai_robustinterp.attention.tape import States, Tape, label_maps
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.context.network_state import plain_copy

_MOST_PATTERNS = 16
"""That are looked at, for one boundary."""
_MOST_PLACES = 64
"""Ends of regions in one pass: values at all of them are held together."""
_AGREE = 1e-9
"""Relative difference that logits carried through the calls may have from the network's own."""


@dataclass(frozen=True)
class Piece:
    """One region of theta, in which no switch changes.

    Attributes:
        low: its lower end.
        high: its upper end.
        logits: at both ends, float64 [2, classes].
        maps: gradient of each label's logit with respect to the image, [labels, 1, H, W].
        hidden: for each end (low, high) the maps [patterns, labels, 1, H, W] of patterns that round-off could hide
            there: several switches within the round-off of one theta. Of length 0 where at most one switch is there,
            None if they are too many to look at.
        open: for each end whether a switch is within the round-off there.
        doubt: for each end the length of theta before it, within which the next region may have begun.
    """

    low: float
    high: float
    logits: torch.Tensor
    maps: torch.Tensor
    hidden: tuple[torch.Tensor | None, torch.Tensor | None]
    open: tuple[bool, bool]
    doubt: tuple[float, float]

    def logits_at(self, theta: float) -> torch.Tensor:
        """The logits of this piece at theta, [classes]."""
        return torch.lerp(self.logits[0], self.logits[1], (theta - self.low) / (self.high - self.low))


class Line:
    """A piecewise linear network, in float64, along one direction.

    Args:
        network: torch module with float32 weights, which is left as it is.
        image: float [1, H, W].
        direction: of the same shape.
        labels: logits whose gradient maps are taken.

    Raises:
        InputRefused: if the network calls anything that is not piecewise linear, or nothing changes along the line.
    """

    def __init__(self, network: nn.Module, image: torch.Tensor, direction: torch.Tensor, labels: Sequence[int]) -> None:
        with explaining(network):
            # The layout that is fast for float32 on a CPU is slow for float64.
            self.network = plain_copy(network).double().eval()
            self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.image, self.direction, self.labels = image.detach().double(), direction.detach().double(), tuple(labels)
        if not bool(self.direction.any()):
            raise InputRefused("the perturbation does not change this image at all: choose another one.")
        tape, logits = self._pass(0.0, math.ulp(0.0))
        self.n_switches = sum(layer.count for layer in _layers(tape))
        plain, _ = self.gradient(0.0)
        if not torch.allclose(logits.value[0], plain, rtol=_AGREE, atol=_AGREE * float(plain.abs().max())):
            raise InputRefused(
                "carried through one by one, the network's calls give other logits than the network: it computes "
                "something that exact verification does not see, and is not verified."
            )

    def gradient(self, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's logits [classes] and gradient maps [labels, 1, H, W] at theta, by autograd alone."""
        with torch.enable_grad():
            inputs = (self.image + theta * self.direction)[None].requires_grad_()
            logits = self.network(inputs)
            maps = [torch.autograd.grad(logits[0, j], inputs, retain_graph=True)[0][0] for j in self.labels]
        return logits[0].detach(), torch.stack(maps)

    def pieces(self, low: float, high: float) -> list[Piece]:
        """All regions between two thetas, in order; the first and the last one end there.

        Raises:
            TooManyRegions: if they are more than a pass may hold.
        """
        tape, logits = self._pass(low, high)
        places, layers = tape.places, _layers(tape)
        states = [layer.states(owners(layer.gaps.places, places)) for layer in layers]
        maps = self._maps(tape, logits, states)
        ends = [_ends(layers, states, places, end) for end in (0, 1)]
        hidden = [self._hidden(tape, logits, states, end.patterns) for end in ends]
        values = logits.here().cpu()
        return [
            Piece(
                low=float(places[i]),
                high=float(places[i + 1]),
                logits=values[i : i + 2],
                maps=maps[i],
                hidden=(hidden[0][i], hidden[1][i]),
                open=(ends[0].open[i], ends[1].open[i]),
                doubt=(ends[0].doubt[i], ends[1].doubt[i]),
            )
            for i in range(len(places) - 1)
        ]

    def _pass(self, low: float, high: float) -> tuple[LineTape, Rows]:
        tape = LineTape(np.array([low, high]), _MOST_PLACES)
        with torch.no_grad():
            inputs = torch.stack([self.image + theta * self.direction for theta in (low, high)])
            logits = self.network(Rows(inputs, tape.places, tape, 0))
        if not isinstance(logits, Rows) or logits.ndim != 2:
            raise InputRefused("the network must return logits [B, classes], one tensor that depends on the image.")
        return tape, logits

    def _maps(self, tape: Tape, logits: Rows, states: Sequence[States]) -> torch.Tensor:
        """Gradients of the labels' logits for several patterns, [patterns, labels, 1, H, W]."""
        return label_maps(tape, logits.node, logits.shape[1], self.labels, states, logits.value.device)

    def _hidden(
        self, tape: Tape, logits: Rows, states: Sequence[States], patterns: Sequence[_Patterns | None]
    ) -> list[torch.Tensor | None]:
        """The maps of the patterns of each region, [patterns, labels, 1, H, W]."""
        regions = [i for i, some in enumerate(patterns) for _ in some or ()]
        if not regions:
            return [None if some is None else self.image.new_empty((0,)) for some in patterns]
        forced = [layer[regions] for layer in states]
        for row, (number, column, state) in _numbered(patterns):
            forced[number][row, column] = state
        parts = iter(torch.split(self._maps(tape, logits, forced), [len(some) for some in patterns if some]))
        return [None if some is None else next(parts) if some else self.image.new_empty((0,)) for some in patterns]


_Forced = tuple[int, int, int]
"""Number of a layer, column of a switch, and the state that it is made to be in."""
_Patterns = Sequence[Sequence[_Forced]]


@dataclass(frozen=True)
class _Ends:
    """What round-off leaves open at one end of each region.

    Attributes:
        patterns: every combination of several near switches; empty for one or none, None if they are too many.
        open: whether a switch is near.
        doubt: as in :class:`Piece`.
    """

    patterns: list[_Patterns | None]
    open: list[bool]
    doubt: list[float]


def _layers(tape: Tape) -> list[Layer[Gaps]]:
    return [layer for layer in tape.switches if isinstance(layer, Layer)]


def _numbered(patterns: Sequence[_Patterns | None]) -> list[tuple[int, _Forced]]:
    every = itertools.chain.from_iterable(some or () for some in patterns)
    return [(row, one) for row, pattern in enumerate(every) for one in pattern]


def _ends(layers: Sequence[Layer[Gaps]], states: Sequence[States], places: np.ndarray, end: int) -> _Ends:
    count = len(places) - 1
    close = [layer.gaps.close(places, end) for layer in layers]
    number = sum((near.sum(axis=1) for near, _ in close), np.zeros(count, dtype=np.int64))
    doubt = np.max([np.zeros(count), *(lengths for _, lengths in close)], axis=0)
    patterns: list[_Patterns | None] = []
    for i in range(count):
        options: dict[tuple[int, int], list[int]] = {}
        if number[i] > 1:
            for n, layer in enumerate(layers):
                options |= {(n, key): some for key, some in layer.options(states[n][i], close[n][0][i]).items()}
        many = math.prod(len(some) for some in options.values()) > _MOST_PATTERNS
        patterns.append(None if many else _combinations(options) if options else ())
    return _Ends(patterns, (number > 0).tolist(), doubt.tolist())


def _combinations(options: dict[tuple[int, int], list[int]]) -> _Patterns:
    return [[(*key, state) for key, state in zip(options, some)] for some in itertools.product(*options.values())]
