"""Certified overlap against radius, as a figure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from monai_robustinterp.certificates.certificate import Family
from monai_robustinterp.certificates.curve import OverlapCurve
from monai_robustinterp.certificates.units import round_up

Array = npt.NDArray[np.float64]

_COLORS: dict[Family, str] = {"neyman-pearson": "#0072b2", "renyi": "#d55e00"}
_NAMES: dict[Family, str] = {"neyman-pearson": "Neyman-Pearson", "renyi": "Rényi"}


def curve_figure(curve: OverlapCurve) -> Figure:
    """Share of the reported top-k that stays, against the l2 norm of the perturbation.

    Solid lines are certified; dotted ones are plug-in estimates, which claim nothing; the dashed line is the control of
    a fixed map, beyond which these settings certify nothing for any map. Unbounded estimates leave the picture.

    Args:
        curve: the curve of one vote map.
    """
    figure = Figure(figsize=(7, 4.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    right = 1.3 * curve.ceiling or curve.spec.sigma
    for (level, family), radii in curve.radii.items():
        certified = level == "population"
        x, y = _steps(np.minimum(radii, 2 * right), curve.share)
        axes.plot(
            x,
            y,
            drawstyle="steps-pre",
            color=_COLORS[family],
            linewidth=2.0 if certified else 1.0,
            linestyle="-" if certified else ":",
            label=f"{_NAMES[family]}, {level} ({_meaning(radii) if certified else 'estimate, no claim'})",
        )
    axes.axvline(curve.ceiling, color="0.35", linestyle="--", label="control: a fixed map that ignores the image")
    axes.set(xlim=(0, right), ylim=(0, 1.02))
    axes.set_xlabel("l2 radius over the values of the network's input (display range = [0, 1])")
    axes.set_ylabel(f"share of the reported top-{curve.spec.top_k} that stays")
    axes.set_title(
        f"population, probability >= 1 - {round_up(curve.eta)} per image, all points at once; "
        f"sigma = {curve.spec.sigma:g}, {curve.spec.n_samples} copies",
        fontsize=9,
    )
    axes.legend(fontsize=8)
    return figure


def _meaning(radii: Array) -> str:
    return "certified" if radii.max() > 0 else "abstains: no claim"


def _steps(radii: Array, share: Array) -> tuple[Array, Array]:
    """Corners from left to right: between two radii the smaller share holds, and none after the last one."""
    claims = radii[::-1] > 0
    x = np.concatenate([[0.0], radii[::-1][claims], radii[:1]])
    y = np.concatenate([share[::-1][claims][:1], share[::-1][claims], [0.0]])
    return (x, y) if claims.any() else (np.zeros(2), np.zeros(2))
