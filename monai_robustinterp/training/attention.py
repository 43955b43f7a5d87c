"""Training of evidence by position for two classes: its items, noisy batches, and the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from monai_robustinterp.networks.denoised import Denoiser
from monai_robustinterp.networks.evidence import EvidenceDenseNet
from monai_robustinterp.training.places import Box, PlacesLoss
from monai_robustinterp.training.tables import LabeledImage


def attention_items(items: Sequence[LabeledImage], boxes: Mapping[str, Sequence[Box]]) -> list[dict[str, Any]]:
    """What the training reads of each item: ``image``, ``label`` and ``boxes`` of the one map, if it has opacity."""
    return [
        {
            "image": item["image"],
            "label": item["opacity"],
            "boxes": [list(boxes.get(Path(item["image"]).stem, ())) if item["opacity"] == 1 else []],
        }
        for item in items
    ]


class WithEvidence(nn.Module):
    """The network with the evidence before its softplus, which training needs beside the logits."""

    def __init__(self, network: EvidenceDenseNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [B, classes], and the evidence before its softplus [B, maps, h, w]."""
        before = self.network.evidence[:-1](self.network.features(images))
        evidence = self.network.evidence[-1](before)
        logits: torch.Tensor = self.network.head(self.network.pool(evidence).flatten(1))
        return logits, before


class NoisyBatch:
    """Prepares batches for a trainer: noise on three images of four, and the denoiser on two of these.

    The first half of a batch gets white noise, evenly from the denoiser's smallest sigma to its largest, and is
    denoised; the next quarter gets it from 0 to ``sigma``; the last gets none. All get another exposure, in brightness
    and slope.

    Args:
        denoiser: before the classifier.
        teacher: a classifier of the same classes; its logits of the images without noise are given beside the labels.
        sigma: largest standard deviation of the noise that the classifier sees itself.
        brightness: standard deviation of the noise's brightness.
        tilt: the same of its slope down and across, at the edge.
    """

    def __init__(self, denoiser: Denoiser, *, teacher: nn.Module, sigma: float, brightness: float, tilt: float) -> None:
        self.denoiser, self.teacher = denoiser, teacher.eval()
        self.sigma, self.brightness, self.tilt = sigma, brightness, tilt

    def __call__(
        self, batch: Mapping[str, torch.Tensor], device: torch.device, non_blocking: bool, **_: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Noisy images, and labels, places and the teacher's logits, as MONAI's trainers ask for them."""
        image, label, places = (
            batch[name].to(device, non_blocking=non_blocking) for name in ("image", "label", "places")
        )
        half, clean = len(image) // 2, len(image) // 4
        low, high = self.denoiser.sigmas or (0.0, self.sigma)
        level = torch.rand(len(image), device=device)
        level = torch.cat([low + (high - low) * level[:half], self.sigma * level[half:]])
        level[len(image) - clean :] = 0
        noisy = self._exposed(image) + level.reshape(-1, 1, 1, 1) * torch.randn_like(image)
        with torch.no_grad():
            taught = self.teacher(image)
            noisy[:half] = self.denoiser.network(noisy[:half], level[:half])
        return noisy, {"label": label, "places": places, "taught": taught}

    def _exposed(self, image: torch.Tensor) -> torch.Tensor:
        brightness, down, across = torch.randn(3, len(image), 1, 1, 1, device=image.device)
        rows, columns = (torch.linspace(-1, 1, side, device=image.device) for side in image.shape[-2:])
        slope = self.tilt * (down * rows[:, None] + across * columns)
        exposed: torch.Tensor = image + self.brightness * brightness + slope
        return exposed


class EvidenceLoss(nn.Module):
    """Cross entropy of labels and teacher, and where the evidence is to be.

    The labels are mixed with the teacher's probabilities (distillation, Hinton et al. 2015).

    Args:
        weight: of each of the three terms of :class:`~monai_robustinterp.training.places.PlacesLoss`.
        outside: as there.
        inside: as there.
        margin: as there.
        label_smoothing: of the labels.
        teaching: share of the teacher in what is to be answered.
    """

    def __init__(
        self,
        *,
        weight: float = 0.3,
        outside: float = 6.0,
        inside: float = 3.0,
        margin: float = 3.0,
        label_smoothing: float = 0.05,
        teaching: float = 0.5,
    ) -> None:
        super().__init__()
        self.weight, self.label_smoothing, self.teaching = weight, label_smoothing, teaching
        self.places = PlacesLoss(outside=outside, inside=inside, margin=margin)

    def forward(self, output: tuple[torch.Tensor, torch.Tensor], target: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch.

        Args:
            output: of :class:`WithEvidence`.
            target: ``label`` [B], ``places`` [B, 2, H, W], and ``taught`` [B, classes], the teacher's logits.
        """
        logits, before = output
        labels = F.one_hot(target["label"].long(), logits.shape[-1]).float()
        smooth = labels.lerp(torch.full_like(labels, 1 / logits.shape[-1]), self.label_smoothing)
        decided = F.cross_entropy(logits, smooth.lerp(target["taught"].softmax(dim=-1), self.teaching))
        loss: torch.Tensor = decided + self.weight * self.places(before, target["places"])
        return loss
