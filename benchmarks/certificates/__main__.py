"""Measures what the certificates are worth on eight films, beside the literature's, and writes the page.

usage: python -m benchmarks.certificates OUTPUT_DIR [--quick]

The full study takes at most an hour on 2 CPU cores and writes ``results.json`` into OUTPUT_DIR and certificates.md with
its pictures into docs/results. An interrupted one resumes: streams and attacks of the same settings, images, weights
and versions are not repeated. docs/how-to/get-the-films.md says which films it needs. ``--quick`` (two images of
sample_data, fewer copies, no attack) leaves its page in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy
import torch

import monai_robustinterp
from benchmarks.certificates import attacked, bounds_check, curves, radii, report, rivals, stopping, tightness
from benchmarks.certificates.plan import FULL, QUICK, Plan
from benchmarks.certificates.streams import Stream, stored_stream
from benchmarks.certificates.tables import Goal, strict
from benchmarks.films import SAMPLES, study_films
from monai_robustinterp import SaliencyBundle, load_bundle
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.run.inputs import find_images

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "results"

T = TypeVar("T")


class _Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self.elapsed_s: dict[str, float] = {}

    def timed(self, name: str, part: Callable[[], T]) -> T:
        print(name, flush=True)
        start = time.perf_counter()
        result = part()
        self.elapsed_s[name] = time.perf_counter() - start
        return result


def study_images(bundle: SaliencyBundle, plan: Plan, output: Path) -> dict[str, torch.Tensor]:
    """Preprocessed images by name, in the order of their names."""
    paths = study_films(output / "films") if plan.images is None else find_images([SAMPLES]).images[: plan.images]
    return {
        path.name.partition(".")[0]: bundle.preprocessing({"image": str(path)})["image"].as_tensor() for path in paths
    }


def take_streams(images: Mapping[str, torch.Tensor], bundle: SaliencyBundle, plan: Plan, output: Path) -> list[Stream]:
    """The streams of all images, in their order."""
    streams = []
    for name, image in images.items():
        streams.append(stored_stream(output, name, image, bundle, plan))
        print(f"  {name}: {plan.max_samples} copies in {streams[-1].elapsed_s:.0f} s", flush=True)
    return streams


def software() -> dict[str, Any]:
    """Machine, versions and commit."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, no GPU",
        "versions": {
            "monai_robustinterp": monai_robustinterp.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
        "commit": (commit or "unknown") + (" with uncommitted changes" if changed.strip() else ""),
    }


def image_facts(streams: list[Stream], bundle: SaliencyBundle) -> dict[str, Any]:
    """What the network decides on each image, from the whole stream."""
    facts = {}
    for stream in streams:
        votes, spec = stream.at(stream.sizes[-1])
        facts[stream.name] = {
            "image_sha256": votes.image_sha256,
            "score": bundle.inferer.recipe.findings.score(votes.logits, spec.target),
            "decision": votes.decision,
            "agreement": votes.label_agreement,
            "tied": votes.tied_copies,
            "constant": votes.constant_copies,
        }
    return facts


def measure(
    streams: list[Stream], images: Mapping[str, torch.Tensor], bundle: SaliencyBundle, plan: Plan, output: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    """What every part found, and its seconds; those of streams and attacks are of the run that took them."""
    beta, eta, clock = bundle.inferer.claim.beta, bundle.inferer.claim.eta, _Clock()
    sizes = sorted({*plan.table_sizes, *plan.rival_sizes})
    found: dict[str, Any] = {
        "radii": clock.timed("radii", lambda: radii.measure(streams, sizes, beta=beta, eta=eta)),
        "literature": clock.timed("literature", lambda: rivals.measure(streams, plan, beta=beta, eta=eta)),
        "curves": clock.timed("curves", lambda: curves.measure(streams, plan, eta=eta)),
        "early_stopping": clock.timed("stopping", lambda: stopping.measure(streams, plan, beta=beta, eta=eta)),
        "bounds": clock.timed("bounds", bounds_check.measure),
        "tightness": clock.timed("tightness", tightness.measure),
        "attack": clock.timed("attack", lambda: attacked.measure(streams, images, bundle, plan, output)),
    }
    taken = {"streams": sum(stream.elapsed_s for stream in streams)}
    return found, taken | clock.elapsed_s | {"attack": sum(row["elapsed_s"] for row in found["attack"])}


def sections(
    results: dict[str, Any], found: dict[str, Any], goals: list[Goal], plan: Plan, first: str
) -> list[list[str]]:
    """The parts of the page, in order."""
    beta, eta, top_k = (results["settings"][key] for key in ("beta", "eta", "top_k"))
    return [
        report.head(results, goals),
        report.images_table(results),
        radii.page(found["radii"], plan, eta=eta),
        rivals.page(found["literature"], beta=beta, eta=eta),
        curves.page(found["curves"], plan, first, eta=eta),
        stopping.page(found["early_stopping"], eta=eta),
        attacked.page(found["attack"], plan, top_k=top_k),
        bounds_check.page(found["bounds"]),
        tightness.page(found["tightness"]),
    ]


def main(output: Path, plan: Plan) -> None:
    """Measures, writes ``results.json`` into the output, and the page with its pictures."""
    output.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(overrides={"device": "$torch.device('cpu')"})
    inferer = bundle.inferer
    images = study_images(bundle, plan, output)
    print("streams", flush=True)
    streams = take_streams(images, bundle, plan, output)
    found, elapsed_s = measure(streams, images, bundle, plan, output)
    goals = [*radii.goals(found["radii"]), *attacked.goals(found["attack"], top_k=inferer.recipe.top_k)]
    extra = {"beta": inferer.claim.beta, "eta": inferer.claim.eta, "n_cells": streams[0].counts[0].size}
    results: dict[str, Any] = strict(
        {
            "plan": dataclasses.asdict(plan) | {"prefixes": plan.prefixes},
            "settings": dataclasses.asdict(streams[0].spec) | extra,
            "software": software(),
            "bundle": bundle.hashes,
            "images": image_facts(streams, bundle),
            "elapsed_s": elapsed_s,
            "goals": [dataclasses.asdict(goal) for goal in goals],
            **found,
        }
    )
    atomic_write(output / "results.json", lambda file: file.write(json_bytes(results)), overwrite=True)
    folder = PAGES if plan.name == "full" else output
    curves.draw(streams[0], plan, folder, eta=inferer.claim.eta)
    parts = sections(results, found, goals, plan, streams[0].name)
    text = "\n\n".join("\n".join(lines) for lines in parts) + "\n"
    atomic_write(folder / "certificates.md", lambda file: file.write(text.encode()), overwrite=True)
    for goal in goals:
        print(f"{'met' if goal.met else 'NOT MET'}: {goal.name}. {goal.found}")
    print(f"written: {output / 'results.json'}, {folder / 'certificates.md'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certificates")
    parser.add_argument("output", type=Path, help="folder of results and streams")
    parser.add_argument("--quick", action="store_true", help="fewer images and copies, no attack")
    arguments = parser.parse_args()
    main(arguments.output, QUICK if arguments.quick else FULL)
