"""One image file, verified on a bundle's classifier, and its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from monai_robustinterp.attention.line import Line
from monai_robustinterp.attention.parts import Parts
from monai_robustinterp.attention.perturbations import Perturbation
from monai_robustinterp.attention.properties import (
    AttentionRobustness,
    ClassificationRobustness,
    Property,
    TopKOverlap,
    norm_of,
)
from monai_robustinterp.attention.verify import END_SENTENCES, Reach, Traversal, traverse
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.overlap import required_overlap
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import sealed
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.networks.provenance import provenance
from monai_robustinterp.noise.counter import image_sha256

FORMAT = "monai_robustinterp/attention/1"
CLAIM = (
    "of the network without smoothing, in real numbers, under the bound on round-off of docs/theory/attention.md: "
    "within each interval the property holds for every theta; nothing is said of other changes, nor of stored pixels "
    "that are rounded or clipped"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked.

    Attributes:
        perturbation: of one parameter theta.
        low: lower end of its range.
        high: upper end.
        delta: largest ai(theta); None takes ``share``.
        share: delta as a share of the norm of the clean map; None takes ``delta``.
        beta: share of the top-k cells that must stay; None takes the bundle's.
        time_budget_s: seconds; None walks to the end.

    Raises:
        InputRefused: if not exactly one of delta and share is given, or it is not a number above 0.
    """

    perturbation: Perturbation
    low: float
    high: float
    delta: float | None = None
    share: float | None = None
    beta: float | str | None = None
    time_budget_s: float | None = None

    def __post_init__(self) -> None:
        if (self.delta is None) == (self.share is None):
            raise InputRefused("give either delta or share: the largest change of the map, absolute or relative.")
        for name in ("delta", "share"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputRefused(f"{name} is {value:g}; it must be above 0, since a map that stays has ai = 0.")
        least, most = self.perturbation.span
        if not least <= self.low <= 0 <= self.high <= most:
            raise InputRefused(
                f"the range [{self.low:g}, {self.high:g}] must contain 0 and lie within [{least:g}, {most:g}], where "
                f"{self.perturbation.name!r} has a meaning."
            )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What the exact traversal says of one image.

    Attributes:
        image: the network's input [1, H, W], with the metadata of its source.
        bundle: of the classifier.
        settings: what was asked.
        target: the explained logit, which is the only label of ai.
        logits: of the clean image, float64 [classes].
        delta: the bound of ai(theta).
        map_norm: || map(x) ||_2.
        n_switches: places where the network may change its piece.
        traversal: with the intervals.
        input_warnings: what is doubtful in the image.
    """

    image: MetaTensor
    bundle: SaliencyBundle
    settings: Settings
    target: int
    logits: torch.Tensor
    delta: float
    map_norm: float
    n_switches: int
    traversal: Traversal
    input_warnings: tuple[str, ...]


def verify_image(
    source: str | Path,
    bundle: SaliencyBundle,
    settings: Settings,
    *,
    workers: int = 1,
    parts: Path | None = None,
    progress: Callable[[float], object] | None = None,
) -> Verified:
    """Verifies classification robustness, attention robustness and top-k overlap of one image file.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: its network is verified by itself: without noise and without a denoiser.
        settings: what is asked.
        workers: processes.
        parts: folder in which sections of the walk are kept, so that a run that was ended goes on; None keeps none.
            When the walk is through they are removed.
        progress: called with the share of the range that was just covered.

    Raises:
        InputRefused: if the file is no image that can be explained, the network is not piecewise linear, or the image
            has no map.
    """
    image: MetaTensor = bundle.preprocessed(bundle.preprocessing({"image": str(source)}, end=1))
    clean = image.as_tensor().detach().to(torch.float32)
    recipe = bundle.inferer.recipe
    input_warnings = recipe.check_input(clean)
    with explaining(bundle.network):
        _, target = recipe.clean_logits(clean, bundle.network)
    line, properties, delta, size = _asked(clean, bundle, settings, target)
    kept = None if parts is None else Parts(parts, _key(clean, bundle, settings, properties))
    found = traverse(
        line,
        properties,
        low=settings.low,
        high=settings.high,
        time_budget_s=settings.time_budget_s,
        workers=workers,
        parts=kept,
        progress=progress,
    )
    if kept is not None and not found.ended_by_time:
        kept.remove()
    return Verified(
        image=image,
        bundle=bundle,
        settings=settings,
        target=target,
        logits=line.gradient(0.0)[0].cpu(),
        delta=delta,
        map_norm=size,
        n_switches=line.n_switches,
        traversal=found,
        input_warnings=input_warnings,
    )


def _asked(
    clean: torch.Tensor, bundle: SaliencyBundle, settings: Settings, target: int
) -> tuple[Line, tuple[Property, ...], float, float]:
    """The line, what must hold on it, delta, and the norm of the clean map."""
    recipe, double = bundle.inferer.recipe, clean.double()
    line = Line(bundle.network, double, settings.perturbation.direction(double), [target])
    logits, maps = line.gradient(0.0)
    size = norm_of(maps)
    if not size > 0:
        raise InputRefused("the gradient map of the clean image is 0 everywhere: there is no attention to verify.")
    delta = settings.delta if settings.delta is not None else float(settings.share or 0) * size
    expected = torch.stack([settings.perturbation.expected_direction(one) for one in maps])
    beta = bundle.inferer.claim.beta if settings.beta is None else settings.beta
    needed = required_overlap(recipe.top_k, beta)
    properties = (
        ClassificationRobustness.of(logits.cpu(), recipe.findings.activation),
        AttentionRobustness(maps, expected, delta),
        TopKOverlap.of(maps, cell_size=recipe.cell_size, top_k=recipe.top_k, needed=needed),
    )
    return line, properties, delta, size


def _key(
    clean: torch.Tensor, bundle: SaliencyBundle, settings: Settings, properties: Sequence[Property]
) -> dict[str, Any]:
    """All that a section of the walk depends on, but for its ends."""
    recipe = bundle.inferer.recipe
    return {
        "image_sha256": image_sha256(clean),
        "provenance": provenance(bundle.network, clean, bundle.files),
        "perturbation": settings.perturbation.settings,
        "target": recipe.target,
        "cells": [recipe.cell_size, recipe.top_k],
        "thresholds": [one.threshold for one in properties],
    }


def outcome(found: Traversal, name: str) -> str:
    """What is known of a property on the whole range, in a word or two."""
    ends = {reach.end for reach in found.reaches[name]}
    if ends == {"range"}:
        return "satisfied"
    return "violated in a part" if "violation" in ends else "open in a part"


def attention_record(verified: Verified, *, regions_sha256: str) -> dict[str, Any]:
    """Content of attention.json: plain values, no names and no dates.

    Args:
        verified: what was found.
        regions_sha256: of the bytes of regions.csv.
    """
    found, settings, recipe = verified.traversal, verified.settings, verified.bundle.inferer.recipe
    findings, clean = recipe.findings, verified.image.as_tensor().detach().to(torch.float32)
    results = {
        one.name: {
            "outcome": outcome(found, one.name),
            "interval": list(found.interval(one.name)),
            "threshold": one.threshold,
            "below": _reach(found.reaches[one.name][0]),
            "above": _reach(found.reaches[one.name][1]),
        }
        for one in found.properties
    }
    record = {
        "format": FORMAT,
        "claim": CLAIM,
        "settings": {
            "perturbation": settings.perturbation.settings,
            "range": [settings.low, settings.high],
            "delta": verified.delta,
            "share_of_map": verified.delta / verified.map_norm,
            "top_k": recipe.top_k,
            "cell_size": recipe.cell_size,
            "overlap_needed": int(found.properties[2].threshold),
            "time_budget_s": settings.time_budget_s,
            "precision": "float64",
        },
        "finding": {
            "name": findings.name(verified.target),
            "target": verified.target,
            "score": findings.score(verified.logits.numpy(), verified.target),
        },
        "logits": verified.logits.tolist(),
        "map_norm": verified.map_norm,
        "n_switches": verified.n_switches,
        "regions_crossed": len(found.regions),
        "regions_sha256": regions_sha256,
        "hidden_patterns_checked": found.hidden,
        "results": results,
        "elapsed_s": found.elapsed_s,
        "process_s": found.process_s,
        "image_sha256": image_sha256(clean),
        "input_warnings": list(verified.input_warnings),
        "source": source_record(verified.image.meta, verified.image.shape[-2:]),
        "provenance": provenance(verified.bundle.network, verified.image, verified.bundle.files),
    }
    return sealed(record)


def _reach(reach: Reach) -> dict[str, Any]:
    assert reach.end is not None
    return {
        "theta": reach.theta,
        "end": reach.end,
        "sentence": END_SENTENCES[reach.end],
        "witness": reach.witness,
        "witness_value": reach.witness_value,
    }
