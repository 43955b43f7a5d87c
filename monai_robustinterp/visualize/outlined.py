"""The film with what is reported outlined, and nothing over the pathology: colors are on the lines alone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from monai_robustinterp.visualize.color_map import colors_of, to_uint8
from monai_robustinterp.visualize.contour import Line, distance_to_edge, draw_line, share_beside

LUNGS_LINE_COLOR = (86, 180, 233)
"""Blue, which nobody takes for the warm colors of the squares: not even who sees no red or no green."""

TOP_K_COLOR = (255, 190, 60)
"""Of the reported set where a viewer paints it: warm, as the lines are, and not the blue of the lungs."""

GRAY_LINE_COLOR = (200, 200, 200)
"""Of lines about which nothing is claimed."""

LEAST_WIDTH = 2.0
"""Of a line in pixels: below it no pixel of an edge between two pixels has the line's color in full."""

_LINES_A_SIDE = 256
_DASHES_A_CELL = 4


def outlined(
    gray: npt.NDArray[np.floating],
    share: npt.NDArray[np.floating],
    top_k_mask: npt.NDArray[np.bool_],
    *,
    top_k: int,
    stable: bool,
    lungs: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Draws the reported cells and the lungs on a film.

    The line around the reported cells has the color of the vote share of those beside it, on an absolute scale from 0
    to 1. Where nothing is certified it is gray and dashed.

    Args:
        gray: display values in [0, 1], float [H, W].
        share: vote share of each pixel's cell, in [0, 1], float [H, W].
        top_k_mask: the reported cells, bool [H, W].
        top_k: how many they are.
        stable: whether decision and map are certified together.
        lungs: the lung fields, bool [H, W]; None for none.

    Returns:
        uint8 [H, W, 3].
    """
    picture = np.repeat(to_uint8(gray)[..., None], 3, axis=-1)
    width = line_width(*gray.shape)
    cell = cell_sides(top_k_mask, top_k)
    if lungs is not None:
        thin = Line(color=LUNGS_LINE_COLOR if stable else GRAY_LINE_COLOR, width=max(LEAST_WIDTH, width / 2))
        draw_line(picture, distance_to_edge(lungs, (4 * width, 4 * width)), thin)
    if stable:
        line = Line(color=colors_of(share_beside(share, top_k_mask, cell)), width=width)
    else:
        line = Line(color=GRAY_LINE_COLOR, width=width, dash=max(2, round(min(cell) / _DASHES_A_CELL)))
    draw_line(picture, distance_to_edge(top_k_mask, cell), line)
    return picture


def line_width(height: int, width: int) -> float:
    """Width of the line around the reported cells in pixels: 4 on a side of 1,024, and ``LEAST_WIDTH`` at least."""
    return max(LEAST_WIDTH, max(height, width) / _LINES_A_SIDE)


def cell_sides(top_k_mask: npt.NDArray[np.bool_], top_k: int) -> tuple[float, float]:
    """Height and width of the reported cells in pixels, or less: a smaller number rounds their corners less."""
    side = math.sqrt(np.count_nonzero(top_k_mask) / top_k)
    return min(side, _shortest_run(top_k_mask.T, side)), min(side, _shortest_run(top_k_mask, side))


def _shortest_run(mask: npt.NDArray[np.bool_], longest: float) -> float:
    """Length of the shortest run of True along the last axis; ``longest`` where there is none."""
    framed = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    framed[:, 1:-1] = mask
    steps = np.diff(framed).ravel()
    lengths = np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1)
    return float(lengths.min()) if lengths.size else longest
