"""A record of exact intervals checked on the network: witnesses, points and boundaries of regions, by autograd alone.

Nothing of the walk is used: the image is read again, and every number comes from one forward and one backward pass of
the plain network in float64.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_robustinterp.attention.perturbations import Perturbation, make_perturbation
from monai_robustinterp.audit import RegionRow
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.networks.provenance import network_sha256
from monai_robustinterp.noise.counter import image_sha256

SAMPLE = 8
"""Regions that are looked at, beside those at the ends of the intervals."""
_AGREE = 1e-6
"""Relative difference that a recomputed number may have: other kernels on another machine."""
_SAME_MAP = 1e-9
"""Share of a map's norm by which two maps of one region may differ."""
_STEPS = 16
"""Halvings of the distance between two regions: their boundary is found to 2e-5 of it."""


@dataclass(frozen=True)
class Rechecked:
    """What was found.

    Attributes:
        differences: what contradicts the record, one sentence each; empty if nothing does.
        witnesses: that were evaluated.
        regions: that were looked at.
        boundaries: that were found again by bisection.
        unseen: boundaries at which the map does not change, so that bisection cannot find them.
    """

    differences: tuple[str, ...]
    witnesses: int
    regions: int
    boundaries: int
    unseen: int


def recheck(
    record: Mapping[str, Any],
    regions: Sequence[RegionRow],
    *,
    source: str | Path,
    bundle: SaliencyBundle,
    sample: int = SAMPLE,
    progress: Callable[[], object] | None = None,
) -> Rechecked:
    """Evaluates the network of a record that was audited (:func:`~monai_robustinterp.audit.verify_attention`).

    Args:
        record: content of attention.json.
        regions: rows of its regions.csv.
        source: the image file.
        bundle: with the network.
        sample: regions that are drawn at random, by the record's own hash; their number is a matter of time.
        progress: called after each region.
    """
    image = bundle.preprocessed(bundle.preprocessing({"image": str(source)}, end=1)).as_tensor().float()
    found = {"image_sha256": image_sha256(image), "network_sha256": network_sha256(bundle.network)}
    recorded = {"image_sha256": record["image_sha256"], "network_sha256": record["provenance"]["network_sha256"]}
    others = [name for name in found if found[name] != recorded[name]]
    if others:
        return Rechecked(
            (f"the image or the network is another one than the record's ({', '.join(others)})",), 0, 0, 0, 0
        )
    check = _Check(record, bundle, image)
    check.clean()
    witnesses = check.witnesses()
    drawn = random.Random(record["content_sha256"]).sample(range(len(regions)), min(sample, len(regions)))
    at_ends = [i for i, row in enumerate(regions) if any(row.low <= end <= row.high for end in check.ends())]
    chosen = sorted({*drawn, *at_ends})
    boundaries = [check.region(regions, i, progress) for i in chosen]
    seen = [one for one in boundaries if one is not None]
    return Rechecked(tuple(check.differences), witnesses, len(chosen), sum(seen), len(seen) - sum(seen))


