"""Change of the map, its strongest cells and the decision along one parameter, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """One property along the parameter.

    Attributes:
        label: of its axis.
        values: one a region.
        threshold: that they must not pass.
        interval: that is proven.
        witnesses: thetas that violate it, with the values there.
    """

    label: str
    values: Sequence[float]
    threshold: float
    interval: tuple[float, float]
    witnesses: Mapping[float, float]


def attention_figure(edges: Array, tracks: Sequence[Track], *, title: str, axis: str) -> Figure:
    """Draws a panel a property: its values, its threshold (dashed), its proven interval (shaded), its witnesses.

    Args:
        edges: float64 [regions + 1], ascending: the regions that were crossed.
        tracks: with a value a region.
        title: of the figure.
        axis: name and unit of the parameter.
    """
    figure = Figure(figsize=(7.5, 2.2 * len(tracks) + 0.8), dpi=110, layout="constrained")
    panels = figure.subplots(len(tracks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, track in zip(panels, tracks):
        axes.axvspan(*track.interval, color="#0072b2", alpha=0.15, label="proven")
        axes.stairs(track.values, edges, color="#0072b2", linewidth=1.2, baseline=None)
        axes.axhline(track.threshold, color="0.35", linestyle="--", linewidth=1, label="threshold")
        if track.witnesses:
            axes.plot(list(track.witnesses), list(track.witnesses.values()), "x", color="#d55e00", label="witness")
        axes.axvline(0, color="0.7", linewidth=0.8)
        axes.set_ylabel(track.label, fontsize=9)
        axes.legend(fontsize=7, loc="best")
    panels[-1].set_xlabel(axis, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure
