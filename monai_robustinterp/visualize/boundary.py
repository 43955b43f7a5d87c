"""The boundary of a mask as closed polygons along the edges of its pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Clockwise around a pixel: along its upper, right, lower and left edge; dx, dy of each.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def boundary(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Closed polygons around the pixels of a mask, outer ones clockwise and holes counterclockwise.

    Args:
        mask: bool [H, W].

    Returns:
        Each float64 [N, 2], columns x and y, the first point again at the end; the corner of the image at the top left
        is (0, 0), that at the bottom right (W, H). Only corners are kept. Pixels that touch at a corner are two.
    """
    leaving = _edges(mask)
    polygons = []
    while leaving:
        start = next(iter(leaving))
        polygons.append(_polygon(start, leaving))
    return polygons


def _edges(mask: npt.NDArray[np.bool_]) -> dict[tuple[int, int], list[int]]:
    """Directions of the boundary's edges by the corner that they leave."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    leaving: dict[tuple[int, int], list[int]] = {}
    for direction, (neighbor, (x_offset, y_offset)) in enumerate(zip(beyond, ((0, 0), (1, 0), (1, 1), (0, 1)))):
        ys, xs = np.nonzero(inside & ~neighbor)
        for x, y in zip((xs + x_offset).tolist(), (ys + y_offset).tolist()):
            leaving.setdefault((x, y), []).append(direction)
    return leaving


def _polygon(start: tuple[int, int], leaving: dict[tuple[int, int], list[int]]) -> npt.NDArray[np.float64]:
    """Takes one closed way out of the edges that are left."""
    first = direction = leaving[start][0]
    corners, at = [], start
    while at in leaving:
        ways = leaving[at]
        # Where two pixels touch at a corner the way turns right, around the pixel that it came along.
        turned = direction if len(ways) == 1 else (direction + 1) % 4
        turned = turned if turned in ways else ways[0]
        ways.remove(turned)
        if not ways:
            del leaving[at]
        if turned != direction:
            corners.append(at)
        direction, at = turned, (at[0] + _STEPS[turned][0], at[1] + _STEPS[turned][1])
        if at == start:
            break
    if direction != first:
        corners.insert(0, start)
    return np.array([*corners, corners[0]], dtype=np.float64)
