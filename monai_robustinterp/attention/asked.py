"""What is asked of the plain map of one image file, along one parameter or two, and what every record of it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from monai_robustinterp.attention.perturbations import Perturbation
from monai_robustinterp.attention.properties import (
    AttentionRobustness,
    ClassificationRobustness,
    Property,
    TopKOverlap,
    norm_of,
)
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.overlap import required_overlap
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.networks.provenance import provenance
from monai_robustinterp.noise.counter import image_sha256


@dataclass(frozen=True, kw_only=True)
class Change:
    """How much may change.

    Attributes:
        delta: largest ai(theta); None takes ``share``.
        share: delta as a share of the norm of the clean map; None takes ``delta``.
        beta: share of the top-k cells that must stay; None takes the bundle's.

    Raises:
        InputRefused: if not exactly one of delta and share is given, or it is not a number above 0.
    """

    delta: float | None = None
    share: float | None = None
    beta: float | str | None = None

    def __post_init__(self) -> None:
        if (self.delta is None) == (self.share is None):
            raise InputRefused("give either delta or share: the largest change of the map, absolute or relative.")
        for name in ("delta", "share"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputRefused(f"{name} is {value:g}; it must be above 0, since a map that stays has ai = 0.")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An image file as the network takes it.

    Attributes:
        image: the network's input [1, H, W], with the metadata of its source.
        bundle: of the classifier.
        target: the explained logit, which is the only label of ai.
        input_warnings: what is doubtful in the image.
    """

    image: MetaTensor
    bundle: SaliencyBundle
    target: int
    input_warnings: tuple[str, ...]

    @property
    def clean(self) -> torch.Tensor:
        """The network's input, float32 [1, H, W]."""
        found: torch.Tensor = self.image.as_tensor().detach().to(torch.float32)
        return found


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What must hold.

    Attributes:
        properties: of the decision, the map and its strongest cells, in this order.
        logits: of the clean image, float64 [classes].
        delta: the bound of ai(theta).
        map_norm: || map(x) ||_2.
    """

    properties: tuple[Property, ...]
    logits: torch.Tensor
    delta: float
    map_norm: float


def load(source: str | Path, bundle: SaliencyBundle) -> Loaded:
    """Reads an image file: DICOM, NIfTI or PNG/JPEG.

    Raises:
        InputRefused: if it is no image that can be explained.
    """
    image: MetaTensor = bundle.preprocessed(bundle.preprocessing({"image": str(source)}, end=1))
    clean = image.as_tensor().detach().to(torch.float32)
    recipe = bundle.inferer.recipe
    input_warnings = recipe.check_input(clean)
    with explaining(bundle.network):
        _, target = recipe.clean_logits(clean, bundle.network)
    return Loaded(image=image, bundle=bundle, target=target, input_warnings=input_warnings)


def expected_changes(maps: torch.Tensor, perturbation: Perturbation) -> torch.Tensor:
    """The derivative by theta of what maps [labels, 1, H, W] are expected to be, of their shape."""
    return torch.stack([perturbation.expected_direction(one) for one in maps])


def ask(
    bundle: SaliencyBundle, change: Change, logits: torch.Tensor, maps: torch.Tensor, expected: torch.Tensor
) -> Asked:
    """The three properties of a clean image.

    Args:
        bundle: of the classifier.
        change: that is allowed.
        logits: of the clean image, [classes].
        maps: its gradient maps, [labels, 1, H, W].
        expected: as in :class:`~monai_robustinterp.attention.properties.AttentionRobustness`.

    Raises:
        InputRefused: if the image has no map.
    """
    recipe = bundle.inferer.recipe
    size = norm_of(maps)
    if not size > 0:
        raise InputRefused("the gradient map of the clean image is 0 everywhere: there is no attention to verify.")
    delta = change.delta if change.delta is not None else float(change.share or 0) * size
    beta = bundle.inferer.claim.beta if change.beta is None else change.beta
    needed = required_overlap(recipe.top_k, beta)
    properties = (
        ClassificationRobustness.of(logits.cpu(), recipe.findings.activation),
        AttentionRobustness(maps, expected, delta),
        TopKOverlap.of(maps, cell_size=recipe.cell_size, top_k=recipe.top_k, needed=needed),
    )
    return Asked(properties=properties, logits=logits.cpu(), delta=delta, map_norm=size)


def settings_record(loaded: Loaded, asked: Asked, time_budget_s: float | None) -> dict[str, Any]:
    """What was asked but for the perturbation, for the record."""
    recipe = loaded.bundle.inferer.recipe
    return {
        "delta": asked.delta,
        "share_of_map": asked.delta / asked.map_norm,
        "top_k": recipe.top_k,
        "cell_size": recipe.cell_size,
        "overlap_needed": int(asked.properties[2].threshold),
        "time_budget_s": time_budget_s,
        "precision": "float64",
    }


def image_record(loaded: Loaded, asked: Asked) -> dict[str, Any]:
    """What was verified: the finding, the image, the network."""
    bundle, target = loaded.bundle, loaded.target
    findings = bundle.inferer.recipe.findings
    return {
        "finding": {
            "name": findings.name(target),
            "target": target,
            "score": findings.score(asked.logits.numpy(), target),
        },
        "logits": asked.logits.tolist(),
        "map_norm": asked.map_norm,
        "image_sha256": image_sha256(loaded.clean),
        "input_warnings": list(loaded.input_warnings),
        "source": source_record(loaded.image.meta, loaded.image.shape[-2:]),
        "provenance": provenance(bundle.network, loaded.image, bundle.files),
    }


def kept_key(loaded: Loaded, asked: Asked) -> Mapping[str, Any]:
    """All that a section of a walk depends on, but for its ends and the perturbation."""
    recipe = loaded.bundle.inferer.recipe
    return {
        "image_sha256": image_sha256(loaded.clean),
        "provenance": provenance(loaded.bundle.network, loaded.clean, loaded.bundle.files),
        "target": recipe.target,
        "cells": [recipe.cell_size, recipe.top_k],
        "thresholds": [one.threshold for one in asked.properties],
    }
