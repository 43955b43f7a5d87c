"""What is kept of a piece of the line when its maps are let go: numbers that go into a file and back unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from monai_robustinterp.attention.line import Piece
from monai_robustinterp.attention.properties import Property


@dataclass(frozen=True)
class Crossed:
    """A piece that was crossed outwards, from its end near 0 to its far end, and how far each property holds in it.

    Attributes:
        near: its end towards 0.
        far: its other end.
        logits: at both, near first.
        values: of the properties, in its middle.
        until: theta up to which each property holds in it, from near on.
        certain: for each property whether it also holds of all patterns that round-off could hide at an end.
        hidden: number of these patterns.
        open: whether a switch is within the round-off at near and at far.
        doubt: length of theta before far within which the next region may have begun.
    """

    near: float
    far: float
    logits: tuple[list[float], list[float]]
    values: list[float]
    until: list[float]
    certain: list[bool]
    hidden: int
    open: tuple[bool, bool]
    doubt: float

    @classmethod
    def of(cls, piece: Piece, properties: Sequence[Property], *, up: bool) -> Crossed:
        """Crosses a piece.

        Args:
            piece: with its maps.
            properties: to check.
            up: whether theta grows outwards.
        """
        near, far = (piece.low, piece.high) if up else (piece.high, piece.low)
        below, above = piece.open
        middle = (near + far) / 2
        logits = piece.logits_at(middle)
        return cls(
            near=near,
            far=far,
            logits=(piece.logits_at(near).tolist(), piece.logits_at(far).tolist()),
            values=[one.value(logits, piece.maps, middle) for one in properties],
            until=[one.holds_until(piece, near, far) for one in properties],
            certain=[_certain(one, piece) for one in properties],
            hidden=sum(len(maps) for maps in piece.hidden if maps is not None),
            open=(below, above) if up else (above, below),
            doubt=piece.doubt[1 if up else 0],
        )

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Crossed:
        """What :meth:`to_json` gave.

        Raises:
            TypeError: if it is nothing of the kind.
        """
        return cls(**kept | {"logits": tuple(kept["logits"]), "open": tuple(kept["open"])})

    def to_json(self) -> dict[str, Any]:
        """JSON values; floats keep all their digits."""
        return asdict(self)

    def meets(self, following: Crossed, margin: float) -> bool:
        """Whether the next piece has the same logits where both meet: a network is continuous.

        Args:
            following: the next piece outwards.
            margin: relative difference that round-off may make.
        """
        left, right = (torch.tensor(one, dtype=torch.float64) for one in (self.logits[1], following.logits[0]))
        return bool(torch.allclose(left, right, rtol=margin, atol=margin * float(left.abs().max())))


def _certain(one: Property, piece: Piece) -> bool:
    """Whether it also holds of each hidden pattern: ai is convex in theta, so both ends decide on what is between."""
    for hidden in piece.hidden:
        if hidden is None:
            return False
        for theta in (piece.low, piece.high):
            if not all(one.holds(piece.logits_at(theta), maps, theta) for maps in hidden):
                return False
    return True
