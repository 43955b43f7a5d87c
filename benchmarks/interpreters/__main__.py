"""Cost and certified radius of every interpreter at an equal budget of CPU time, and the panel of all of them.

usage: python -m benchmarks.interpreters OUTPUT_DIR [--minutes 5] [--part PART] [--methods SLUG ...] [--workers N]
                                         [--share I/N] [--quick]

An interrupted run resumes, and a longer budget goes on from the votes of a shorter one, whose radii stay on the page:
take the shorter one first. Each process uses one thread; ``--workers N`` of them take votes and masks, after one has
measured the seconds of a copy. ``--share I/N`` takes every N-th pair of method and image, so that machines that share
OUTPUT_DIR do the work together: let one measure those seconds before (``--part seconds``), with nothing else running.
``--quick`` (two methods, two films, under a second each) leaves its page in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.interpreters import cost, distortion, page
from benchmarks.interpreters.plan import FULL, QUICK, Method, Plan
from benchmarks.interpreters.radii import voted
from benchmarks.interpreters.votes import method_bundle
from benchmarks.places import RESULTS, ROOT, add_workers, films
from monai_robustinterp import SaliencyBundle
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.run.lock import PARTS
from monai_robustinterp.study.budget import seconds_per_copy
from monai_robustinterp.study.films import prepared_by_name
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.row_files import write_rows
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import versions
from monai_robustinterp.study.store import kept_json

RADII = "radii"
SLUGS = [method.slug for method in FULL.methods]


def copies(method: Method, bundle: SaliencyBundle, minutes: float, output: Path) -> int:
    """Copies that the budget allows: measured once a method, before any is drawn, and kept."""
    settings = {"interpreter": method.name, "interpreter_settings": dict(method.settings)}
    seconds = kept_json(_seconds_file(method, output), settings, lambda: seconds_per_copy(bundle))
    return max(1, int(60 * minutes / seconds))


def vote(
    plan: Plan, chosen: Sequence[Method], output: Path, minutes: float, share: tuple[int, int], workers: int
) -> None:
    """Takes the votes of these methods for every image, and notes what follows from them."""
    cells = []
    index = 0
    for method in chosen:
        bundle = method_bundle(method)
        for name, image in prepared_by_name(bundle, films(output, plan.films)).items():
            index += 1
            if index % share[1] == share[0]:
                cells.append(_cell(method, bundle, name, image, minutes, output))
    kept_rows(output, f"{RADII}-{minutes:g}", cells, workers=workers)


def _cell(method: Method, bundle: SaliencyBundle, name: str, image: torch.Tensor, minutes: float, output: Path) -> Cell:
    n_samples = copies(method, bundle, minutes, output)
    claim = bundle.inferer.claim
    settings = {
        "interpreter": method.name,
        "interpreter_settings": dict(method.settings),
        "n_samples": n_samples,
        "image_sha256": image_sha256(image),
        "beta": claim.beta,
        "eta": claim.eta,
        **bundle.files,
        **versions(),
    }
    place = {"minutes": minutes, "method": method.label, "image": name}
    path = output / f"votes-{method.slug}-{name}.npz"
    make = partial(voted, path, method, image, n_samples, place)
    return Cell(name=f"{method.slug}-{name}", settings=settings, make=make)


def facts(bundle: SaliencyBundle, image: torch.Tensor) -> dict[str, Any]:
    """What the page says of the bundle."""
    inferer = bundle.inferer
    side, other = image.shape[-2:]
    return {
        "side": side,
        "findings": len(inferer.recipe.findings.names),
        "activation": inferer.recipe.findings.activation,
        "sigma": inferer.recipe.sigma,
        "cell_size": inferer.recipe.cell_size,
        "top_k": inferer.recipe.top_k,
        "n_cells": (side // inferer.recipe.cell_size) * (other // inferer.recipe.cell_size),
        "beta": inferer.claim.beta,
        "eta": inferer.claim.eta,
    }


def report(plan: Plan, output: Path, bundle: SaliencyBundle, image: torch.Tensor) -> None:
    """Writes ``results.json`` and the page, from what is stored."""
    seconds = {method.label: _seconds_file(method, output) for method in plan.methods}
    rows = [_part(path) for path in sorted((output / PARTS).glob(f"{RADII}-*.json"))]
    for minutes in {row["minutes"] for row in rows}:
        # A process that had a share of the votes wrote its own rows alone.
        write_rows(output / f"{RADII}-{minutes:g}", [row for row in rows if row["minutes"] == minutes])
    results = {
        "plan": {"name": plan.name, "methods": [method.label for method in plan.methods]},
        "bundle": facts(bundle, image),
        "surroundings": surroundings("cpu", ROOT),
        "seconds": {label: _part(path) for label, path in seconds.items() if path.exists()},
        "radii": [row for row in rows if row["method"] in seconds],
        "distortion": json.loads((output / "distortion.json").read_text()),
        "cost": json.loads((output / "cost.json").read_text()),
    }
    write_json(output / "results.json", results)
    write_page((RESULTS if plan.name == "full" else output) / "interpreters.md", page.sections(results))


def main(arguments: argparse.Namespace) -> None:
    """Measures, writes results and the page."""
    torch.set_num_threads(1)
    plan = QUICK if arguments.quick else FULL
    minutes = arguments.minutes or plan.minutes
    output, part = arguments.output, arguments.part
    index, _, of = arguments.share.partition("/")
    chosen = [method for method in plan.methods if not arguments.methods or method.slug in arguments.methods]
    if part == "seconds":
        for method in chosen:
            _seconds_file(method, output).unlink(missing_ok=True)
            copies(method, method_bundle(method), minutes, output)
        return
    bundle = method_bundle(plan.methods[0])
    images = prepared_by_name(bundle, films(output, plan.films))
    if part in ("all", "votes"):
        vote(plan, chosen, output, minutes, (int(index) % int(of), int(of)), arguments.workers)
    if part in ("all", "cost"):
        costs = cost.measure(plan, bundle, next(iter(images.values())))
        write_json(output / "cost.json", costs)
        write_rows(output / "cost", costs)
    if part in ("all", "distortion"):
        write_json(
            output / "distortion.json", distortion.measure(bundle, images, plan, output, workers=arguments.workers)
        )
    if part in ("all", "page"):
        report(plan, output, bundle, next(iter(images.values())))


def _seconds_file(method: Method, output: Path) -> Path:
    return output / f"seconds-{method.slug}.json"


def _part(path: Path) -> Any:
    return json.loads(path.read_text())["part"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interpreters")
    parser.add_argument("output", type=Path, help="folder of votes and results")
    parser.add_argument("--minutes", type=float, help="CPU minutes an image and method; default: the plan's")
    parser.add_argument("--part", choices=("all", "seconds", "votes", "cost", "distortion", "page"), default="all")
    parser.add_argument("--methods", nargs="+", choices=SLUGS, metavar="SLUG", help="of seconds and votes")
    parser.add_argument("--share", default="1/1", metavar="I/N", help="this process's part of the votes")
    add_workers(parser)
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    main(parser.parse_args())
