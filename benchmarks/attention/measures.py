"""One network and one image along brightness: regions, time, proven intervals, witnesses, dense samples."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
    Contrast,
    Line,
    Piece,
    Property,
    TopKOverlap,
    Traversal,
    traverse,
)
from monai_robustinterp.attention.image import Settings, verify_image
from monai_robustinterp.attention.outline import area_around
from monai_robustinterp.attention.plane import Plane
from monai_robustinterp.attention.polygons import Point
from monai_robustinterp.attention.properties import norm_of
from monai_robustinterp.attention.survey import Survey, survey
from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.certificates.overlap import required_overlap
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import versions

SHARE, SHIPPED_SHARE, BETA = 0.1, 0.3, 0.5
"""Of the map's norm, by which that of a small and of the shipped network may change; of the cells that must stay."""
CELL, TOP_SHARE = 4, 0.15
"""Side of the cells of small images in pixels, and the share of them that are the strongest ones."""
_SAMPLES_AT_ONCE, _CHUNKS = 4, 10


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


def asked(line: Line, *, cell_size: int, top_k: int, share: float = SHARE) -> tuple[Property, ...]:
    """The three properties of the clean image, and one that always holds."""
    logits, maps = line.gradient(0.0)
    return (
        ClassificationRobustness.of(logits, "softmax"),
        AttentionRobustness(maps, torch.zeros_like(maps), share * norm_of(maps)),
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
        samples: points that are evaluated within each proven interval, by autograd; 0 asks for no property.
    """
    target = int(network(image[None]).argmax())
    line = Line(network, image, Brightness().direction(image), [target])
    # Without samples regions and time are wanted, of a network whose clean map may even be 0.
    properties = asked(line, cell_size=cell_size, top_k=top_k) if samples else (Always(),)
    found = traverse(line, properties, low=-limit, high=limit)
    # Properties that hold on the same interval share its points.
    inside: dict[tuple[float, float], list[Property]] = {}
    for one in properties[:-1]:
        inside.setdefault(found.interval(one.name), []).append(one)
    counts = {}
    for (low, high), some in inside.items():
        violated = sampled(line, some, torch.linspace(low, high, samples + 2, dtype=torch.float64)[1:-1].tolist())
        counts |= {one.name: (samples, sum(flags[number] for _, flags in violated)) for number, one in enumerate(some)}
    return row(line, found, counts)


def shipped(
    source: Path, *, limit: float, samples: int, workers: int, time_budget_s: float, output: Path, parts: Path
) -> dict[str, Any]:
    """The same of the shipped opacity classifier, as the command does it; the samples are of what was crossed.

    Args:
        source: of the film.
        limit: of theta.
        samples: points that are evaluated.
        workers: processes.
        time_budget_s: seconds of the walk.
        output: folder of the samples, and of their parts.
        parts: folder of the sections, so that a run that was ended goes on.
    """
    bundle = load_bundle(OPACITY, {})
    settings = Settings(
        perturbation=Brightness(), low=-limit, high=limit, share=SHIPPED_SHARE, time_budget_s=time_budget_s
    )
    found = verify_image(source, bundle, settings, workers=workers, parts=parts).traversal
    line, properties = shipped_line(source)
    ends = found.regions[0].low, found.regions[-1].high
    evaluated = shipped_samples(source, ends, samples=samples, workers=workers, output=output)
    counts = {}
    for number, one in enumerate(properties):
        low, high = found.interval(one.name)
        inside = [point["violated"][number] for point in evaluated if low <= point["theta"] <= high]
        counts[one.name] = len(inside), sum(inside)
    return row(line, found, counts) | {"film": source.stem}


def shipped_line(source: Path) -> tuple[Line, tuple[Property, ...]]:
    """The shipped opacity classifier along brightness of a film, and what must hold there."""
    bundle = load_bundle(OPACITY, {})
    recipe = bundle.inferer.recipe
    image = bundle.preprocessed(bundle.preprocessing({"image": str(source)}, end=1)).as_tensor().float()
    target = int(bundle.network(image[None]).argmax())
    line = Line(bundle.network, image, Brightness().direction(image), [target])
    return line, asked(line, cell_size=recipe.cell_size, top_k=recipe.top_k, share=SHIPPED_SHARE)[:3]


def shipped_samples(
    source: Path, ends: tuple[float, float], *, samples: int, workers: int, output: Path
) -> list[dict[str, Any]]:
    """Evenly spaced points of an interval, each with the properties that it violates: ``theta``, ``violated``."""
    points = torch.linspace(*ends, samples, dtype=torch.float64)
    cells = [
        Cell(
            name=str(number),
            settings={"film": source.stem, "points": chunk.tolist(), "share": SHIPPED_SHARE, **versions()},
            make=partial(_chunk, source, chunk.tolist()),
        )
        for number, chunk in enumerate(points.split(math.ceil(samples / _CHUNKS)))
    ]
    return [one for chunk in kept_rows(output, "samples", cells, workers=workers) for one in chunk]


def _chunk(source: Path, points: list[float]) -> list[dict[str, Any]]:
    return [{"theta": theta, "violated": flags} for theta, flags in sampled(*shipped_line(source), points)]


def row(line: Line, found: Traversal, samples: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """What was found on a line, in JSON values.

    Args:
        line: of the walk.
        found: by it.
        samples: by property, how many points were evaluated within the proven interval, and how many violate it.
    """
    properties = [one for one in found.properties if not isinstance(one, Always)]
    return {
        "switches": line.n_switches,
        "limit": found.high,
        "crossed": [found.regions[0].low, found.regions[-1].high],
        "regions": len(found.regions),
        "hidden": found.hidden,
        "process_s": found.process_s,
        "elapsed_s": found.elapsed_s,
        "pass_s": pass_seconds(line),
        "properties": [_ends(found, one) | {"samples": samples[one.name]} for one in properties],
    }


def _ends(found: Traversal, one: Property) -> dict[str, Any]:
    ends = []
    for reach in found.reaches[one.name]:
        outside = None if reach.witness is None else abs(reach.witness - reach.theta)
        ends.append({"theta": reach.theta, "end": reach.end, "outside": outside, "value": reach.witness_value})
    return {"name": one.name, "threshold": one.threshold, "ends": ends}


def sampled(line: Line, properties: Sequence[Property], points: Sequence[float]) -> list[tuple[float, list[bool]]]:
    """Points with whether each property is violated there, by autograd alone."""
    found = []
    for thetas in torch.tensor(points, dtype=torch.float64).split(_SAMPLES_AT_ONCE):
        inputs = (line.image + thetas[:, None, None, None] * line.direction).requires_grad_()
        with torch.enable_grad():
            logits = line.network(inputs)
            (gradient,) = torch.autograd.grad(logits[:, line.labels[0]].sum(), inputs)
        for theta, outputs, saliency in zip(thetas.tolist(), logits.detach(), gradient):
            found.append((theta, [one.violates(outputs, saliency[None], theta) for one in properties]))
    return found


def pass_seconds(line: Line, repetitions: int = 9) -> float:
    """Processor seconds of one forward and one backward pass of one image in float64: the fastest of several."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        line.gradient(0.0)
        times.append(time.process_time() - start)
    return min(times)


def several(network: nn.Module, side: int, *, seed: int, images: int, limit: float, samples: int) -> dict[str, Any]:
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


def planes(network: nn.Module, side: int, *, seed: int, limit: float, samples: int, seconds: float) -> dict[str, Any]:
    """Trains a network and crosses the polygons of brightness and contrast of one shape.

    Args:
        network: without weights worth anything.
        side: of the image.
        seed: of training and image.
        limit: of both parameters.
        samples: points that are evaluated within each proven box, by autograd.
        seconds: after which each walk ends.
    """
    right = trained(network, side, seed)
    image = shapes(1, side, torch.Generator().manual_seed(seed + 1))[0][0]
    top_k = math.ceil(TOP_SHARE * (side // CELL) ** 2)
    wide, (decision, attention, _) = _plane(network, image, limit=1.0, cell_size=CELL, top_k=top_k, share=SHARE)
    found = plane_of(
        network, image, limit=limit, cell_size=CELL, top_k=top_k, share=SHARE, samples=samples, seconds=seconds
    )
    boundary = survey(wide, [decision], order="boundary", inside=False, time_budget_s=seconds)
    return found | {
        "right": right,
        "wide": _surveyed(survey(wide, [attention], time_budget_s=seconds), 0),
        "decision": _surveyed(boundary, 0) | {"whole": boundary.boundary_after is not None},
    }


def shipped_plane(source: Path, *, limit: float, samples: int, seconds: float) -> dict[str, Any]:
    """The same of the shipped opacity classifier and a film; see :func:`planes`."""
    bundle = load_bundle(OPACITY, {})
    recipe = bundle.inferer.recipe
    image = bundle.preprocessed(bundle.preprocessing({"image": str(source)}, end=1)).as_tensor().float()
    cells = {"cell_size": recipe.cell_size, "top_k": recipe.top_k}
    return plane_of(bundle.network, image, limit=limit, share=SHIPPED_SHARE, samples=samples, seconds=seconds, **cells)


def plane_of(
    network: nn.Module,
    image: torch.Tensor,
    *,
    limit: float,
    cell_size: int,
    top_k: int,
    share: float,
    samples: int,
    seconds: float,
) -> dict[str, Any]:
    """Crosses the polygons of brightness and contrast of an image.

    Once for the map alone, to its outermost boundary, and once for all three properties, everything.

    Args:
        network: of float32 weights.
        image: [1, H, W].
        limit: of both parameters.
        cell_size: of the cells of the top-k.
        top_k: strongest cells.
        share: of the map's norm by which it may change.
        samples: points that are evaluated within each proven box, by autograd.
        seconds: after which each walk ends.
    """
    plane, properties = _plane(network, image, limit=limit, cell_size=cell_size, top_k=top_k, share=share)
    alone = survey(plane, properties[1:2], time_budget_s=seconds)
    full = survey(plane, properties, everything=True, time_budget_s=seconds)
    return {
        "switches": plane.n_switches,
        "limit": limit,
        "alone": _surveyed(alone, 0),
        "full": _surveyed(full, 1),
        "hidden": full.hidden,
        "properties": [_box(plane, full, one, samples) for one in properties],
    }


def _plane(
    network: nn.Module, image: torch.Tensor, *, limit: float, cell_size: int, top_k: int, share: float
) -> tuple[Plane, tuple[Property, Property, Property]]:
    """Brightness and contrast of an image, and what must hold."""
    target = int(network(image[None]).argmax())
    directions = [one.direction(image) for one in (Brightness(), Contrast())]
    plane = Plane(network, image, directions, [target], limits=(limit, limit))
    logits, maps = plane.gradient((0.0, 0.0))
    return plane, (
        ClassificationRobustness.of(logits, "softmax"),
        AttentionRobustness(maps, torch.zeros(2, *maps.shape, dtype=torch.float64), share * norm_of(maps)),
        TopKOverlap.of(maps, cell_size=cell_size, top_k=top_k, needed=required_overlap(top_k, BETA)),
    )


def _surveyed(found: Survey, index: int) -> dict[str, Any]:
    """What was crossed, and where the map holds."""
    return {
        "polygons": len(found.shards),
        "crossed": found.crossed,
        "whole": found.whole,
        "process_s": found.process_s,
        "scale": found.scales[found.properties[index].name].scale,
        "area": area_around(found.reached, index).size / 4,
    }


def _box(plane: Plane, found: Survey, one: Property, samples: int) -> dict[str, Any]:
    """The proven box of a property, and how many points of it violate."""
    scale = found.scales[one.name]
    draws = 2 * torch.rand(samples, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    violated = 0
    for x, y in (scale.scale * draws).tolist():
        point: Point = (x, y)
        logits, maps = plane.gradient(point)
        violated += one.violates(logits, maps, plane.strengths(point))
    outside = None
    if scale.witness is not None:
        outside = max(abs(value) / limit for value, limit in zip(scale.witness, plane.limits)) - scale.scale
    return {
        "name": one.name,
        "scale": scale.scale,
        "end": scale.end,
        "outside": outside,
        "samples": [samples, violated],
    }
