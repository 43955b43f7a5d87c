"""Measures what the certificates are worth on the shipped images, beside the literature's, and writes the page.

usage: python -m benchmarks.certificates OUTPUT_DIR [--quick]

The full study takes at most an hour on 2 CPU cores and writes ``results.json`` into OUTPUT_DIR and certificates.md with
its pictures into docs/results. An interrupted one resumes: streams and attacks of the same settings, images, weights
and versions are not repeated. docs/how-to/get-the-films.md says which films it needs. ``--quick`` (two films of
sample_data, fewer copies, a weak attack) leaves its page in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.certificates import attacked, bounds_check, curves, page, radii, rivals, stopping, tightness
from benchmarks.certificates.plan import FULL, QUICK, Plan
from benchmarks.certificates.streams import Stream, stored_stream
from benchmarks.places import OPACITY, RESULTS, ROOT, films
from monai_robustinterp import SaliencyBundle, load_bundle
from monai_robustinterp.study.films import prepared_by_name
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.tables import Goal, strict
from monai_robustinterp.study.timing import Clock


def take_streams(images: Mapping[str, torch.Tensor], bundle: SaliencyBundle, plan: Plan, output: Path) -> list[Stream]:
    """The streams of all images, in their order."""
    streams = []
    for name, image in images.items():
        streams.append(stored_stream(output, name, image, bundle, plan))
        print(f"  {name}: {plan.max_samples} copies in {streams[-1].elapsed_s:.0f} s", flush=True)
    return streams


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
    beta, eta, clock = bundle.inferer.claim.beta, bundle.inferer.claim.eta, Clock()
    sizes = sorted({*plan.table_sizes, *plan.rival_sizes})
    found: dict[str, Any] = {
        "radii": clock("radii", lambda: radii.measure(streams, sizes, beta=beta, eta=eta)),
        "literature": clock("literature", lambda: rivals.measure(streams, plan, beta=beta, eta=eta)),
        "curves": clock("curves", lambda: curves.measure(streams, plan, eta=eta)),
        "early_stopping": clock("stopping", lambda: stopping.measure(streams, plan, beta=beta, eta=eta)),
        "bounds": clock("bounds", lambda: bounds_check.measure(plan.bound_sizes)),
        "tightness": clock("tightness", tightness.measure),
        "attack": clock("attack", lambda: attacked.measure(streams, images, bundle, plan, output)),
    }
    taken = {"streams": sum(stream.elapsed_s for stream in streams)}
    return found, taken | clock.totals | {"attack": sum(row["elapsed_s"] for row in found["attack"])}


def sections(
    results: dict[str, Any], found: dict[str, Any], goals: list[Goal], plan: Plan, first: str
) -> list[list[str]]:
    """The parts of the page, in order."""
    beta, eta, top_k = (results["settings"][key] for key in ("beta", "eta", "top_k"))
    return [
        page.head(results, goals),
        page.images_table(results),
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
    bundle = load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"})
    inferer = bundle.inferer
    images = prepared_by_name(bundle, films(output, plan.images))
    streams = take_streams(images, bundle, plan, output)
    found, elapsed_s = measure(streams, images, bundle, plan, output)
    goals = [*radii.goals(found["radii"]), *attacked.goals(found["attack"], top_k=inferer.recipe.top_k)]
    extra = {"beta": inferer.claim.beta, "eta": inferer.claim.eta, "n_cells": streams[0].counts[0].size}
    results: dict[str, Any] = strict(
        {
            "plan": dataclasses.asdict(plan) | {"prefixes": plan.prefixes},
            "settings": dataclasses.asdict(streams[0].spec) | extra,
            "surroundings": surroundings("cpu", ROOT),
            "bundle": bundle.files,
            "images": image_facts(streams, bundle),
            "elapsed_s": elapsed_s,
            "goals": [dataclasses.asdict(goal) for goal in goals],
            **found,
        }
    )
    write_json(output / "results.json", results)
    folder = RESULTS if plan.name == "full" else output
    write_page(
        folder / "certificates.md",
        sections(results, found, goals, plan, streams[0].name),
        pictures=curves.figures(streams[0], plan, folder, eta=inferer.claim.eta),
    )
    for goal in goals:
        print(f"{'met' if goal.met else 'NOT MET'}: {goal.name}. {goal.found}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certificates")
    parser.add_argument("output", type=Path, help="folder of results and streams")
    parser.add_argument("--quick", action="store_true", help="fewer images and copies, a weak attack")
    arguments = parser.parse_args()
    main(arguments.output, QUICK if arguments.quick else FULL)
