"""Exact attention verification: how far it comes on networks of several sizes, and on what its time depends.

usage: python -m benchmarks.attention OUTPUT_DIR [--workers 2] [--seconds 900] [--samples N] [--quick]

The walk along the shipped classifier takes --seconds at most, and what it left is where the next run goes on; the rest
takes about thirteen minutes of one core. It writes ``results.json`` into OUTPUT_DIR and attention.md into docs/results.
An interrupted run resumes. ``--quick`` leaves its page in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.attention.measures import SHARE, SHIPPED_SHARE, planes, several, shipped, shipped_plane
from benchmarks.attention.networks import BATCH, STEPS, convolutional, perceptron
from benchmarks.attention.page import sections
from benchmarks.films import SAMPLES
from benchmarks.places import RESULTS, ROOT
from monai_robustinterp.run.lock import PARTS
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.store import kept_json

SEED = 20261130
FILM = SAMPLES / "kermany_person1949_bacteria_4880.jpeg"
SIDE = 28
"""Of the images of the perceptrons, as of MNIST in the paper."""


@dataclass(frozen=True)
class Plan:
    """How much is crossed.

    Attributes:
        name: full or quick.
        perceptrons: width and depth of each.
        convolutional: channels, side of the image, and range.
        planes: width and depth of each perceptron whose polygons are crossed, and the limit of both parameters.
        plane_seconds: after which such a walk ends.
        plane_limit: of both parameters of the shipped classifier.
        factors: of perceptrons (width, depth) and convolutions (side), one changed at a time.
        images: of each small network.
        samples: points in each of its proven intervals.
        limit: range of brightness of the shipped classifier.
        points: of what was crossed of it that are evaluated.
    """

    name: str
    perceptrons: tuple[tuple[int, int], ...]
    convolutional: tuple[tuple[tuple[int, int, int], int, float], ...]
    planes: tuple[tuple[int, int, float], ...]
    plane_seconds: float
    plane_limit: float
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    sides: tuple[int, ...]
    images: int
    samples: int
    limit: float
    points: int


FULL = Plan(
    name="full",
    perceptrons=((100, 2), (200, 4), (338, 6)),
    convolutional=(((8, 16, 16), 28, 0.2), ((16, 28, 24), 64, 0.02)),
    planes=((100, 2, 1.0), (200, 4, 0.5), (338, 6, 0.5)),
    plane_seconds=60.0,
    plane_limit=4e-6,
    widths=(50, 100, 200, 400),
    depths=(1, 2, 4, 8),
    sides=(16, 32, 64),
    images=2,
    samples=2_000,
    limit=0.002,
    points=200,
)
QUICK = Plan(
    name="quick",
    perceptrons=((20, 2),),
    convolutional=(((2, 2, 2), 16, 0.02),),
    planes=((8, 2, 0.3),),
    plane_seconds=30.0,
    plane_limit=1e-7,
    widths=(10,),
    depths=(1,),
    sides=(8,),
    images=1,
    samples=20,
    limit=5e-7,
    points=4,
)
_PLANE_POINTS = 20
_FACTOR_IMAGES = 1
_FACTOR_LIMIT = 0.1
_FACTOR_CHANNELS = (4, 8, 8)
_FACTOR_SIZE = 100, 2


def main(output: Path, plan: Plan, *, workers: int, seconds: float) -> None:
    """Runs all parts, writes ``results.json`` and the page."""

    def part(name: str, of: Any, make: Callable[[], Any]) -> Any:
        print(name, flush=True)
        settings = {"of": repr(of), "seed": SEED, "share": SHARE, "steps": STEPS}
        return kept_json(
            output / f"{name}.json", settings, lambda: {"found": make(), "surroundings": surroundings("cpu", ROOT)}
        )

    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    film = lambda: shipped(  # noqa: E731
        FILM,
        limit=plan.limit,
        samples=plan.points,
        workers=workers,
        time_budget_s=seconds,
        output=output,
        parts=output / PARTS / plan.name,
    )
    results = {
        "plan": plan.name,
        "seed": SEED,
        "share": [SHARE, SHIPPED_SHARE],
        "seconds": seconds,
        "training": {"steps": STEPS, "batch": BATCH},
        "shipped": part("shipped", (plan.limit, plan.points, seconds), film),
        "perceptrons": part(
            "perceptrons",
            (plan.perceptrons, plan.images, plan.samples),
            lambda: [_perceptron(plan, *one) for one in plan.perceptrons],
        ),
        "convolutional": part(
            "convolutional",
            (plan.convolutional, plan.samples),
            lambda: [_convolutional(plan, *one) for one in plan.convolutional],
        ),
        "planes": part("planes", (plan.planes, plan.plane_seconds, plan.samples), lambda: _planes(plan)),
        "shipped_plane": part(
            "shipped_plane",
            (plan.plane_limit, plan.plane_seconds, plan.points),
            lambda: shipped_plane(
                FILM, limit=plan.plane_limit, samples=min(plan.points, _PLANE_POINTS), seconds=plan.plane_seconds
            ),
        ),
        "factors": part("factors", (plan.widths, plan.depths, plan.sides, plan.images), lambda: _factors(plan)),
    }
    write_json(output / "results.json", results)
    write_page((RESULTS if plan.name == "full" else output) / "attention.md", sections(results))


def _perceptron(plan: Plan, width: int, depth: int) -> dict[str, Any]:
    torch.manual_seed(SEED)
    found = several(
        perceptron(width, depth, SIDE), SIDE, seed=SEED, images=plan.images, limit=1.0, samples=plan.samples
    )
    return found | {"width": width, "depth": depth}


def _planes(plan: Plan) -> list[dict[str, Any]]:
    """Two parameters at once."""
    found = []
    for width, depth, limit in plan.planes:
        torch.manual_seed(SEED)
        network = perceptron(width, depth, SIDE)
        of = {"seed": SEED, "limit": limit, "samples": plan.samples, "seconds": plan.plane_seconds}
        found.append(planes(network, SIDE, **of) | {"width": width, "depth": depth})  # type: ignore[arg-type]
    return found


def _convolutional(plan: Plan, channels: tuple[int, int, int], side: int, limit: float) -> dict[str, Any]:
    torch.manual_seed(SEED)
    found = several(convolutional(channels), side, seed=SEED, images=1, limit=limit, samples=plan.samples)
    return found | {"channels": channels, "relus": _relus(channels, side)}


def _factors(plan: Plan) -> list[dict[str, Any]]:
    """Regions and time of networks that differ in one respect."""
    width, depth = _FACTOR_SIZE
    shape = {"seed": SEED, "images": min(plan.images, _FACTOR_IMAGES), "limit": _FACTOR_LIMIT, "samples": 0}
    found = []
    for name, values in (("width", plan.widths), ("depth", plan.depths), ("side", plan.sides)):
        for value in values:
            torch.manual_seed(SEED)
            if name == "side":
                network, side = convolutional(_FACTOR_CHANNELS), value
            else:
                network, side = perceptron(*((value, depth) if name == "width" else (width, value)), SIDE), SIDE
            found.append(several(network, side, **shape) | {"factor": name, "value": value})  # type: ignore[arg-type]
    return found


def _relus(channels: tuple[int, int, int], side: int) -> int:
    return sum(count * (side >> level) ** 2 for level, count in enumerate(channels))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--workers", type=int, default=1, help="processes of the walk along the shipped classifier")
    parser.add_argument("--seconds", type=float, default=900.0, help="time of that walk")
    parser.add_argument("--samples", type=int, default=FULL.points, help="points there that are evaluated")
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else dataclasses.replace(FULL, points=arguments.samples)
    main(arguments.output, plan, workers=arguments.workers, seconds=arguments.seconds)
