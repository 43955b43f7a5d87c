"""How an optimized mask came about: the mask, the two images that it makes and what the network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

Array = npt.NDArray[np.floating]

_ALPHA = 0.8
_LABEL_LENGTH = 33
_IMAGES = ("x", "pt", "rpt")

NOT_CERTIFIED = (
    "An ordinary interpretation: nothing here is certified. x_pt = m x + (1 - m) x_r and x_rpt = (1 - m) x + m x_r, "
    "with the reference x_r where the image x is taken away. Scores are not calibrated. NOT FOR DIAGNOSIS."
)


@dataclass(frozen=True, kw_only=True)
class MaskIteration:
    """The mask after some steps of its optimization.

    Attributes:
        iteration: number of steps; 0 is the initial mask.
        mask: float [H, W] in [0, 1], 1 = the image is kept.
        perturbed: x_pt, float [H, W].
        reversed: x_rpt, float [H, W].
        perturbed_scores: of the classes at x_pt, float [classes] in [0, 1].
        reversed_scores: of the classes at x_rpt, float [classes] in [0, 1].
    """

    iteration: int
    mask: Array
    perturbed: Array
    reversed: Array
    perturbed_scores: Array
    reversed_scores: Array


def mask_iterations_figure(
    image: Array,
    scores: Array,
    iterations: Sequence[MaskIteration],
    *,
    class_names: Sequence[str],
    target: int,
    title: str,
) -> Figure:
    """A row an iteration: what the mask removes, over the image; x_pt; x_rpt; and the scores at x, x_pt and x_rpt.

    Args:
        image: the network's input x, float [H, W]; display range [0, 1], values outside are clipped.
        scores: of the classes at x, float [classes] in [0, 1].
        iterations: in order, at least one.
        class_names: one a class.
        target: index of the explained class.
        title: of the figure.

    Raises:
        ValueError: as :func:`probability_table`, or if there is no iteration.
    """
    if not iterations:
        raise ValueError(
            "there is no iteration to show; ask the interpreter for snapshots, of 0 and the last at least."
        )
    table = probability_table(scores, iterations, class_names=class_names, target=target)
    figure = Figure(figsize=(12, 2.5 * len(iterations) + 1.2), dpi=110, layout="constrained")
    rows = figure.subplots(len(iterations), 4, squeeze=False, width_ratios=(1, 1, 1, 1.9))
    for axes, state, row in zip(rows, iterations, table):
        first = state is iterations[0]
        _show_removed(axes[0], image, state, title="removed (1 - m) over x" if first else "")
        _show_gray(axes[1], state.perturbed, "x_pt" if first else "")
        _show_gray(axes[2], state.reversed, "x_rpt" if first else "")
        _show_scores(axes[3], row, class_names[target])
    bar = ScalarMappable(Normalize(0, 1), "inferno")
    figure.colorbar(bar, ax=rows[:, 0], location="left", shrink=0.6, pad=0.1, label="removed share 1 - m")
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(NOT_CERTIFIED, fontsize=8, wrap=True)
    return figure


def probability_table(
    scores: Array, iterations: Sequence[MaskIteration], *, class_names: Sequence[str], target: int
) -> list[dict[str, int | float | str | None]]:
    """What each mask does to the scores, one row an iteration: plain values, for a record.

    Args:
        scores: of the classes at x, float [classes] in [0, 1].
        iterations: in order.
        class_names: one a class.
        target: index of the explained class.

    Returns:
        Rows with ``iteration``; ``target_x``, ``target_pt``, ``target_rpt``; the mean of the other classes
        ``non_target_x``, ``non_target_pt``, ``non_target_rpt``; the other class that changes most between x and x_pt or
        x_rpt by name, ``most_changed``, with ``most_changed_x``, ``most_changed_pt`` and ``most_changed_rpt``. Without
        other classes the last seven are None.

    Raises:
        ValueError: if scores and names are not as many, or the target is none of them.
    """
    if not 0 <= target < len(class_names):
        raise ValueError(f"target is {target} and there are {len(class_names)} class names: choose one of them.")
    return [_row(scores, state, class_names, target) for state in iterations]


def _row(
    scores: Array, state: MaskIteration, class_names: Sequence[str], target: int
) -> dict[str, int | float | str | None]:
    triple = (scores, state.perturbed_scores, state.reversed_scores)
    if any(one.shape != (len(class_names),) for one in triple):
        raise ValueError(
            f"there are {len(class_names)} class names and scores of shapes {[one.shape for one in triple]}; pass one "
            "score a class at each of x, x_pt and x_rpt."
        )
    at = np.stack(triple).astype(np.float64)
    others = np.delete(np.arange(len(class_names)), target)
    row: dict[str, int | float | str | None] = {"iteration": state.iteration, "most_changed": None}
    changes = np.abs(at[1:, others] - at[0, others])
    most = int(others[changes.max(axis=0).argmax()]) if len(others) else None
    for name, values in zip(_IMAGES, at):
        row[f"target_{name}"] = float(values[target])
        row[f"non_target_{name}"] = None if most is None else float(values[others].mean())
        row[f"most_changed_{name}"] = None if most is None else float(values[most])
    if most is not None:
        row["most_changed"] = class_names[most]
    return row


def _show_removed(axes: Axes, image: Array, state: MaskIteration, *, title: str) -> None:
    _show_gray(axes, image, title)
    removed = np.clip(1 - state.mask, 0, 1)
    axes.imshow(removed, cmap="inferno", vmin=0, vmax=1, alpha=_ALPHA * removed, interpolation="nearest")
    axes.text(-0.04, 0.5, f"{state.iteration} steps", transform=axes.transAxes, rotation=90, va="center", ha="right")


def _show_gray(axes: Axes, gray: Array, title: str) -> None:
    axes.imshow(np.clip(gray, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def _show_scores(axes: Axes, row: dict[str, int | float | str | None], target: str) -> None:
    lines = {f"T: {target}": "target", "NT: mean of the others": "non_target"}
    if row["most_changed"] is not None:
        lines[f"NT, changes most: {row['most_changed']}"] = "most_changed"
    table = axes.table(
        [[_fitting(label), *(_percent(row[f"{key}_{name}"]) for name in _IMAGES)] for label, key in lines.items()],
        colLabels=["", "x", "x_pt", "x_rpt"],
        colWidths=[0.55, 0.15, 0.15, 0.15],
        cellLoc="left",
        edges="horizontal",
        bbox=Bbox.from_bounds(0, 0.2, 1, 0.6),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    axes.set_axis_off()


def _fitting(label: str) -> str:
    """The label, cut where it would run into the numbers."""
    return label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"


def _percent(value: int | float | str | None) -> str:
    return "-" if value is None else f"{100 * float(value):.1f} %"
