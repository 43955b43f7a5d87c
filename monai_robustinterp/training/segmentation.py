"""Films with masks, and how well a segmenter's masks agree with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import torch
from monai.metrics.meandice import DiceMetric
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.training.tables import LabeledImage
from monai_robustinterp.training.tables.common import find_images


class MaskedImage(TypedDict):
    """A film and the file of its mask, both by path."""

    image: str
    mask: str
    patient: str
    split: str


def with_masks(items: Iterable[LabeledImage], folder: str | Path) -> list[MaskedImage]:
    """The items whose mask is there.

    Args:
        items: of a set.
        folder: masks anywhere under it, named as the images.

    Raises:
        InputRefused: if there is no such folder, two masks have one name, or no image has a mask.
    """
    masks = find_images(folder, lambda path: path.stem)
    found = [
        MaskedImage(
            image=item["image"], mask=masks[Path(item["image"]).stem], patient=item["patient"], split=item["split"]
        )
        for item in items
        if Path(item["image"]).stem in masks
    ]
    if not found:
        raise InputRefused(
            f"none of the images has a mask: the folder holds {len(masks)} masks, which must be named as the "
            "images are. Pass the folder of the masks."
        )
    return found


def mean_dice(network: nn.Module, dataset: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, float]:
    """Mean Dice coefficient of logits above 0, for learning curves: ``{"dice": 0.95}``.

    Args:
        network: returns logits [B, 1, H, W].
        dataset: ``image`` and ``label``, float [1, H, W] each; labels above one half are the mask.
    """
    metric = DiceMetric()
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        for entry in dataset:
            found = network(entry["image"][None].to(device)) > 0
            metric(found.float().cpu(), (entry["label"][None] > 0.5).float())
    return {"dice": float(metric.aggregate())}
