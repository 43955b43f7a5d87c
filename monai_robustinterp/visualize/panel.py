"""Ordinary maps side by side: each on its own scale, with its color bar and the cells that it would vote for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from monai_robustinterp.visualize.overlay import outline

_COLUMNS = 5
_ALPHA = 0.8
_SATURATED = 99.5

NOT_CERTIFIED = (
    "Ordinary interpretations of one image: nothing here is certified, and a tiny change of the image may move each of "
    "them. Each map has its own scale: red where its values are positive, blue where negative; what they say is the "
    "method's. NOT FOR DIAGNOSIS."
)


class Panel(NamedTuple):
    """One map of the figure.

    Attributes:
        title: above it.
        values: float [H, W]; larger = more important.
        top_k: the cells that a noisy copy with this map would vote for, bool [H, W]; none if chance would choose them.
    """

    title: str
    values: npt.NDArray[np.floating]
    top_k: npt.NDArray[np.bool_]


def panel_figure(gray: npt.NDArray[np.floating], panels: Sequence[Panel], *, title: str) -> Figure:
    """The image, then its maps over it.

    Args:
        gray: display values in [0, 1], shape [H, W]; values outside are clipped.
        panels: maps on the same grid, in order.
        title: of the figure.
    """
    columns = min(_COLUMNS, 1 + len(panels))
    rows = math.ceil((1 + len(panels)) / columns)
    figure = Figure(figsize=(2.6 * columns, 2.3 * rows + 0.8), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for each in axes:
        each.set_axis_off()
    _show_gray(axes[0], gray, "input of the network")
    for each, panel in zip(axes[1:], panels):
        _show_gray(each, gray, panel.title)
        _show_map(figure, each, panel)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(NOT_CERTIFIED, fontsize=8, wrap=True)
    return figure


def _show_gray(axes: Axes, gray: npt.NDArray[np.floating], title: str) -> None:
    axes.imshow(np.clip(gray, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=9)


def _show_map(figure: Figure, axes: Axes, panel: Panel) -> None:
    # Symmetric, so that the middle of the colors is 0 and a color never changes its meaning. Single pixels of a
    # gradient outshine all others, so the colors end before the largest. 1 for an all-zero map.
    magnitude = np.abs(panel.values)
    scale = float(np.percentile(magnitude, _SATURATED)) or float(magnitude.max()) or 1.0
    picture = axes.imshow(panel.values, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
    picture.set_alpha(_ALPHA * np.minimum(magnitude / scale, 1))
    if panel.top_k.any():
        axes.contour(outline(panel.top_k, 1), levels=[0.5], colors="yellow", linewidths=0.7)
    bar = ScalarMappable(Normalize(-scale, scale), "RdBu_r")
    figure.colorbar(bar, ax=axes, shrink=0.75, format="%.2g", extend="both").ax.tick_params(labelsize=6)
