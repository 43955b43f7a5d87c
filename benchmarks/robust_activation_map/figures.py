"""Pictures after the paper's figures 1 and 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from benchmarks.robust_activation_map.attack import ATTACKS, attacked
from benchmarks.robust_activation_map.measure import LAYER, TOP_CLASSES, TOP_SHARE
from monai_robustinterp.interpreters import CAM, RobustActivationMap
from monai_robustinterp.visualize.overlay import render_picture

_COLORS = ("#0072b2", "#56b4e9", "#e69f00", "#d55e00")


@dataclass(frozen=True)
class Row:
    """Titles and pictures of one X-ray, RGB uint8 [H, W, 3]."""

    titles: list[str]
    pictures: list[Any]


def ranks_figure(results: dict[str, Any]) -> Figure:
    """Share of each rank: of the attacked image's class before, and of the clean image's class after the attack."""
    figure = Figure(figsize=(11, 3.8), dpi=90, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    n_classes = len(results["classes"])
    _bars(left, results, "rank_of_adversarial", n_classes)
    _bars(right, results, "rank_of_original", n_classes)
    left.set(title="class of the attacked image", xlabel="its rank on the clean image", ylabel="share of the images")
    right.set(title="class of the clean image", xlabel="its rank on the attacked image")
    left.legend(fontsize=8)
    return figure


def _bars(axes: Axes, results: dict[str, Any], quantity: str, n_classes: int) -> None:
    ranks = np.arange(2, n_classes + 1)
    for i, (attack, color) in enumerate(zip(ATTACKS, _COLORS)):
        found = np.array(results["attacks"][attack.key][quantity])
        shares = (found[:, None] == ranks).mean(axis=0)
        axes.bar(ranks + 0.2 * (i - 1.5), shares, width=0.2, color=color, label=attack.title)
    axes.axhline(1 / (n_classes - 1), color="0.35", linestyle="--", linewidth=1, label="chance")
    axes.set_xticks(ranks)


def map_row(network: nn.Module, image: torch.Tensor, classes: Sequence[str]) -> Row:
    """X-ray, CAM and robust map before and after the first attack, of one image [1, 1, H, W]."""
    moved = attacked(network, image, ATTACKS[0])
    titles, pictures = [], []
    robust = RobustActivationMap(LAYER, TOP_CLASSES)
    predicted = [int(network(shown).argmax()) for shown in (image, moved)]
    for name, shown, target in zip(("clean", "attacked"), (image, moved), predicted):
        maps = CAM(LAYER).attribute(network, shown, target).maps
        titles.append(f"CAM, {name}: {classes[target]}")
        pictures.append(_painted(shown, maps))
    for name, shown in zip(("clean", "attacked"), (image, moved)):
        titles.append(f"robust map, {name}")
        pictures.append(_painted(shown, robust.attribute(network, shown, 0).maps))
    distance = float((moved - image).norm())
    plain = np.repeat(np.rint(255 * image[0, 0].numpy()).astype(np.uint8)[..., None], 3, axis=-1)
    return Row([f"X-ray; attack of l2 {distance:.2f}", *titles], [plain, *pictures])


def _painted(image: torch.Tensor, maps: torch.Tensor) -> Any:
    """The positive part of a map over its maximum, in color, and the top share of its pixels, outlined."""
    values = maps[0, 0].numpy()
    share = values.clip(min=0) / max(float(values.max()), 1e-30)
    return render_picture(image[0, 0].numpy(), share, values > np.quantile(values, 1 - TOP_SHARE))


def maps_figure(rows: Sequence[Row]) -> Figure:
    """One X-ray a row."""
    figure = Figure(figsize=(12.5, 2.75 * len(rows)), dpi=72, layout="constrained")
    for line, row in zip(figure.subplots(len(rows), 5, squeeze=False), rows):
        for axes, title, picture in zip(line, row.titles, row.pictures):
            axes.imshow(picture)
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
    return figure
