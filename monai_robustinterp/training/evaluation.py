"""How well a classifier works with and without the smoothing noise, by patient, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.metrics.classification import (
    area_under_curve,
    auc_interval,
    cohen_kappa,
    youden_threshold,
)
from monai_robustinterp.metrics.intervals import Interval, bootstrap_interval, wilson_interval
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.training.tables import LabeledImage

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
_PROTOCOL = "evaluation"
_BATCH_SIZE = 32
_ADULT = 18


def noisy_logits(
    network: nn.Module, images: Sequence[torch.Tensor], *, sigma: float, n_draws: int = 1, seed: int = 0
) -> Scores:
    """Logits of each image under fresh noise.

    Draw j of an image depends on (seed, image, j) alone, and is the same standard normal at every sigma.

    Args:
        network: returns logits [B, outputs].
        images: float [1, H, W] each, on the network's device.
        sigma: standard deviation of the noise in units of the image; 0 gives one draw.
        n_draws: noisy copies of each image.
        seed: of the noise.

    Returns:
        float64 [images, draws, outputs].
    """
    n_draws = n_draws if sigma > 0 else 1
    at_once = max(1, _BATCH_SIZE // n_draws)
    rows = []
    with explaining(network), torch.no_grad():
        for start in range(0, len(images), at_once):
            copies = [_copies(image, sigma, n_draws, seed) for image in images[start : start + at_once]]
            rows.append(network(torch.cat(copies)).double().cpu().numpy())
    logits = np.concatenate(rows)
    return logits.reshape(len(images), n_draws, logits.shape[-1])


@dataclass(frozen=True)
class Group:
    """Images of one question: is the finding there?

    Attributes:
        name: of the finding or of the source of the images.
        rows: indices of the images whose label is known.
        positive: their labels.
        patients: their patients.
        output: logit of the finding; None for two exclusive classes, whose score is their difference.
    """

    name: str
    rows: npt.NDArray[np.int64]
    positive: Labels
    patients: tuple[str, ...]
    output: int | None = None

    def scores(self, logits: Scores) -> Scores:
        """Decision scores [rows, draws] from the logits [images, draws, outputs] of all images."""
        chosen = logits[self.rows]
        return chosen[..., 1] - chosen[..., 0] if self.output is None else chosen[..., self.output]


def opacity_groups(items: Sequence[LabeledImage]) -> list[Group]:
    """One group a source, since a classifier that knows the source must not gain by it, and one of its known adults.

    Raises:
        InputRefused: if a group has no image with, or none without, opacity.
    """
    groups = []
    for source in sorted({item["source"] for item in items}):
        labels = [item["opacity"] if item["source"] == source else None for item in items]
        groups.append(_group(source, items, labels))
        adults = [label if (item["age"] or 0) >= _ADULT else None for item, label in zip(items, labels, strict=True)]
        if any(label is not None for label in adults):
            groups.append(_group(f"{source}, adults", items, adults))
    return groups


def finding_groups(items: Sequence[LabeledImage], findings: Sequence[str]) -> list[Group]:
    """One group a finding; ``findings[j]`` is logit j.

    Raises:
        InputRefused: if there is no finding, or one has no image with, or none without it.
    """
    if not findings:
        raise InputRefused("no finding has enough positive images: lower min_positives, or check folder and table.")
    return [
        _group(name, items, [(item["findings"] or {}).get(name) for item in items], output)
        for output, name in enumerate(findings)
    ]


def areas_under_curve(
    network: nn.Module, images: Sequence[torch.Tensor], groups: Sequence[Group], *, sigmas: Sequence[float]
) -> dict[str, float]:
    """Area under the curve of each group at each sigma (one draw), for learning curves: ``{"kermany 0.1": 0.98}``."""
    logits = {sigma: noisy_logits(network, images, sigma=sigma) for sigma in sigmas}
    return {
        f"{group.name} {sigma:g}": area_under_curve(group.scores(logits[sigma])[:, 0], group.positive)
        for group in groups
        for sigma in sigmas
    }


def evaluate(
    network: nn.Module,
    images: Sequence[torch.Tensor],
    groups: Sequence[Group],
    *,
    sigmas: Sequence[float] = (0.0, 0.1, 0.25),
    n_draws: int = 8,
) -> dict[str, Any]:
    """Figures of each group; a finding is present where its score is above 0, as in certified runs.

    Args:
        network: returns logits [B, outputs].
        images: float [1, H, W] each, preprocessed, on the network's device.
        groups: see :func:`opacity_groups` and :func:`finding_groups`.
        sigmas: noise levels, 0 among them.
        n_draws: noisy copies of each image.

    Returns:
        JSON values of each group: counts; area under the curve at each sigma (mean over the draws, 95 % bootstrap
        interval over patients); sensitivity and specificity of the clean decision (95 % Wilson interval, images taken
        as independent); at each sigma above 0 agreement of the noisy decision with the clean one (95 % bootstrap
        interval over patients) and Cohen's kappa, means over the draws.
    """
    logits = {sigma: noisy_logits(network, images, sigma=sigma, n_draws=n_draws) for sigma in {0.0, *sigmas}}
    return {
        group.name: _report({sigma: group.scores(values) for sigma, values in sorted(logits.items())}, group)
        for group in groups
    }


def shift_to_youden(
    network: nn.Module, layer: nn.Linear, images: Sequence[torch.Tensor], groups: Sequence[Group]
) -> None:
    """Moves the biases of a findings head so that logit 0 is each finding's Youden point on these clean images.

    Args:
        network: the findings network.
        layer: its last layer, one output a finding.
        images: float [1, H, W] each.
        groups: one group a finding, in the order of the outputs.
    """
    logits = noisy_logits(network, images, sigma=0)
    points = [_youden_point(group.scores(logits)[:, 0], group.positive) for group in groups]
    with torch.no_grad():
        layer.bias.sub_(torch.tensor(points, dtype=layer.bias.dtype, device=layer.bias.device))


def _copies(image: torch.Tensor, sigma: float, n_draws: int, seed: int) -> torch.Tensor:
    """Noisy copies [n_draws, 1, H, W] of one image."""
    if sigma == 0:
        return image[None]
    noise = CounterNoise(seed=seed, image_hash=image_sha256(image), protocol=_PROTOCOL)
    return image + sigma * noise.normal(torch.arange(n_draws, device=image.device), tuple(image.shape))


def _group(name: str, items: Sequence[LabeledImage], labels: Sequence[int | None], output: int | None = None) -> Group:
    rows = [row for row, label in enumerate(labels) if label is not None]
    counts = Counter(labels[row] for row in rows)
    if not (counts[0] and counts[1]):
        raise InputRefused(
            f"group {name!r} of the validation images has {counts[1]} positive and {counts[0]} negative ones; it needs "
            "one of each at least. Check the label table and the split, or leave the finding out."
        )
    return Group(
        name=name,
        rows=np.array(rows, dtype=np.int64),
        positive=np.array([labels[row] == 1 for row in rows], dtype=np.bool_),
        patients=tuple(items[row]["patient"] for row in rows),
        output=output,
    )


def _youden_point(scores: Scores, positive: Labels) -> float:
    """Half way between Youden's threshold and the score below it: no image lies on the point."""
    threshold = youden_threshold(scores, positive)
    below = scores[scores < threshold]
    return float((threshold + below.max()) / 2) if below.size else threshold - 1.0


def _report(scores: dict[float, Scores], group: Group) -> dict[str, Any]:
    positive = group.positive
    decided = scores[0.0][:, 0] > 0
    noisy = {f"{sigma:g}": values > 0 for sigma, values in scores.items() if sigma > 0}
    return {
        "n_positive": int(positive.sum()),
        "n_negative": int((~positive).sum()),
        "n_patients": len(set(group.patients)),
        "sensitivity": _json(wilson_interval(int(decided[positive].sum()), int(positive.sum()))),
        "specificity": _json(wilson_interval(int((~decided[~positive]).sum()), int((~positive).sum()))),
        "auc": {
            f"{sigma:g}": _json(auc_interval(values, positive, group.patients)) for sigma, values in scores.items()
        },
        "agreement": {
            sigma: _json(bootstrap_interval(np.mean, group.patients, draws == decided[:, None]))
            for sigma, draws in noisy.items()
        },
        "kappa": {
            sigma: float(np.mean([cohen_kappa(draw, decided) for draw in draws.T])) for sigma, draws in noisy.items()
        },
    }


def _json(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
