"""Loss of independent findings whose labels may be missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monai_robustinterp.training.tables import LabeledImage


class FindingsLoss(nn.Module):
    """Binary cross entropy over the labels that are known, positives weighted.

    Args:
        positive_weight: per finding, see :func:`positive_weights`.
        label_smoothing: labels become ``label_smoothing / 2`` and ``1 - label_smoothing / 2``.
    """

    positive_weight: torch.Tensor

    def __init__(self, positive_weight: npt.NDArray[np.float32], *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("positive_weight", torch.from_numpy(positive_weight))
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the known labels, 0 if there is none.

        Args:
            logits: [B, findings].
            labels: [B, findings], 1, 0 or NaN for unknown.
        """
        known = ~torch.isnan(labels)
        smooth = torch.where(known, labels, 0.0) * (1 - self.label_smoothing) + self.label_smoothing / 2
        # A trainer moves the network to its device, and not the loss.
        weight = self.positive_weight.to(logits.device)
        losses = nn.functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weight, reduction="none")
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)


def finding_labels(items: Sequence[LabeledImage], findings: Sequence[str]) -> npt.NDArray[np.float32]:
    """Labels [items, findings]: 1, 0 or NaN where they are not known."""
    rows = [[(item["findings"] or {}).get(name) for name in findings] for item in items]
    return np.array(rows, dtype=np.float32)  # None becomes NaN


def positive_weights(labels: npt.NDArray[np.float32], *, largest: float = 20.0) -> npt.NDArray[np.float32]:
    """Negatives per positive of each finding, at least 1 and at most ``largest``.

    Args:
        labels: [N, findings], 1, 0 or NaN for unknown.
        largest: keeps rare findings from ruling the loss.
    """
    positives, negatives = np.nansum(labels == 1, axis=0), np.nansum(labels == 0, axis=0)
    weights: npt.NDArray[np.float32] = np.clip(negatives / np.maximum(positives, 1), 1.0, largest).astype(np.float32)
    return weights
