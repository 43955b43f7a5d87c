"""The image and changed ones side by side, with the strongest cells of their maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from monai_robustinterp.visualize.overlay import outline

_COLUMNS = 4


@dataclass(frozen=True)
class ChangedImage:
    """One image of the figure.

    Attributes:
        title: above it.
        gray: the network's input, [H, W]; values outside of [0, 1] are shown as black and white.
        strongest: pixels of the strongest cells of its map, bool [H, W]; None draws none.
    """

    title: str
    gray: npt.NDArray[np.floating]
    strongest: npt.NDArray[np.bool_] | None = None


def changed_figure(images: Sequence[ChangedImage], *, title: str) -> Figure:
    """Draws the images in rows, the strongest cells outlined."""
    columns = min(_COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(2.7 * columns, 3.1 * rows + 0.5), dpi=110, layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).ravel():
        axes.set_axis_off()
    for axes, one in zip(figure.axes, images):
        axes.imshow(np.clip(one.gray, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if one.strongest is not None and one.strongest.any():
            axes.contour(outline(one.strongest, 1), levels=[0.5], colors="yellow", linewidths=0.7)
        axes.set_title(one.title, fontsize=7, wrap=True)
    figure.suptitle(title, fontsize=9, wrap=True)
    return figure
