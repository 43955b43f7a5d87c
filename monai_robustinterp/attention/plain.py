"""The plain network of a record, by autograd in float64: nothing of a walk is used."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_robustinterp.attention.perturbations import Perturbation, make_perturbation
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.networks.provenance import network_sha256
from monai_robustinterp.noise.counter import image_sha256

AGREE = 1e-6
"""Relative difference that a recomputed number may have: other kernels on another machine."""
_SAME_MAP = 1e-9
"""Share of a map's norm by which two maps of one region may differ."""
Strengths = Sequence[float]
"""One of each perturbation."""


class PlainNetwork:
    """Decision, map and strongest cells of the changed image, each by one forward and one backward pass.

    Args:
        record: content of attention.json, that was audited.
        perturbations: entries of its settings.
        source: the image file.
        bundle: with the network.
    """

    def __init__(
        self,
        record: Mapping[str, Any],
        perturbations: Sequence[Mapping[str, Any]],
        *,
        source: str | Path,
        bundle: SaliencyBundle,
    ) -> None:
        self._record, self._settings, self._target = record, record["settings"], record["finding"]["target"]
        self._sigmoid = bundle.inferer.recipe.findings.activation == "sigmoid"
        image = bundle.preprocessed(bundle.preprocessing({"image": str(source)}, end=1)).as_tensor().float()
        self._hashes = {"image_sha256": image_sha256(image), "network_sha256": network_sha256(bundle.network)}
        self._network: nn.Module = copy.deepcopy(bundle.network).double().eval()
        self._image = image.double().to(next((p.device for p in self._network.parameters()), image.device))
        self._changes = [_perturbation(one) for one in perturbations]

    @cached_property
    def _clean(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.at([0.0] * len(self._changes))

    @property
    def _logits(self) -> torch.Tensor:
        return self._clean[0]

    @property
    def _map(self) -> torch.Tensor:
        return self._clean[1]

    def others(self) -> list[str]:
        """What contradicts the record of image and network, of the clean image too; empty if nothing does."""
        recorded = {**self._record["provenance"], "image_sha256": self._record["image_sha256"]}
        names = [name for name, value in self._hashes.items() if value != recorded[name]]
        if names:
            return [f"the image or the network is another one than the record's ({', '.join(names)})"]
        found, logits = [], self._logits.tolist()
        if len(logits) != len(self._record["logits"]) or not all(map(agree, logits, self._record["logits"])):
            found.append("the logits of the clean image are others")
        if not agree(float(self._map.norm()), self._record["map_norm"]):
            found.append("the norm of the clean map is another one")
        return found

    def at(self, strengths: Strengths) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [classes] and gradient map [H, W] of the changed image."""
        inputs = self._image.clone()
        for change, strength in zip(self._changes, strengths):
            inputs = inputs + strength * change.direction(self._image)
        inputs = inputs[None].requires_grad_()
        with torch.enable_grad():
            logits = self._network(inputs)
            (gradient,) = torch.autograd.grad(logits[0, self._target], inputs)
        return logits[0].detach().cpu(), gradient[0, 0].cpu()

    def same_map(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """Whether two maps are those of one region."""
        return float((one - other).norm()) <= _SAME_MAP * float(self._map.norm())

    def value(self, name: str, strengths: Strengths) -> float:
        """A property's value at strengths."""
        logits, saliency = self.at(strengths)
        if name == "attention":
            expected = self._map.clone()
            for change, strength in zip(self._changes, strengths):
                expected = expected + strength * change.expected_direction(self._map[None])[0]
            return float((saliency - expected).norm())
        if name == "top_k":
            return float(len(self._strongest(self._map) & self._strongest(saliency)))
        if self._sigmoid:
            return float((logits * self._logits.sign()).min())
        best = int(self._logits.argmax())
        others = torch.cat([logits[:best], logits[best + 1 :]])
        return float(logits[best] - others.max())

    def violated(self, name: str, value: float) -> bool:
        """Whether a property of this value does not hold."""
        if name == "attention":
            return value > float(self._settings["delta"])
        return value < float(self._settings["overlap_needed"] if name == "top_k" else 0)

    def _strongest(self, saliency: torch.Tensor) -> set[int]:
        side, rows = self._settings["cell_size"], saliency.shape[0]
        cells = saliency.abs().reshape(rows // side, side, -1, side).sum(dim=(1, 3)).flatten()
        return set(cells.argsort(descending=True, stable=True)[: self._settings["top_k"]].tolist())


def agree(one: float, other: float) -> bool:
    """Whether a recomputed number is the recorded one."""
    return abs(one - other) <= AGREE * max(1.0, abs(one), abs(other))


def _perturbation(settings: Mapping[str, Any]) -> Perturbation:
    return make_perturbation(
        settings["name"], **{key: value for key, value in settings.items() if key not in ("name", "unit")}
    )
