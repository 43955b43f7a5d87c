"""Certified ranges of semantic changes beside a dense sampling, as a figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_BLUE = "#0072b2"


@dataclass(frozen=True)
class RangePanel:
    """One kind of change.

    Attributes:
        title: what is claimed.
        axis: what the strengths are, as a reader says them.
        certified: ends of the certified range; None is no claim.
        strengths: sampled ones, float64 [N].
        plain: reported cells that the plain map of the changed image has, int64 [N].
        smoothed: those that the expected vote map has, int64 [N].
        overlap: cells that must stay.
        top_k: cells that are reported.
        joint: strengths, float64 [M], and at each the l2 norm of a change of the pixels that is covered beside it,
            float64 [M]; None where the pixels were not noisy.
        whole: whether strengths are whole numbers, so that nothing is covered between two of them.
        smoothing: how the expected vote map was found.
    """

    title: str
    axis: str
    certified: tuple[float, float] | None
    strengths: npt.NDArray[np.float64]
    plain: npt.NDArray[np.int64]
    smoothed: npt.NDArray[np.int64]
    overlap: int
    top_k: int
    joint: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None
    whole: bool = False
    smoothing: str = "by quadrature"


def range_figure(panels: Sequence[RangePanel], *, title: str) -> Figure:
    """Draws a row a change: the certified range shaded, both sampled curves over it, the threshold dashed.

    Where the pixels were noisy, what is covered of both changes together stands on the right.
    """
    joint = any(panel.joint is not None for panel in panels)
    figure = Figure(figsize=(11 if joint else 8, 2.9 * len(panels) + 0.6), dpi=110, layout="constrained")
    ratios = (2.3, 1) if joint else (1,)
    rows = figure.subplots(len(panels), len(ratios), squeeze=False, gridspec_kw={"width_ratios": ratios})
    for row, panel in zip(rows, panels):
        _curves(row[0], panel)
        if panel.joint is not None:
            _together(row[1], panel, *panel.joint)
    figure.suptitle(title, fontsize=10)
    return figure


def _curves(axes: Axes, panel: RangePanel) -> None:
    if panel.certified is not None:
        axes.axvspan(*panel.certified, color=_BLUE, alpha=0.15, label="certified")
    axes.plot(panel.strengths, panel.plain, ".", color="0.55", markersize=4, label="plain map, sampled (no claim)")
    axes.plot(
        panel.strengths,
        panel.smoothed,
        color=_BLUE,
        linewidth=1.3,
        label=f"expected vote map, {panel.smoothing} (no claim)",
    )
    axes.axhline(panel.overlap, color="0.35", linestyle="--", linewidth=1, label="cells that must stay")
    axes.set(ylim=(-0.02 * panel.top_k, 1.05 * panel.top_k), ylabel="reported cells that stay")
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=panel.whole))
    axes.set_xlabel(panel.axis, fontsize=9)
    axes.set_title(panel.title, fontsize=8, wrap=True)
    axes.legend(fontsize=7, loc="lower left")


def _together(
    axes: Axes, panel: RangePanel, strengths: npt.NDArray[np.float64], norms: npt.NDArray[np.float64]
) -> None:
    if panel.whole:
        axes.vlines(strengths, 0, norms, color=_BLUE, alpha=0.3, linewidth=4)
    else:
        axes.fill_between(strengths, norms, color=_BLUE, alpha=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=panel.whole))
    axes.set(ylim=(0, None), ylabel="change of the input, l2")
    # What follows is said on the left.
    axes.set_xlabel(re.split("[,:]", panel.axis)[0], fontsize=9)
    axes.set_title("certified of both together", fontsize=8)
