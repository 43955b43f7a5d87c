"""Certified maps of several models on sample films, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.lungs.models import Contender, loaded
from monai_robustinterp import certify_image
from monai_robustinterp.visualize.overlay import render_picture

Column = tuple[Contender, Sequence[Path]]


def side_by_side(columns: Sequence[Column], *, n_samples: int) -> Figure:
    """A row a film, a column a model; the title has the share of the votes in the lungs, and the alarm.

    Args:
        columns: models with their films, as many each.
        n_samples: copies of each film.
    """
    n_rows = len(columns[0][1])
    figure = Figure(figsize=(3.2 * len(columns), 2.4 * n_rows), dpi=110, layout="constrained")
    axes = figure.subplots(n_rows, len(columns), squeeze=False)
    for column, (contender, films) in enumerate(columns):
        bundle = loaded(contender, n_samples=n_samples)
        for row, film in enumerate(films):
            result = certify_image(film, bundle, changes=())
            shown = result.picture
            panel = axes[row][column]
            panel.imshow(render_picture(shown.gray, shown.share, shown.top_k_mask, lungs=shown.lungs))
            panel.set_axis_off()
            head = f"{contender.label}\n" if row == 0 else ""
            panel.set_title(head + _lungs(result.record.get("regions", [])), fontsize=8)
    return figure


def _lungs(regions: Sequence[dict[str, object]]) -> str:
    if not regions:
        return "lungs not found"
    found = regions[-1]
    return f"{found['observed']:.0%} of the votes in the lungs" + (": ALARM" if found["alarm"] else "")
