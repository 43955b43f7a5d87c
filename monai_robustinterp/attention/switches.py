"""The places where a piecewise linear network changes its piece, and where on a line they do so."""

from __future__ import annotations

from collections.abc import Mapping

import torch

ROUND_OFF = 2.0**-34
"""Assumed bound of the round-off of a float64 pre-activation, as a share of the largest one of its layer."""

Choice = tuple[int, int]
"""A switch: number of its layer, in the order of the calls, and its index in one image."""


class SwitchLayer:
    """The switches of one activation or max pooling, at B points of a line.

    A switch holds while its gap has the sign that ``on`` says. For an activation the gap is the pre-activation; for a
    max pooling that of each window's winner over each other entry, which is never below 0.

    Args:
        gap: float64 [B, n]; 0, with slope 0, for what never switches.
        slope: its derivative by theta, [B, n].
        on: whether the gap is positive, bool [B, n].
        window: for a max pooling the window of each entry and its option there, int64 [n] each; else None.

    Attributes:
        scale: largest gap of each point, [B].
    """

    def __init__(
        self,
        gap: torch.Tensor,
        slope: torch.Tensor,
        on: torch.Tensor,
        window: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        self.gap, self.slope, self.window = gap, slope, window
        size, steepness = gap.abs(), slope.abs()
        self.scale, self._steepest = size.amax(dim=1), steepness.amax(dim=1)
        # Exactly 0 on the whole line is no round-off: dead units, whose inputs are all 0.
        self._alive = (size + steepness) > 0
        # A switch falls forward if its gap shrinks towards 0 with growing theta; 0 / 0 never does.
        distance = size.div_(steepness).nan_to_num_(nan=torch.inf, posinf=torch.inf)
        forward = (slope > 0) != on
        self._up = distance.where(forward, torch.inf).amin(dim=1)
        self._down = -distance.masked_fill_(forward, torch.inf).amin(dim=1)

    def steps(self) -> tuple[torch.Tensor, torch.Tensor]:
        """How far theta can go down (<= 0) and up (>= 0) before the first switch, [B] each; infinite for never."""
        return self._down, self._up

    def near(self, step: torch.Tensor) -> torch.Tensor:
        """Switches whose gap, a step [B] further, is within twice the round-off: bool [B, n]."""
        there = torch.addcmul(self.gap, self.slope, step[:, None]).abs_()
        return (there <= 2 * ROUND_OFF * self.scale[:, None]) & self._alive

    def doubt(self, near: torch.Tensor) -> torch.Tensor:
        """Length of theta before an end within which round-off leaves open its near switches, [B]; 0 without one."""
        lengths = ROUND_OFF * self.scale[:, None] / self.slope.abs()
        return lengths.where(near, 0.0).amax(dim=1)

    def resolution(self) -> float:
        """Length of theta over which no gap, 16 times as steep as any here, leaves the round-off; infinite for any."""
        lengths = ROUND_OFF * self.scale / (16 * self._steepest)
        return float(lengths.nan_to_num(nan=torch.inf).where(self.scale > 0, torch.inf).amin())


def options(
    layer: SwitchLayer, number: int, near: torch.Tensor, winner: torch.Tensor | None
) -> dict[Choice, list[int]]:
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
