"""The places where a piecewise linear network changes its piece: activations and max poolings on a piece of a line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch.nn import functional

from monai_robustinterp.attention.places import Bends, Places, lifted
from monai_robustinterp.attention.tape import States
from monai_robustinterp.attention.windows import Windows

ROUND_OFF = 2.0**-34
"""Assumed bound of the round-off of a float64 pre-activation, as a share of the largest one of its layer."""


@dataclass(frozen=True)
class Gaps:
    """Of a layer, what is compared with 0: affine between its places.

    Attributes:
        places: of the layer's regions.
        start: at the lower end of each of them, [regions, gaps].
        stop: at the upper one.
        alive: whether the gap can leave 0 there at all, bool [regions, gaps].
        round_off: bound of theirs.
    """

    places: Places
    start: np.ndarray
    stop: np.ndarray
    alive: np.ndarray
    round_off: float

    def close(self, wanted: Places, end: int) -> tuple[np.ndarray, np.ndarray]:
        """What round-off leaves open at an end of each of finer regions.

        Args:
            wanted: places of the finer regions.
            end: 0 for the lower ends, 1 for the upper ones.

        Returns:
            Gaps within twice the round-off there, bool [regions, gaps], and the length of theta before the end within
            which they may pass 0, float64 [regions]; 0 without one.
        """
        own = owners(self.places, wanted)
        start, rise = self.start[own], self.stop[own] - self.start[own]
        low = self.places[own]
        length = self.places[own + 1] - low
        gap = start + ((wanted[end : len(own) + end] - low) / length)[:, None] * rise
        near = (np.abs(gap) <= 2 * self.round_off) & self.alive[own]
        lengths = np.full(near.shape, np.inf)
        np.divide(self.round_off * length[:, None], np.abs(rise), out=lengths, where=rise != 0)
        return near, np.where(near, lengths, 0.0).max(axis=1, initial=0.0)


def owners(places: Places, wanted: Places) -> np.ndarray:
    """For each of finer regions the coarse one that it is in."""
    own: np.ndarray = np.searchsorted(places, wanted[:-1], side="right") - 1
    return own


Found = TypeVar("Found")
"""Gaps of a piece of a line, or of a plane."""


class Layer(ABC, Generic[Found]):
    """Switches of one layer that may change on the piece.

    Args:
        states: of the switches in each region that the layer made, [regions, switches].
        gaps: of those that may change: the pre-activation of an activation, the winner of a window over each entry.
        count: switches of the whole layer.
    """

    def __init__(self, states: States, gaps: Found, count: int) -> None:
        self._states, self.gaps, self.count = states, gaps, count

    def states(self, own: np.ndarray) -> States:
        """The states in finer regions, of which each is in the region ``own`` of the layer, [regions, switches]."""
        found: States = self._states[own]
        return found

    @abstractmethod
    def back(self, gradient: torch.Tensor, states: States) -> torch.Tensor:
        """See :class:`~monai_robustinterp.attention.tape.Switches`."""

    @abstractmethod
    def options(self, states: np.ndarray, near: np.ndarray) -> dict[int, list[int]]:
        """What each switch with a near gap may be, in one region: its column, and the states.

        Args:
            states: of the region, [switches].
            near: bool [gaps].
        """

    @abstractmethod
    def gap_of(self, column: int, state: int) -> int:
        """The gap that is 0 where the switch in this column begins to be in this state."""


class Activation(Layer[Found]):
    """A ReLU or leaky ReLU; a switch is 1 where it is on."""

    def __init__(
        self, on: torch.Tensor, touched: torch.Tensor, negative_slope: float, states: States, gaps: Found
    ) -> None:
        super().__init__(states, gaps, len(on))
        self._on, self._touched, self._slope = on, touched, negative_slope

    @classmethod
    def of(cls, value: torch.Tensor, tape: Bends, negative_slope: float) -> tuple[Activation[Gaps], torch.Tensor]:
        """The layer, and what it makes of values [m, ...] at the tape's places; it adds places to the tape."""
        flat, before = value.flatten(1), tape.places
        low, high = flat.amin(dim=0), flat.amax(dim=0)
        round_off = ROUND_OFF * max(float(-low.amin()), float(high.amax()))
        margin = 2 * round_off
        # Exactly 0 everywhere is no round-off: dead units, whose inputs are all 0.
        may = (low <= margin) & (high >= -margin) & ((low != 0) | (high != 0))
        touched = may.nonzero()[:, 0]
        there = flat[:, touched].cpu().numpy()
        rows, columns = np.nonzero(np.sign(there[:-1]) * np.sign(there[1:]) < 0)
        one, other = there[rows, columns], there[rows + 1, columns]
        theta = before[rows] + one / (one - other) * (before[rows + 1] - before[rows])
        # Else it lies at a place that there is already.
        new = (before[rows] < theta) & (theta < before[rows + 1])
        tape.bend(theta[new])
        flat = lifted(flat, before, tape.places)
        if new.any():
            own = torch.from_numpy(np.searchsorted(tape.places, theta[new])).to(flat.device)
            flat[own, touched[torch.from_numpy(columns[new]).to(flat.device)]] = 0.0
        there = flat[:, touched].cpu().numpy()
        start, stop = there[:-1], there[1:]
        gaps = Gaps(tape.places, start, stop, (start != 0) | (stop != 0), round_off)
        found = functional.leaky_relu(flat, negative_slope) if negative_slope else flat.clamp(min=0)
        states = (start + stop > 0).astype(np.int64)
        layer = Activation(low > margin, touched, negative_slope, states, gaps)
        return layer, found.reshape(-1, *value.shape[1:])

    def back(self, gradient: torch.Tensor, states: States) -> torch.Tensor:
        """See :class:`~monai_robustinterp.attention.tape.Switches`."""
        flat = gradient.flatten(1)
        found = flat * self._factor(self._on, flat)
        on = torch.from_numpy(states).to(flat.device)
        found[:, self._touched] = flat[:, self._touched] * self._factor(on > 0, flat)
        return found.reshape(gradient.shape)

    def _factor(self, on: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return torch.where(on, 1.0, self._slope).to(like)

    def options(self, states: np.ndarray, near: np.ndarray) -> dict[int, list[int]]:
        """See :meth:`Layer.options`."""
        return {column: [0, 1] for column in np.flatnonzero(near).tolist()}

    def gap_of(self, column: int, state: int) -> int:
        """See :meth:`Layer.gap_of`."""
        return column


class Pooling(Layer[Found]):
    """A max pooling; the state of a switch, which is a window, is the entry that wins.

    Args:
        windows: geometry.
        may: entries that may win somewhere on the piece, bool [entries, C, windows in a column, windows in a row].
        states: of the touched windows, in each region.
        gaps: of their winners over each of their entries.
    """

    def __init__(self, windows: Windows, may: torch.Tensor, states: States, gaps: Found) -> None:
        super().__init__(states, gaps, may.numel())
        self._windows, self._live = windows, may.any(dim=0)
        self._winner, self._touched = first_winners(may), touched_windows(may)
        self._targets = windows.targets().to(may.device)

    @classmethod
    def of(
        cls, value: torch.Tensor, tape: Bends, windows: Windows, *, rectified: bool
    ) -> tuple[Pooling[Gaps], torch.Tensor]:
        """The layer, and what it makes of values [m, C, H, W] at the tape's places; it adds places to the tape.

        Args:
            value: at the places.
            tape: of the pass.
            windows: geometry.
            rectified: whether an exact 0 has no gradient: it wins only where the winner's own activation goes off.
        """
        best, before = windows.pooled(value), tape.places
        round_off = ROUND_OFF * float(value.amax() - value.amin())
        # Entries that may win somewhere on this piece of the line.
        may = torch.stack([_may_win(best, entry, 2 * round_off, rectified) for entry in windows.entries(value)])
        touched = touched_windows(may)
        there = torch.stack([entry.flatten(1)[:, touched] for entry in windows.entries(value)], dim=2)
        tape.bend(_overtakings(there.cpu().numpy(), before))
        if len(tape.places) > len(before):
            best = windows.pooled(lifted(value, before, tape.places))
        # Between two infinities there is none.
        kept = lifted(there, before, tape.places).nan_to_num(nan=-torch.inf, neginf=-torch.inf).cpu().numpy()
        start, stop = kept[:-1], kept[1:]
        states = (start + stop).argmax(axis=2) if kept.size else np.zeros(start.shape[:2], dtype=np.int64)
        gaps = _leads(tape.places, start, stop, states, round_off, rectified)
        return Pooling(windows, may, states, gaps), best

    def back(self, gradient: torch.Tensor, states: States) -> torch.Tensor:
        """See :class:`~monai_robustinterp.attention.tape.Switches`."""
        count, channels = gradient.shape[:2]
        number = self._targets.shape[1]
        winner = self._winner.expand(count, -1).clone()
        winner[:, self._touched] = torch.from_numpy(states).to(winner.device)
        target = self._targets[winner, torch.arange(winner.shape[1], device=winner.device) % number]
        found = gradient.new_zeros((count, channels, self._windows.size[0] * self._windows.size[1]))
        # A window of zeros without a gradient has none either.
        live = gradient * self._live
        found.scatter_add_(2, target.reshape(count, channels, number), live.flatten(2))
        return found.reshape(count, channels, *self._windows.size)

    def options(self, states: np.ndarray, near: np.ndarray) -> dict[int, list[int]]:
        """See :meth:`Layer.options`."""
        found: dict[int, list[int]] = {}
        for gap in np.flatnonzero(near).tolist():
            window, entry = divmod(gap, len(self._targets))
            found.setdefault(window, [int(states[window])]).append(entry)
        return found

    def gap_of(self, column: int, state: int) -> int:
        """See :meth:`Layer.gap_of`."""
        return column * len(self._targets) + state


def first_winners(may: torch.Tensor) -> torch.Tensor:
    """For each window the first of the entries [entries, ...] that may win, int64 [windows]."""
    return may.byte().argmax(dim=0).flatten()


def touched_windows(may: torch.Tensor) -> torch.Tensor:
    """The windows of which several entries [entries, ...] may win, int64 [n]."""
    return (may.sum(dim=0) > 1).flatten().nonzero()[:, 0]


def _may_win(best: torch.Tensor, entry: torch.Tensor, margin: float, rectified: bool) -> torch.Tensor:
    may = (best - entry).amin(dim=0) <= margin
    return may & (entry.amax(dim=0) > 0) if rectified else may


def _overtakings(there: np.ndarray, places: Places) -> Places:
    """Thetas within regions at which another entry takes the lead, of entries [m, windows, entries]."""
    start, stop = there[:-1], there[1:]
    if not start.size:
        return np.empty(0)
    first, last = _leader(start, stop), _leader(stop, start)
    found = []
    for region, window in zip(*np.nonzero(first != last)):
        one, other = start[region, window], stop[region, window]
        low, length = places[region], places[region + 1] - places[region]
        inside = np.isfinite(one)
        rise = np.where(inside, other, 0.0) - np.where(inside, one, 0.0)
        leader, end = first[region, window], last[region, window]
        while leader != end:
            steeper = np.flatnonzero(inside & (rise > rise[leader]))
            shares = (one[leader] - one[steeper]) / (rise[steeper] - rise[leader])
            # Of several that take the lead at once the steepest one keeps it.
            leader = int(steeper[np.lexsort((-rise[steeper], shares))[0]])
            theta = low + shares.min() * length
            if low < theta < places[region + 1]:
                found.append(theta)
            if rise[leader] >= rise[end]:
                break
    return np.array(found)


def _leader(at: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The entry that leads at an end of each region, and of equal ones that which leads at the other end."""
    leader: np.ndarray = np.where(at == at.max(axis=2, keepdims=True), then, -np.inf).argmax(axis=2)
    return leader


def _leads(
    places: Places, start: np.ndarray, stop: np.ndarray, states: States, round_off: float, rectified: bool
) -> Gaps:
    """Gaps of the winners over all entries of their windows, [regions, windows * entries]."""
    winner = states[:, :, None]
    inside = np.isfinite(start)
    leads = [
        np.where(inside, np.take_along_axis(part, winner, axis=2) - part, 0.0).reshape(len(part), -1)
        for part in (start, stop)
    ]
    # The winner itself, and ties of the same values on the whole line, have leads of 0.
    alive = inside & ((start > 0) | (stop > 0)) if rectified else inside
    return Gaps(
        places, leads[0], leads[1], alive.reshape(leads[0].shape) & ((leads[0] != 0) | (leads[1] != 0)), round_off
    )
