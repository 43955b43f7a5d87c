"""From one region of a line to the next, outwards, with none left out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from monai_robustinterp.attention.line import Line, Piece
from monai_robustinterp.errors import InputRefused


def walk(line: Line, first: Piece, end: float, *, batch_size: int = 1) -> Iterator[Piece]:
    """Yields the pieces from the first one on, in order, until they cover the line up to ``end``.

    Points are put where no piece is known yet, so that the pieces of one batch need not be neighbors: what lies
    between two of them is a gap, and is looked into until pieces meet. Nothing depends on guessed step lengths.

    Args:
        line: with the network.
        first: a piece that contains 0.
        end: theta, above or below 0.
        batch_size: points a pass.

    Raises:
        InputRefused: if float64 cannot tell the regions apart.
    """
    sign = math.copysign(1.0, end)
    last = abs(end)

    def near(piece: Piece) -> float:
        return piece.low if sign > 0 else -piece.high

    def far(piece: Piece) -> float:
        return piece.high if sign > 0 else -piece.low

    yield first
    frontier, ahead, width = far(first), list[Piece](), first.high - first.low
    while frontier < last:
        resolution = line.resolution
        if resolution < 4 * math.ulp(last):
            raise InputRefused(
                "the network is so steep along this perturbation that float64 cannot tell its regions apart: choose "
                "a smaller range or another perturbation."
            )
        while ahead and near(ahead[0]) <= frontier + resolution:
            piece = ahead.pop(0)
            # Two points of a batch may lie in one region; its end then differs by round-off.
            again = near(piece) < frontier - resolution and far(piece) < min(frontier + resolution, last)
            if far(piece) > frontier and not again:
                yield piece
                width = 0.9 * width + 0.1 * (far(piece) - near(piece))
            frontier = max(frontier, far(piece))
        if frontier >= last:
            return
        stop = near(ahead[0]) if ahead else min(last, frontier + batch_size * width)
        ahead += line.pieces([sign * point for point in _points(frontier, stop, last, width, batch_size, resolution)])
        ahead.sort(key=near)


def _points(frontier: float, stop: float, last: float, width: float, batch_size: int, resolution: float) -> list[float]:
    """Points in a gap, at most as many as regions are expected there; the last one where nothing else is left."""
    if stop - frontier <= resolution:
        # No known piece lies there, else it would have been taken: either the end is near, or the regions are narrow.
        stop = min(last, frontier + 2 * resolution)
        if stop == last:
            return [last]
    count = max(1, min(batch_size, round((stop - frontier) / width) if width > 0 else 1))
    return [frontier + (stop - frontier) * (i + 0.5) / count for i in range(count)]
