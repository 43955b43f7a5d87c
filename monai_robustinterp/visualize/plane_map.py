"""The polygons of a box of two strengths: where each property holds, its outermost boundary and the proven box."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

Array = npt.NDArray[np.float64]
_REACHED, _HOLDS, _VIOLATED = "#9ecae8", "#e3edf3", "#f6cdb3"
_WIDTH = 48  # letters in a line of an axis
_LINES = 4_000
"""Polygons up to which their edges are drawn."""


@dataclass(frozen=True)
class PlanePanel:
    """One property in the box.

    Attributes:
        title: what is proven.
        reached: for each polygon whether it belongs to the area around 0 in which the property holds.
        holds: for each polygon whether the property holds in it.
        boundary: of that area, float64 [segments, 2, 2].
        box: that is proven: left, right, bottom and top.
        witness: strengths that violate it; None if there are none.
    """

    title: str
    reached: Sequence[bool]
    holds: Sequence[bool]
    boundary: Array
    box: tuple[float, float, float, float]
    witness: tuple[float, float] | None


def plane_figure(
    polygons: Sequence[Array],
    panels: Sequence[PlanePanel],
    *,
    ranges: tuple[tuple[float, float], tuple[float, float]],
    title: str,
    axes: tuple[str, str],
) -> Figure:
    """Draws a map a property.

    Args:
        polygons: corners of each, float64 [corners, 2].
        panels: one a property.
        ranges: of both strengths.
        title: of the figure.
        axes: names of both strengths.
    """
    figure = Figure(figsize=(4.3 * len(panels) + 0.3, 5.6), dpi=110, layout="constrained")
    for each, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        _draw(each, polygons, panel)
        each.set(xlim=ranges[0], ylim=ranges[1], facecolor="white")
        each.set_xlabel(textwrap.fill(axes[0], _WIDTH), fontsize=8)
        each.set_ylabel(textwrap.fill(axes[1], _WIDTH), fontsize=8)
        each.tick_params(labelsize=7)
        each.set_title(panel.title, fontsize=8, wrap=True)
    handles = [
        Patch(facecolor=_REACHED, label="holds, reached from 0"),
        Patch(facecolor=_HOLDS, label="holds, beyond a violation"),
        Patch(facecolor=_VIOLATED, label="violated or open"),
        Patch(facecolor="white", edgecolor="0.8", label="not crossed"),
        Patch(facecolor="none", edgecolor="#0072b2", linewidth=1.6, label="proven box"),
        Patch(facecolor="none", edgecolor="black", linewidth=1.2, label="boundary"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure


def _draw(axes: Axes, polygons: Sequence[Array], panel: PlanePanel) -> None:
    colors = [
        _REACHED if reached else _HOLDS if holds else _VIOLATED for reached, holds in zip(panel.reached, panel.holds)
    ]
    edge = {"edgecolors": "white", "linewidths": 0.3} if len(polygons) <= _LINES else {"edgecolors": "face"}
    axes.add_collection(PolyCollection(polygons, facecolors=colors, **edge))
    axes.add_collection(LineCollection(list(panel.boundary), colors="black", linewidths=0.9))
    left, right, bottom, top = panel.box
    axes.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor="#0072b2", linewidth=1.6)
    )
    axes.plot(0, 0, "+", color="black", markersize=7)
    if panel.witness is not None:
        axes.plot(*panel.witness, "x", color="#d55e00", markersize=7)
