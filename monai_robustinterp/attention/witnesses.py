"""The changed images at the ends of what is proven and at the witnesses, as a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure

from monai_robustinterp.attention.properties import Property, TopKOverlap
from monai_robustinterp.visualize.changed_images import ChangedImage, changed_figure

At = TypeVar("At")
_TITLE = (
    "Images at the ends of what is proven, and at the witnesses just outside; yellow: strongest cells of the plain "
    "map. Such changes may be too small to see."
)


def witness_figure(
    named: Iterable[tuple[At, str]],
    properties: Sequence[Property],
    *,
    clean: At,
    changed: Callable[[At], torch.Tensor],
    maps: Callable[[At], torch.Tensor],
    shown: Callable[[At], str],
) -> Figure:
    """Draws the clean image, then one at each strength.

    Args:
        named: strengths with what each of them is; those of one strength share an image.
        properties: that were checked.
        clean: the strength without a change.
        changed: the image at a strength, [1, H, W].
        maps: gradient maps there, [labels, 1, H, W].
        shown: a strength in words.
    """
    titles: dict[At, list[str]] = {clean: ["clean image"]}
    for strength, what in named:
        titles.setdefault(strength, []).append(what)
    (cells,) = [one for one in properties if isinstance(one, TopKOverlap)]
    return changed_figure(
        [
            ChangedImage(
                "\n".join([shown(strength), *some]),
                changed(strength)[0].cpu().numpy(),
                _strongest(cells, maps(strength)),
            )
            for strength, some in titles.items()
        ],
        title=_TITLE,
    )


def _strongest(cells: TopKOverlap, maps: torch.Tensor) -> np.ndarray:
    found = TopKOverlap.of(maps, cell_size=cells.cell_size, top_k=int(cells.clean.sum()), needed=1).clean
    return np.kron(found.cpu().numpy(), np.ones((cells.cell_size, cells.cell_size), dtype=bool))
