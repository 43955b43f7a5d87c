"""One network and one image along brightness: regions, time, proven intervals, witnesses, dense samples."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.attention.networks import shapes, trained
from benchmarks.places import OPACITY
from monai_robustinterp.attention import (
    AttentionRobustness,
    Brightness,
    ClassificationRobustness,
    Line,
    Piece,
    Property,
    TopKOverlap,
    Traversal,
    traverse,
)
from monai_robustinterp.attention.image import Settings, verify_image
from monai_robustinterp.attention.properties import norm_of
from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.certificates.overlap import required_overlap

SHARE, BETA = 0.1, 0.5
"""The map may change by a tenth of its norm; half of the strongest cells must stay."""
CELL, TOP_SHARE = 4, 0.15
"""Side of the cells of small images in pixels, and the share of them that are the strongest ones."""
_SAMPLES_AT_ONCE = 8


@dataclass(frozen=True)
class Always(Property):
    """Holds everywhere: with it the walk crosses the whole range."""

    threshold: float = 0.0

    name = "always"

    def value(self, logits: torch.Tensor, maps: torch.Tensor, theta: float) -> float:
        """See :meth:`Property.value`."""
        return 1.0

    def holds(self, logits: torch.Tensor, maps: torch.Tensor, theta: float) -> bool:
        """See :meth:`Property.holds`."""
        return True

    def violates(self, logits: torch.Tensor, maps: torch.Tensor, theta: float) -> bool:
        """See :meth:`Property.violates`."""
        return False

    def holds_until(self, piece: Piece, near: float, far: float) -> float:
        """See :meth:`Property.holds_until`."""
        return far


def asked(line: Line, image: torch.Tensor, *, cell_size: int, top_k: int) -> tuple[Property, ...]:
    """The three properties of the clean image, and one that always holds."""
    logits, maps = line.gradient(0.0)
    return (
        ClassificationRobustness.of(logits, "softmax"),
        AttentionRobustness(maps, torch.zeros_like(maps), SHARE * norm_of(maps)),
        TopKOverlap.of(maps, cell_size=cell_size, top_k=top_k, needed=required_overlap(top_k, BETA)),
        Always(),
    )


def crossed(
    network: nn.Module, image: torch.Tensor, *, limit: float, cell_size: int, top_k: int, samples: int
) -> dict[str, Any]:
    """Crosses [-limit, limit] of brightness and samples the proven intervals densely.

    Args:
        network: of float32 weights.
        image: [1, H, W].
        limit: of theta.
        cell_size: of the cells of the top-k.
        top_k: strongest cells.
        samples: points that are evaluated within each proven interval, by autograd.
    """
    target = int(network(image[None]).argmax())
    line = Line(network, image, Brightness().direction(image), [target])
    found = traverse(line, asked(line, image, cell_size=cell_size, top_k=top_k), low=-limit, high=limit)
    return row(line, found, samples)


def shipped(source: Path, *, limit: float, samples: int, workers: int, parts: Path) -> dict[str, Any]:
    """The same of the shipped opacity classifier, as the command does it.

    Args:
        source: of the film.
        limit: of theta.
        samples: points that are evaluated within each proven interval.
        workers: processes.
        parts: folder of the sections, so that a run that was ended goes on.
    """
    bundle = load_bundle(OPACITY, {})
    settings = Settings(perturbation=Brightness(), low=-limit, high=limit, share=SHARE)
    verified = verify_image(source, bundle, settings, workers=workers, parts=parts)
    image = verified.image.as_tensor().double()
    line = Line(bundle.network, image, settings.perturbation.direction(image), [verified.target])
    return row(line, verified.traversal, samples) | {"film": source.stem}


def row(line: Line, found: Traversal, samples: int) -> dict[str, Any]:
    """What was found on a line, in JSON values."""
    properties = [one for one in found.properties if not isinstance(one, Always)]
    # Properties that hold on the same interval share its points.
    inside: dict[tuple[float, float], list[Property]] = {}
    for one in properties:
        inside.setdefault(found.interval(one.name), []).append(one)
    violated = {one.name: n for ends, some in inside.items() for one, n in violations(line, some, *ends, samples)}
    return {
        "switches": line.n_switches,
        "limit": found.high,
        "regions": len(found.regions),
        "hidden": found.hidden,
        "process_s": found.process_s,
        "elapsed_s": found.elapsed_s,
        "pass_s": pass_seconds(line),
        "samples": samples,
        "properties": [_ends(found, one) | {"violations": violated[one.name]} for one in properties],
    }


def _ends(found: Traversal, one: Property) -> dict[str, Any]:
    ends = []
    for reach in found.reaches[one.name]:
        outside = None if reach.witness is None else abs(reach.witness - reach.theta)
        ends.append({"theta": reach.theta, "end": reach.end, "outside": outside, "value": reach.witness_value})
    return {"name": one.name, "threshold": one.threshold, "ends": ends}


def violations(
    line: Line, properties: Sequence[Property], low: float, high: float, samples: int
) -> list[tuple[Property, int]]:
    """How many of so many evenly spaced points between two thetas violate each property, by autograd alone."""
    counts = [0 for _ in properties]
    for points in torch.linspace(low, high, samples + 2, dtype=torch.float64)[1:-1].split(_SAMPLES_AT_ONCE):
        inputs = (line.image + points[:, None, None, None] * line.direction).requires_grad_()
        with torch.enable_grad():
            logits = line.network(inputs)
            (gradient,) = torch.autograd.grad(logits[:, line.labels[0]].sum(), inputs)
        for theta, outputs, saliency in zip(points.tolist(), logits.detach(), gradient):
            for number, one in enumerate(properties):
                counts[number] += one.violates(outputs, saliency[None], theta)
    return list(zip(properties, counts))


def pass_seconds(line: Line, repetitions: int = 9) -> float:
    """Processor seconds of one forward and one backward pass of one image in float64: the fastest of several."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        line.gradient(0.0)
        times.append(time.process_time() - start)
    return min(times)


def several(
    network: nn.Module, side: int, *, seed: int, images: int, limit: float, samples: int
) -> dict[str, Any]:
    """Trains a network for seconds and crosses the range of brightness for several shapes.

    Args:
        network: without weights worth anything.
        side: of the images.
        seed: of training and images.
        images: how many.
        limit: of theta.
        samples: of each proven interval.
    """
    right = trained(network, side, seed)
    drawn, _ = shapes(images, side, torch.Generator().manual_seed(seed + 1))
    top_k = math.ceil(TOP_SHARE * (side // CELL) ** 2)
    rows = [crossed(network, one, limit=limit, cell_size=CELL, top_k=top_k, samples=samples) for one in drawn]
    return {"right": right, "side": side, "rows": rows}
