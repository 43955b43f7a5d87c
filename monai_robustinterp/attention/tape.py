"""What one pass of a network over a piece of a line leaves: where it bends, and the way back to gradient maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

Places = np.ndarray
"""Thetas, float64 [m], ascending."""
States = np.ndarray
"""What switches are in each of several patterns, int64 [patterns, switches]."""


class TooManyRegions(Exception):
    """A piece of a line has more regions than a pass may hold: halve it."""


class Switches(Protocol):
    """The switches of one activation or pooling, as far as they may change on this piece of the line."""

    def states(self, places: Places) -> States:
        """Their states between each place and the next one, [m - 1, switches]."""

    def back(self, gradient: torch.Tensor, states: States) -> torch.Tensor:
        """The gradient before the layer, of the gradient behind it [patterns, ...] and its states."""


@dataclass(frozen=True)
class _Node:
    parents: tuple[int, ...]
    back: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None
    switches: int | None


class Tape:
    """The calls of one pass, in their order.

    Values are kept at places of the line between which everything so far is affine: each layer adds the places where it
    bends. What an earlier call gave is affine between its own places, so it is known at later ones.

    Args:
        places: both ends of the piece of the line.
        limit: most places.

    Attributes:
        places: of all bends so far, and both ends.
        switches: layers with switches.
    """

    def __init__(self, places: Places, limit: int) -> None:
        self.places, self._limit = places, limit
        self.switches: list[Switches] = []
        self._nodes = [_Node((), None, None)]

    def node(self, parents: Sequence[int], back: Callable[[torch.Tensor], Sequence[torch.Tensor]]) -> int:
        """Adds a linear call; ``back`` gives the gradients of its parents."""
        self._nodes.append(_Node(tuple(parents), back, None))
        return len(self._nodes) - 1

    def switch(self, parent: int, layer: Switches) -> int:
        """Adds a layer with switches."""
        self.switches.append(layer)
        self._nodes.append(_Node((parent,), None, len(self.switches) - 1))
        return len(self._nodes) - 1

    def bend(self, places: Places) -> None:
        """Adds places.

        Raises:
            TooManyRegions: if there are more than the limit then.
        """
        self.places = np.union1d(self.places, places)
        if len(self.places) > self._limit:
            raise TooManyRegions

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


def lifted(value: torch.Tensor, places: Places, wanted: Places) -> torch.Tensor:
    """Values [m, ...] at places, between which they are affine, at more places: those and others between them."""
    if len(places) == len(wanted):
        return value
    right = np.searchsorted(places, wanted)
    new = np.flatnonzero(places[right] != wanted)
    left, right = right[new] - 1, right[new]
    found = value.new_empty((len(wanted), *value.shape[1:]))
    found[torch.from_numpy(np.searchsorted(wanted, places)).to(value.device)] = value
    shares = (wanted[new] - places[left]) / (places[right] - places[left])
    for row, one, other, share in zip(new.tolist(), left.tolist(), right.tolist(), shares.tolist()):
        torch.lerp(value[one], value[other], share, out=found[row])
    return found


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
