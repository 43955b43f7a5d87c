"""Training of evidence by position: where the lungs and the boxes are, noisy batches, and the loss."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from torch import nn

from monai_robustinterp.networks.denoised import Denoiser
from monai_robustinterp.networks.evidence import EvidenceDenseNet
from monai_robustinterp.networks.lung_fields import LungFields
from monai_robustinterp.training.tables import LabeledImage

_MOSTLY, _HALF, _HARDLY = 0.75, 0.5, 0.25

Box = tuple[float, float, float, float]


def read_boxes(table: str | Path, *, frame: float) -> dict[str, list[Box]]:
    """Boxes by image name without suffix: left, top, width and height in shares of the film's side.

    Args:
        table: CSV with the columns image, x, y, w and h in pixels.
        frame: pixels of the side that these are in.
    """
    boxes: dict[str, list[Box]] = {}
    with Path(table).open(newline="") as file:
        for row in csv.DictReader(file):
            left, top, width, height = (float(row[name]) / frame for name in ("x", "y", "w", "h"))
            boxes.setdefault(Path(row["image"]).stem, []).append((left, top, width, height))
    return boxes


def attention_items(items: Sequence[LabeledImage], boxes: Mapping[str, Sequence[Box]]) -> list[dict[str, Any]]:
    """What the training reads of each item: ``image``, ``label`` and ``boxes``, those of the opacity if it has it."""
    return [
        {
            "image": item["image"],
            "label": item["opacity"],
            "boxes": list(boxes.get(Path(item["image"]).stem, ())) if item["opacity"] == 1 else [],
        }
        for item in items
    ]


class DrawPlacesd(MapTransform):
    """Adds ``places``, float [2, H, W] in {0, 1}: the lung fields of the film, and its boxes.

    Args:
        keys: of the image, float [1, H, W] in [0, 1], square and whole; ``boxes`` lie beside it.
        lung_fields: the segmenter; lung fields that look wrong are left out (all 0).
    """

    def __init__(self, keys: KeysCollection, *, lung_fields: LungFields) -> None:
        super().__init__(keys)
        self.lung_fields = lung_fields

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """See the class."""
        drawn = dict(data)
        film = torch.as_tensor(drawn[self.keys[0]])[0]
        lungs = self.lung_fields(film)
        places = torch.zeros(2, *film.shape)
        if lungs.failure is None:
            places[0] = torch.from_numpy(lungs.pixels.astype(np.float32))
        side = film.shape[-1]
        for box in drawn.pop("boxes"):
            left, top, width, height = (round(side * share) for share in box)
            places[1, top : top + height, left : left + width] = 1
        return drawn | {"places": places}


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

    The labels are mixed with the teacher's probabilities (distillation, Hinton et al. 2015). With a the evidence before
    its softplus, a map a finding, the loss adds (each a mean over cells, then over images):

    - in cells mostly outside of the lungs and off boxes, max(0, a + outside)^2 / outside^2: no evidence there;
    - in the lungs, max(0, -inside - a)^2 / inside^2: a floor above that, or a film without the finding has its top-k
      anywhere;
    - in images with boxes, max(0, margin - (mean a in boxes - mean a in the rest of the lungs)): boxes rank first,
      while the labels alone say how much evidence there is.

    Args:
        weight: of each of the three.
        outside: evidence before its softplus is to lie below its negative there.
        inside: the floor is its negative.
        margin: by which the evidence in boxes is to lie above that beside them.
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
        self.outside, self.inside, self.margin = outside, inside, margin

    def forward(self, output: tuple[torch.Tensor, torch.Tensor], target: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch.

        Args:
            output: of :class:`WithEvidence`.
            target: ``label`` [B], ``places`` [B, 2, H, W], and ``taught`` [B, classes], the teacher's logits.
        """
        logits, before = output
        a = before[:, 0]
        lungs, boxes = F.adaptive_avg_pool2d(target["places"], (a.shape[-2], a.shape[-1])).unbind(dim=1)
        known = (lungs > _MOSTLY).flatten(1).any(dim=1).float()[:, None, None]
        boxed = (boxes > _MOSTLY).flatten(1).any(dim=1).float()[:, None, None]
        out = known * (lungs < _HALF) * (boxes == 0)
        found = boxed * (boxes > _MOSTLY)
        rest = boxed * (boxes < _HARDLY) * (lungs > _MOSTLY)
        ranked = F.relu(self.margin - _of_images(a, found) + _of_images(a, rest))
        places = (
            _mean(F.relu(a + self.outside).square() / self.outside**2, out)
            + _mean(F.relu(-self.inside - a).square() / self.inside**2, known * (lungs > _MOSTLY))
            + (ranked * boxed[:, 0, 0]).sum() / boxed.sum().clamp(min=1)
        )
        labels = F.one_hot(target["label"].long(), logits.shape[-1]).float()
        smooth = labels.lerp(torch.full_like(labels, 1 / logits.shape[-1]), self.label_smoothing)
        decided = F.cross_entropy(logits, smooth.lerp(target["taught"].softmax(dim=-1), self.teaching))
        loss: torch.Tensor = decided + self.weight * places
        return loss


def _of_images(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Mean over the cells of each image [B]; 0 if it has none."""
    return (values * where).sum(dim=(1, 2)) / where.sum(dim=(1, 2)).clamp(min=1)


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """The same over the images that have such cells; 0 if none has."""
    return _of_images(values, where).sum() / where.flatten(1).any(dim=1).sum().clamp(min=1)
