"""Lines around a region: rounded at its corners, on its edges elsewhere, and never through the middle of a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

CASING_COLOR = (0, 0, 0)
"""Of the rim on both sides of a line, which keeps it apart from bone and from air."""

_ROUNDED = 0.9
"""Width of the box that rounds corners, in cells: below 1, so that in a cell's middle it holds that cell alone."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """How a contour is drawn.

    Attributes:
        color: RGB in [0, 255], one for all, or one a pixel, uint8 [H, W, 3].
        width: in pixels.
        dash: length of a dash and of the gap after it, in pixels; 0 draws a whole line.
    """

    color: tuple[int, int, int] | npt.NDArray[np.uint8]
    width: float
    dash: int = 0


def distance_to_edge(mask: npt.NDArray[np.bool_], cell: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Distance to the rounded edge of a region, exact to first order near the edge.

    The mask is averaged over a box smaller than a cell, and the edge lies where half of the box is inside. Along a
    straight side that is the side itself; at a corner the edge runs inside of it. In the middle of a cell the box holds
    that cell alone, so no edge can run there. The border of the picture closes a region.

    Args:
        mask: the region, bool [H, W].
        cell: height and width in pixels of the cells that it consists of; below 1 counts as 1, which rounds nothing.

    Returns:
        In pixels, positive inside, float32 [H, W].
    """
    inside = _averaged(mask.astype(np.float32), cell)
    slope = np.hypot(*np.gradient(inside))
    distance: npt.NDArray[np.float32] = (inside - np.float32(0.5)) / np.maximum(slope, np.float32(1e-6))
    return distance


def share_beside(
    share: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_], cell: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Average share of the cells of a region next to each pixel of its edge.

    Args:
        share: of each pixel's cell, in [0, 1], float [H, W].
        mask: the region, bool [H, W].
        cell: as for :func:`distance_to_edge`.

    Returns:
        In [0, 1], float32 [H, W]; 0 away from the region.
    """
    weight = _averaged(mask.astype(np.float32), cell)
    inside = _averaged(np.where(mask, share, 0).astype(np.float32), cell)
    beside: npt.NDArray[np.float32] = np.clip(inside / np.maximum(weight, np.float32(1e-3)), 0, 1)
    return beside


def _averaged(values: npt.NDArray[np.float32], cell: tuple[float, float]) -> npt.NDArray[np.float32]:
    box = [2 * int((_ROUNDED * side - 1) / 2) + 1 if side >= 1 else 1 for side in cell]
    averaged: npt.NDArray[np.float32] = ndimage.uniform_filter(values, size=box, mode="constant")
    return averaged


def draw_line(picture: npt.NDArray[np.uint8], distance: npt.NDArray[np.float32], line: Line) -> None:
    """Draws a contour into a picture, with a dark rim.

    Args:
        picture: uint8 [H, W, 3], changed in place.
        distance: of :func:`distance_to_edge`, float32 [H, W].
        line: how.
    """
    off = np.abs(distance)
    rows, columns = np.nonzero(off < 0.5 * line.width + rim_width(line) + 1)
    if line.dash:
        on = (rows + columns) // line.dash % 2 == 0
        rows, columns = rows[on], columns[on]
    near = off[rows, columns]
    values = picture[rows, columns].astype(np.float32)
    color = line.color[rows, columns] if isinstance(line.color, np.ndarray) else np.array(line.color)
    for half, paint in ((0.5 * line.width + rim_width(line), np.array(CASING_COLOR)), (0.5 * line.width, color)):
        opacity = np.clip(half + 0.5 - near, 0, 1)[:, None]
        values += opacity * (paint - values)
    picture[rows, columns] = np.rint(values)


def rim_width(line: Line) -> float:
    """Width of the dark rim on each side, in pixels."""
    return max(1.0, 0.5 * line.width)
