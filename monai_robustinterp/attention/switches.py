"""The places where a piecewise linear network changes its piece, and where on a line they do so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

ROUND_OFF = 2.0**-34
"""Assumed bound of the round-off of a float64 pre-activation, in units of the largest one of its layer (attention.md)."""

Choice = tuple[int, int]
"""A switch: number of its layer, in the order of the calls, and its index in one image."""


@dataclass(frozen=True)
class SwitchLayer:
    """The switches of one activation or max pooling, at points of a line.

    A switch holds while its gap has the sign that ``on`` says. For an activation the gap is the pre-activation; for a
    max pooling that of each window's winner over each other entry, which is never below 0.

    Attributes:
        gap: float64 [B, n]; infinite for entries that never win.
        slope: its derivative by theta, [B, n].
        on: whether the gap is positive, bool [B, n].
        window: for a max pooling the window of each entry and its option there, int64 [n] each; else None.
    """

    gap: torch.Tensor
    slope: torch.Tensor
    on: torch.Tensor
    window: tuple[torch.Tensor, torch.Tensor] | None = None

    def steps(self) -> tuple[torch.Tensor, torch.Tensor]:
        """How far theta can go down (<= 0) and up (>= 0) before the first switch, [B] each; infinite for never."""
        reached = -self.gap / self.slope
        # A switch falls forward if its gap shrinks towards 0 with growing theta.
        forward = (self.slope > 0) != self.on
        moves = (self.slope != 0) & torch.isfinite(self.gap)
        up = reached.where(moves & forward, torch.inf).amin(dim=1)
        down = reached.where(moves & ~forward, -torch.inf).amax(dim=1)
        return down.clamp_max(0), up.clamp_min(0)

    def scale(self) -> torch.Tensor:
        """Largest finite gap of each point, [B]."""
        return self.gap.abs().where(torch.isfinite(self.gap), 0.0).amax(dim=1)

    def near(self, step: torch.Tensor) -> torch.Tensor:
        """Switches whose gap, a step [B] further, is below the round-off: bool [B, n]."""
        there = (self.gap + self.slope * step[:, None]).abs()
        # Exactly 0 on the whole line is no round-off: dead units, whose inputs are all 0.
        dead = (self.gap == 0) & (self.slope == 0)
        return (there <= ROUND_OFF * self.scale()[:, None]) & ~dead

    def resolution(self) -> float:
        """Length of theta over which no gap, 16 times as steep as any here, leaves the round-off."""
        scale, slope = self.scale(), self.slope.abs().amax(dim=1)
        lengths = ROUND_OFF * scale / (16 * slope)
        return float(lengths[(slope > 0) & (scale > 0)].amin()) if bool(((slope > 0) & (scale > 0)).any()) else torch.inf


def options(layer: SwitchLayer, number: int, near: torch.Tensor, winner: torch.Tensor | None) -> dict[Choice, list[int]]:
    """What each near switch of one point may be: off or on, or the entry of a window that wins.

    Args:
        layer: of the switches.
        number: of the layer.
        near: bool [n].
        winner: option that wins in each window, int64 [windows]; None for an activation.
    """
    found: dict[Choice, list[int]] = {}
    for index in near.nonzero()[:, 0].tolist():
        if layer.window is None or winner is None:
            found[number, index] = [0, 1]
        else:
            window, option = (int(part[index]) for part in layer.window)
            found.setdefault((number, window), [int(winner[window])]).append(option)
    return found


Forced = Mapping[Choice, int]
"""What switches are made to be, whatever the sign of their gap."""
