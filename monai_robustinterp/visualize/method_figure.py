"""The method in one picture: what goes in, what a plain map says, what is certified, and the four stages between."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from monai.data import MetaTensor

from monai_robustinterp.certificates import CertifiedResult
from monai_robustinterp.types import Stages, VoteMap
from monai_robustinterp.visualize.caption import DISCLAIMER, guarantee
from monai_robustinterp.visualize.overlay import render_picture

_STAGES = ("noisy copies", "interpretations", "top-k votes")


def method_figure(image: MetaTensor, stages: Stages, result: CertifiedResult) -> Figure:
    """Image | plain map | certified top-k, above the four-stage strip of US 11,341,598, figure 4.

    Args:
        image: the network's input [1, H, W], in [0, 1].
        stages: the first copies of the run, with their maps and votes.
        result: of the whole run.
    """
    votes, certificate = result.votes, result.certificate
    figure = Figure(figsize=(12, 11.2), dpi=110, layout="constrained")
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=(1.0, 1.25)))
    gray = image[0].clamp(0, 1).cpu().numpy()
    share, top_k = votes.channels(certificate.spec.cell_size)
    panels = (
        (f"input ({result.record['finding']['name']})", gray),
        (f"plain {certificate.spec.interpreter}", stages.plain),
        (f"top-{votes.top_k} of {certificate.n_cells} cells", render_picture(gray, share, top_k > 0)),
    )
    for axes, (title, panel) in zip(upper.subplots(1, 3), panels):
        _show(axes, panel, title=title)
    upper.suptitle(guarantee(certificate), fontsize=10, wrap=True)
    _strip(lower, stages, votes, share)
    lower.supxlabel(DISCLAIMER, fontsize=9)
    return figure


def _strip(figure: SubFigure, stages: Stages, votes: VoteMap, share: npt.NDArray[np.float32]) -> None:
    """Rows: copies; columns: the stages; the average of all copies' votes on the right."""
    n_copies = len(stages.copies)
    grid = figure.add_gridspec(n_copies, 4, width_ratios=(1, 1, 1, n_copies))
    for row in range(n_copies):
        for column, arrays in enumerate((stages.copies, stages.maps, stages.votes)):
            title = _STAGES[column] if row == 0 else ""
            _show(figure.add_subplot(grid[row, column]), arrays[row], title=title, inverted=column == 2)
    average = figure.add_subplot(grid[:, 3])
    _show(average, share, title=f"average of the votes of {votes.n_samples} copies", inverted=True)
    figure.colorbar(average.images[0], ax=average, label="share of noisy copies that vote for the cell", shrink=0.9)


def _show(axes: Axes, array: npt.NDArray[Any], *, title: str, inverted: bool = False) -> None:
    axes.imshow(array, cmap="inferno" if inverted else "gray", interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