class _Check:
    def __init__(self, record: Mapping[str, Any], bundle: SaliencyBundle, image: torch.Tensor) -> None:
        self.differences: list[str] = []
        self._record, self._settings = record, record["settings"]
        self._target, self._sigmoid = (
            record["finding"]["target"],
            bundle.inferer.recipe.findings.activation == "sigmoid",
        )
        self._network: nn.Module = copy.deepcopy(bundle.network).double().eval()
        self._image = image.double().to(next((p.device for p in self._network.parameters()), image.device))
        self._change = _perturbation(self._settings["perturbation"])
        self._logits, self._map = self._at(0.0)
        self._cells = self._strongest(self._map)

    def clean(self) -> None:
        """Compares what is said of the clean image."""
        logits = self._logits.tolist()
        if len(logits) != len(self._record["logits"]) or not all(map(_near, logits, self._record["logits"])):
            self.differences.append("the logits of the clean image are others")
        if not _near(float(self._map.norm()), self._record["map_norm"]):
            self.differences.append("the norm of the clean map is another one")

    def ends(self) -> list[float]:
        """Ends of the proven intervals."""
        return [theta for result in self._record["results"].values() for theta in result["interval"]]

    def witnesses(self) -> int:
        """Evaluates the property at every witness, and in the middle of every proven side."""
        number = 0
        for name, result in self._record["results"].items():
            for side in ("below", "above"):
                reach = result[side]
                inside = self._value(name, reach["theta"] / 2)
                if self._violated(name, inside):
                    self.differences.append(f"{name} is violated within the interval, at {reach['theta'] / 2:g}")
                if reach["witness"] is None:
                    continue
                number += 1
                value = self._value(name, reach["witness"])
                if not self._violated(name, value) or not _near(value, reach["witness_value"]):
                    self.differences.append(
                        f"the witness of {name} {side} 0 gives {value:g}, and the record says "
                        f"{reach['witness_value']:g}"
                    )
        return number

    def region(self, regions: Sequence[RegionRow], i: int, progress: Callable[[], object] | None) -> bool | None:
        """Looks at one region and at its boundary with the next one.

        Returns:
            Whether bisection found the boundary; None for the last region.
        """
        row = regions[i]
        values = {name: self._value(name, row.theta) for name in row.values}
        off = [name for name in values if not _near(values[name], row.values[name])]
        if off:
            self.differences.append(f"region {i} has other values at {row.theta!r} ({', '.join(off)})")
        inner = [row.low + share * (row.high - row.low) for share in (0.02, 0.5, 0.98)]
        maps = [self._at(theta)[1] for theta in inner]
        if not all(self._same(maps[0], one) for one in maps):
            self.differences.append(f"the map changes within region {i}, which is more than one")
        if progress is not None:
            progress()
        return self._boundary(row, regions[i + 1], i) if i + 1 < len(regions) else None

    def _boundary(self, row: RegionRow, following: RegionRow, i: int) -> bool:
        """Finds the boundary of two regions by bisection, from their middles."""
        low, high = (row.low + row.high) / 2, (following.low + following.high) / 2
        before, after = self._at(low)[1], self._at(high)[1]
        if self._same(before, after):
            return False
        distance = high - low
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._same(before, self._at(middle)[1]) else (low, middle)
        if not low - _AGREE * distance <= row.high <= high + _AGREE * distance:
            self.differences.append(f"the map changes at {high!r}, and region {i} ends at {row.high!r}")
        return True

    def _at(self, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [classes] and gradient map [H, W] of the changed image."""
        inputs = self._change(self._image, theta)[None].requires_grad_()
        with torch.enable_grad():
            logits = self._network(inputs)
            (gradient,) = torch.autograd.grad(logits[0, self._target], inputs)
        return logits[0].detach().cpu(), gradient[0, 0].cpu()

    def _same(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        return float((one - other).norm()) <= _SAME_MAP * float(self._map.norm())

    def _value(self, name: str, theta: float) -> float:
        logits, saliency = self._at(theta)
        if name == "attention":
            expected = self._map + theta * self._change.expected_direction(self._map[None])[0]
            return float((saliency - expected).norm())
        if name == "top_k":
            return float(len(self._cells & self._strongest(saliency)))
        if self._sigmoid:
            return float((logits * self._logits.sign()).min())
        best = int(self._logits.argmax())
        others = torch.cat([logits[:best], logits[best + 1 :]])
        return float(logits[best] - others.max())

    def _strongest(self, saliency: torch.Tensor) -> set[int]:
        side, rows = self._settings["cell_size"], saliency.shape[0]
        cells = saliency.abs().reshape(rows // side, side, -1, side).sum(dim=(1, 3)).flatten()
        return set(cells.argsort(descending=True, stable=True)[: self._settings["top_k"]].tolist())

    def _violated(self, name: str, value: float) -> bool:
        if name == "attention":
            return value > float(self._settings["delta"])
        return value < float(self._settings["overlap_needed"] if name == "top_k" else 0)


def _perturbation(settings: Mapping[str, Any]) -> Perturbation:
    return make_perturbation(
        settings["name"], **{key: value for key, value in settings.items() if key not in ("name", "unit")}
    )


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _AGREE * max(1.0, abs(one), abs(other))
