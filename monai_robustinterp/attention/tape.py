"""What one pass of a network over a piece of a line or plane leaves: the way back to gradient maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from monai_robustinterp.attention.windows import Windows

States = np.ndarray
"""What switches are in each of several patterns, int64 [patterns, switches]."""


class TooManyRegions(Exception):
    """A piece of a line or plane has more regions than a pass may hold: cut it."""


class Switches(Protocol):
    """The switches of one activation or pooling, as far as they may change on this piece."""

    def back(self, gradient: torch.Tensor, states: States) -> torch.Tensor:
        """The gradient before the layer, of the gradient behind it [patterns, ...] and its states."""


@dataclass(frozen=True)
class _Node:
    parents: tuple[int, ...]
    back: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None
    switches: int | None


class Tape(ABC):
    """The calls of one pass, in their order, and the places at which it holds values.

    Attributes:
        places: where values are held now; each activation and each pooling may add some.
        n_rows: values that are held now.
        switches: layers with switches.
    """

    places: Any
    n_rows: int

    def __init__(self) -> None:
        self.switches: list[Switches] = []
        self._nodes = [_Node((), None, None)]

    @abstractmethod
    def lifted(self, value: torch.Tensor, places: Any) -> torch.Tensor:
        """Values at the places of an earlier call, at those that there are now."""

    @abstractmethod
    def activation(self, value: torch.Tensor, negative_slope: float) -> tuple[Switches, torch.Tensor]:
        """A ReLU or leaky ReLU, and what it makes of values at all places; it adds places."""

    @abstractmethod
    def pooling(self, value: torch.Tensor, windows: Windows, *, rectified: bool) -> tuple[Switches, torch.Tensor]:
        """A max pooling, and what it makes of values [rows, C, H, W] at all places; it adds places.

        Args:
            value: at the places.
            windows: geometry.
            rectified: whether an exact 0 has no gradient: it wins only where the winner's own activation goes off.
        """

    def node(self, parents: Sequence[int], back: Callable[[torch.Tensor], Sequence[torch.Tensor]]) -> int:
        """Adds a linear call; ``back`` gives the gradients of its parents."""
        self._nodes.append(_Node(tuple(parents), back, None))
        return len(self._nodes) - 1

    def switch(self, parent: int, layer: Switches) -> int:
        """Adds a layer with switches."""
        self.switches.append(layer)
        self._nodes.append(_Node((parent,), None, len(self.switches) - 1))
        return len(self._nodes) - 1

    def gradients(self, node: int, output: torch.Tensor, states: Sequence[States]) -> torch.Tensor:
        """The gradient of a sum of outputs with respect to the input, for several patterns of all switches.

        Patterns in which the layers behind a call agree share the work: it is done once a run of equal ones.

        Args:
            node: that gave the output.
            output: weights of the sum, [1, ...].
            states: of each layer, [patterns, switches].

        Returns:
            [patterns, *shape of the input].
        """
        # For each call: the first pattern of each run of equal ones, and the gradients of the runs.
        open_: dict[int, tuple[np.ndarray, torch.Tensor]] = {node: (np.zeros(1, dtype=np.int64), output)}
        for number in range(node, 0, -1):
            if number not in open_:
                continue
            starts, gradient = open_.pop(number)
            call = self._nodes[number]
            if call.switches is not None:
                own = states[call.switches]
                changes = 1 + np.flatnonzero((own[1:] != own[:-1]).any(axis=1))
                together = np.union1d(starts, changes)
                parts: Sequence[torch.Tensor] = [
                    self.switches[call.switches].back(_spread(starts, gradient, together), own[together])
                ]
                starts = together
            else:
                assert call.back is not None
                parts = call.back(gradient)
            for parent, part in zip(call.parents, parts):
                open_[parent] = _sum(open_[parent], (starts, part)) if parent in open_ else (starts, part)
        starts, gradient = open_[0]
        return _spread(starts, gradient, np.arange(len(states[0]) if states else 1))


def label_maps(
    tape: Tape, node: int, n_classes: int, labels: Sequence[int], states: Sequence[States], device: torch.device
) -> torch.Tensor:
    """Gradients of the labels' logits for several patterns, [patterns, labels, *shape of the input].

    Args:
        tape: of the pass.
        node: that gave the logits.
        n_classes: number of logits.
        labels: of them.
        states: of each layer, [patterns, switches].
        device: of the pass.
    """
    units = torch.eye(n_classes, dtype=torch.float64, device=device)
    with torch.no_grad():
        return torch.stack([tape.gradients(node, units[label : label + 1], states) for label in labels], dim=1)


def _spread(starts: np.ndarray, gradient: torch.Tensor, wanted: np.ndarray) -> torch.Tensor:
    """Gradients of runs of patterns that begin at ``starts``, for the finer runs that begin at ``wanted``."""
    if len(starts) == len(wanted):
        return gradient
    rows = np.searchsorted(starts, wanted, side="right") - 1
    return gradient[torch.from_numpy(rows).to(gradient.device)]


def _sum(
    one: tuple[np.ndarray, torch.Tensor], other: tuple[np.ndarray, torch.Tensor]
) -> tuple[np.ndarray, torch.Tensor]:
    starts = np.union1d(one[0], other[0])
    return starts, _spread(*one, starts) + _spread(*other, starts)
