"""Ranks of the classes, and how far the maps move, before and after an attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.robust_activation_map.attack import BATCH, Attack, attacked, norms
from monai_robustinterp.interpreters import CAM, RobustActivationMap
from monai_robustinterp.metrics.overlap import top_k_overlap
from monai_robustinterp.metrics.ranks import class_ranks, spearman
from monai_robustinterp.training.tables import LabeledImage

Array = npt.NDArray[np.float64]

LAYER = "features.norm5"
CELL_SIZE = 8
TOP_SHARE = 0.1
TOP_CLASSES = 5

COMPARISONS = {
    "cam": "CAM of the predicted class, clean and attacked",
    "class": "CAM of the two classes, both on the clean image (only the class changes)",
    "features": "CAM of the original class, clean and attacked (only the features change)",
    "robust": "robust activation map, clean and attacked",
    "cam_noise": "control: CAM of the predicted class, clean and with noise of the attack's norm",
    "robust_noise": "control: robust activation map, clean and with that noise",
    "cam_others": "control: CAM of the predicted class, of two patients",
    "robust_others": "control: robust activation map, of two patients",
}


def chosen(items: Sequence[LabeledImage], n_images: int, *, seed: int) -> list[LabeledImage]:
    """One random image a patient, of the validation patients first and then of random others, sorted by patient."""
    drawn: dict[str, LabeledImage] = {}
    for position in np.random.default_rng(seed).permutation(len(items)):
        drawn.setdefault(items[position]["patient"], items[position])
    ordered = sorted(drawn.values(), key=lambda item: item["split"] != "validation")
    return sorted(ordered[:n_images], key=lambda item: item["patient"])


def class_maps(network: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> Array:
    """The CAM of one class an image, mean over cells: [N, cells]."""
    maps = torch.empty_like(images)
    for target in classes.unique().tolist():
        rows = torch.nonzero(classes == target)[:, 0]
        for part in rows.split(BATCH):
            maps[part] = CAM(LAYER).attribute(network, images[part], target).maps
    return cells(maps)


def robust_maps(network: nn.Module, images: torch.Tensor) -> Array:
    """The robust activation map of each image, mean over cells: [N, cells]."""
    interpreter = RobustActivationMap(LAYER, TOP_CLASSES)
    return cells(torch.cat([interpreter.attribute(network, part, 0).maps for part in images.split(BATCH)]))


def cells(maps: torch.Tensor) -> Array:
    """Signed means over square cells, [N, cells]."""
    return nn.functional.avg_pool2d(maps, CELL_SIZE).flatten(1).double().numpy()


def overlap(first: Array, second: Array) -> Array:
    """Share of the top of the cells (``TOP_SHARE``, rounded up) that two maps have in common, [N]."""
    return top_k_overlap(first, second, top_cells(first.shape[1]))


def top_cells(n_cells: int) -> int:
    """How many cells the top has."""
    return math.ceil(TOP_SHARE * n_cells)


def measure(network: nn.Module, images: torch.Tensor, attack: Attack, *, seed: int) -> dict[str, Any]:
    """What one attack does to the images whose class it changes.

    Args:
        network: in the state of ``explaining``.
        images: float [N, 1, H, W] in [0, 1], one a patient.
        attack: the attack.
        seed: of the noise of the control.

    Returns:
        ``flipped`` (bool, for each image); for those that flipped: ``l2`` and ``linf`` norms, ``rank_of_adversarial``
        in the clean ranking, ``rank_of_original`` in the attacked one, ``overlap`` and ``spearman`` by comparison.
    """
    moved = attacked(network, images, attack)
    clean_logits, moved_logits = _logits(network, images), _logits(network, moved)
    flipped = clean_logits.argmax(dim=1) != moved_logits.argmax(dim=1)
    clean, moved, clean_logits, moved_logits = (x[flipped] for x in (images, moved, clean_logits, moved_logits))
    original, adversarial = clean_logits.argmax(dim=1), moved_logits.argmax(dim=1)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    noisy = clean + noise * (norms(moved - clean) / norms(noise))
    cam, robust = class_maps(network, clean, original), robust_maps(network, clean)
    pairs = {
        "cam": (cam, class_maps(network, moved, adversarial)),
        "class": (cam, class_maps(network, clean, adversarial)),
        "features": (cam, class_maps(network, moved, original)),
        "robust": (robust, robust_maps(network, moved)),
        "cam_noise": (cam, class_maps(network, noisy, _logits(network, noisy).argmax(dim=1))),
        "robust_noise": (robust, robust_maps(network, noisy)),
        "cam_others": (cam, np.roll(cam, 1, axis=0)),
        "robust_others": (robust, np.roll(robust, 1, axis=0)),
    }
    return {
        "flipped": flipped.tolist(),
        "l2": norms(moved - clean).flatten().tolist(),
        "linf": (moved - clean).abs().amax(dim=(1, 2, 3)).tolist(),
        "rank_of_adversarial": class_ranks(clean_logits, adversarial).tolist(),
        "rank_of_original": class_ranks(moved_logits, original).tolist(),
        "noise_flips": int((_logits(network, noisy).argmax(dim=1) != original).sum()),
        "overlap": {name: overlap(*pair).tolist() for name, pair in pairs.items()},
        "spearman": {name: spearman(*pair).tolist() for name, pair in pairs.items()},
    }


def _logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(BATCH)])
