"""Places of a line, and values at them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

Places = np.ndarray
"""Thetas, float64 [m], ascending."""


class Bends(Protocol):
    """What takes the places at which a layer bends.

    Attributes:
        places: all of them so far.
    """

    places: Places

    def bend(self, places: Places) -> None:
        """Adds places."""


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
