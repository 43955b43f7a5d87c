"""Class distortion: what a mask that is optimized for one class does to the scores of the others.

That of any map is in :mod:`~monai_robustinterp.metrics.non_target_distortion`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.mask_optimization import MaskInterpreter


@dataclass(frozen=True, kw_only=True)
class ClassDistortion:
    """Scores in [0, 1] of one image, of the perturbed one (the region taken away) and of the reversed one (it alone).

    Kim, Kim, Kim and Ro (IEEE Transactions on Image Processing 31:301, 2022) call the change of the other classes class
    distortion; the means below are this package's summary of it.

    Attributes:
        target: score of the explained class at the image.
        target_perturbed: at the perturbed image.
        target_reversed: at the reversed image.
        others: mean score of the other classes at the image; NaN where there is none.
        others_change: mean absolute change of each other class from the image to the perturbed one.
        others_reversed: mean score of the other classes at the reversed image.
        removed: share of the image that the mask takes away, in [0, 1].
    """

    target: float
    target_perturbed: float
    target_reversed: float
    others: float
    others_change: float
    others_reversed: float
    removed: float

    @property
    def fall(self) -> float:
        """By how much the target's score falls when the region is taken away."""
        return self.target - self.target_perturbed


def class_distortion(
    network: nn.Module,
    interpreter: MaskInterpreter,
    image: torch.Tensor,
    scores: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]],
) -> ClassDistortion:
    """Optimizes the mask of one image, for its class with the largest logit, and measures what it does.

    Args:
        network: returns logits [B, classes].
        interpreter: the method.
        image: float [1, H, W], preprocessed.
        scores: makes scores in [0, 1] of logits [classes].
    """
    with explaining(network):
        with torch.no_grad():
            logits = network(image[None])
        target = int(logits.argmax())
        run = interpreter.optimize(network, image[None].clone(), target, snapshots=[interpreter.n_steps])
    (last,) = run.snapshots
    clean, perturbed, reversed_ = (scores(x[0].cpu().numpy()) for x in (logits, last.perturbed, last.reversed))
    others = np.arange(len(clean)) != target
    return ClassDistortion(
        target=float(clean[target]),
        target_perturbed=float(perturbed[target]),
        target_reversed=float(reversed_[target]),
        others=_mean(clean[others]),
        others_change=_mean(np.abs(perturbed - clean)[others]),
        others_reversed=_mean(reversed_[others]),
        removed=float(1 - last.masks.mean()),
    )


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
