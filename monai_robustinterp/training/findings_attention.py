"""Training of evidence by position for independent findings: its items and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monai_robustinterp.training.losses import FindingsLoss
from monai_robustinterp.training.places import Box, PlacesLoss
from monai_robustinterp.training.tables import LabeledImage


def finding_items(
    items: Sequence[LabeledImage],
    labels: npt.NDArray[np.float32],
    findings: Sequence[str],
    *,
    boxes: Mapping[str, Mapping[str, Sequence[Box]]],
    marks: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """What the training reads of each item: ``image``, ``label``, and ``boxes`` of each finding that it has.

    Args:
        items: of the training.
        labels: of :func:`~monai_robustinterp.training.losses.finding_labels`, [items, findings].
        findings: names of the logits, in order.
        boxes: of :func:`~monai_robustinterp.training.places.read_named_boxes`.
        marks: of a finding what the boxes that show it are called; one that is not there has none.
    """
    return [
        {
            "image": item["image"],
            "label": row,
            "boxes": [
                [box for mark in marks.get(finding, ()) for box in named.get(mark, ())] if label == 1 else []
                for finding, label in zip(findings, row)
            ],
        }
        for item, row in zip(items, labels, strict=True)
        for named in [boxes.get(Path(item["image"]).stem, {})]
    ]


class FindingsEvidenceLoss(nn.Module):
    """Weighted binary cross entropy of known labels and teacher, and where the evidence of each finding is to be.

    The labels are mixed with the teacher's probabilities (distillation, Hinton et al. 2015).

    Args:
        positive_weight: see :class:`~monai_robustinterp.training.losses.FindingsLoss`.
        weight: of each of the three terms of :class:`~monai_robustinterp.training.places.PlacesLoss`.
        label_smoothing: as in the former.
        teaching: share of the teacher in what is to be answered.
    """

    def __init__(
        self,
        positive_weight: npt.NDArray[np.float32],
        *,
        weight: float = 0.5,
        label_smoothing: float = 0.0,
        teaching: float = 0.5,
    ) -> None:
        super().__init__()
        self.weight, self.teaching = weight, teaching
        self.labels = FindingsLoss(positive_weight, label_smoothing=label_smoothing)
        self.places = PlacesLoss()

    def forward(self, output: tuple[torch.Tensor, torch.Tensor], target: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch.

        Args:
            output: of :class:`~monai_robustinterp.training.attention.WithEvidence`, a map a finding.
            target: ``label`` [B, findings], 1, 0 or NaN for unknown, ``places`` [B, 1 + findings, H, W], and ``taught``
                [B, findings], the teacher's logits.
        """
        logits, before = output
        labels = target["label"].lerp(target["taught"].sigmoid(), self.teaching)
        loss: torch.Tensor = self.labels(logits, labels) + self.weight * self.places(before, target["places"])
        return loss
