"""Certified ranges of semantic changes beside a dense sampling, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure


@dataclass(frozen=True)
class RangePanel:
    """One kind of change.

    Attributes:
        title: what is claimed.
        axis: name and unit of the strength.
        radius: certified; 0 is no claim.
        strengths: sampled ones, float64 [N].
        plain: reported cells that the plain map of the changed image has, int64 [N].
        smoothed: those that the expected vote map has, int64 [N].
        overlap: cells that must stay.
        top_k: cells that are reported.
    """

    title: str
    axis: str
    radius: float
    strengths: npt.NDArray[np.float64]
    plain: npt.NDArray[np.int64]
    smoothed: npt.NDArray[np.int64]
    overlap: int
    top_k: int


def range_figure(panels: Sequence[RangePanel], *, title: str) -> Figure:
    """Draws a panel a change: the certified range shaded, both sampled curves over it, the threshold dashed."""
    figure = Figure(figsize=(8, 2.6 * len(panels) + 0.6), dpi=110, layout="constrained")
    rows = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, panel in zip(rows, panels):
        if panel.radius > 0:
            axes.axvspan(-panel.radius, panel.radius, color="#0072b2", alpha=0.15, label="certified")
        axes.plot(panel.strengths, panel.plain, ".", color="0.55", markersize=4, label="plain map, sampled (no claim)")
        axes.plot(
            panel.strengths,
            panel.smoothed,
            color="#0072b2",
            linewidth=1.3,
            label="expected vote map, by quadrature (no claim)",
        )
        axes.axhline(panel.overlap, color="0.35", linestyle="--", linewidth=1, label="cells that must stay")
        axes.set(ylim=(-0.02 * panel.top_k, 1.05 * panel.top_k), ylabel="reported cells that stay")
        axes.set_xlabel(panel.axis, fontsize=9)
        axes.set_title(panel.title, fontsize=8, wrap=True)
        axes.legend(fontsize=7, loc="lower left")
    figure.suptitle(title, fontsize=10)
    return figure
