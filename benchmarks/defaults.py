"""Radii and label agreement of the shipped model at several sigmas, cell sizes and k: what the defaults rest on.

usage: python -m benchmarks.defaults OUTPUT_DIR [--quick]

It takes several minutes on two cores and writes ``results.json`` into OUTPUT_DIR and defaults.md into docs/results. An
interrupted run resumes. ``--quick`` (one film, few copies) leaves its page in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import monai_robustinterp
from benchmarks.places import RESULTS, ROOT, films
from monai_robustinterp import SaliencyBundle, SmoothingSpec, VoteMap, certify_votes, load_bundle
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.smoothing.recipe import Case
from monai_robustinterp.study.films import prepared_by_name
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.store import kept_json
from monai_robustinterp.study.tables import prose, rounded_down, table

CELLS = ((8, 26), (8, 38), (8, 51), (16, 10))
BATCH_SIZE = 16
TARGET = 1

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is tried: number of films (None takes all), sigmas, and copies m."""

    name: str
    films: int | None
    sigmas: tuple[float, ...]
    sizes: tuple[int, ...]


FULL = Plan("full", None, (0.05, 0.1, 0.15, 0.25), (256, 512))
QUICK = Plan("quick", 1, (0.1, 0.25), (64, 128))


def cases(bundle: SaliencyBundle, image: torch.Tensor, sigma: float, sizes: Sequence[int]) -> list[Case]:
    """The image for every cell size and k, each with the same noise; in the state of ``explaining``."""
    recipe = dataclasses.replace(
        bundle.inferer.recipe, sigma=sigma, n_samples=max(sizes), target=TARGET, seed=0, batch_size=BATCH_SIZE
    )
    return [dataclasses.replace(recipe, cell_size=cell, top_k=k).case(image, bundle.network) for cell, k in CELLS]


def vote_maps(
    bundle: SaliencyBundle, image: torch.Tensor, sigma: float, sizes: Sequence[int]
) -> Iterator[tuple[VoteMap, SmoothingSpec]]:
    """Votes of one image for every cell size, k and number of copies, all from the same noisy gradients."""
    with explaining(bundle.network):
        every = cases(bundle, image, sigma, sizes)
        for start in range(0, max(sizes), BATCH_SIZE):
            samples = torch.arange(start, start + BATCH_SIZE)
            first = every[0].tally
            attribution = first.attribute(bundle.network, first.noisy(samples))
            for case in every:
                case.tally.count(samples, attribution)
                if case.tally.n_samples in sizes:
                    case.look(BATCH_SIZE)
                    yield case.votes, case.spec


def measure(bundle: SaliencyBundle, plan: Plan, output: Path) -> list[Row]:
    """A row a film, sigma, cell size, k and m; those that an earlier run left in the folder are not repeated."""
    rows = []
    for name, image in prepared_by_name(bundle, films(output, plan.films)).items():
        for sigma in plan.sigmas:
            found = _kept_rows(bundle, name, image, sigma, plan, output)
            rows += [{"film": name, "sigma": sigma, **row} for row in found]
            print(f"  {name}, sigma {sigma:g}", flush=True)
    return rows


def _kept_rows(
    bundle: SaliencyBundle, name: str, image: torch.Tensor, sigma: float, plan: Plan, output: Path
) -> list[Row]:
    claim = bundle.inferer.claim
    settings = {
        "image_sha256": image_sha256(image),
        "sizes": plan.sizes,
        "cells": CELLS,
        "beta": claim.beta,
        "eta": claim.eta,
        "versions": {"monai_robustinterp": monai_robustinterp.__version__, "torch": torch.__version__},
        **bundle.files,
    }

    def take() -> list[Row]:
        return [
            {"cell": spec.cell_size, "k": spec.top_k, "n_cells": votes.counts.size, "m": votes.n_samples}
            | {"radius": certify_votes(votes, spec, beta=claim.beta, eta=claim.eta).l_max}
            | {"agreement": votes.label_agreement}
            for votes, spec in vote_maps(bundle, image, sigma, plan.sizes)
        ]

    rows: list[Row] = kept_json(output / f"radii-{name}-{sigma:g}.json", settings, take)
    return rows


def sections(results: dict[str, Any]) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: content of results.json.
    """
    rows, default = results["rows"], results["default"]
    names = list(dict.fromkeys(row["film"] for row in rows))
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    return [
        ["# Why these defaults"],
        [quick] if results["plan"] == "quick" else [],
        prose(
            "Written by `python -m benchmarks.defaults`: gradient maps of the shipped network on",
            f"{len(names)} [film{'' if len(names) == 1 else 's'}](../how-to/get-the-films.md),",
            f"beta {default['beta']}, confidence {1 - default['eta']:g}. Population radius, smallest and median over",
            "the films, rounded down, and the number of films without one:",
        ),
        _radii_table(rows, default),
        [f"Share of {max(row['m'] for row in rows)} noisy copies that keep the clean label, by film:"],
        _label_table(rows, names),
        _words(rows, default),
    ]


def _radii_table(rows: Sequence[Row], default: Row) -> list[str]:
    sizes = sorted({row["m"] for row in rows})
    lines = []
    for sigma in sorted({row["sigma"] for row in rows}):
        for cell, k in CELLS:
            found = [row for row in rows if (row["sigma"], row["cell"], row["k"]) == (sigma, cell, k)]
            text = [f"{sigma:.2f}", str(cell), f"{k} of {found[0]['n_cells']}"]
            for m in sizes:
                radii = [row["radius"] for row in found if row["m"] == m]
                low, middle = (rounded_down(value, 3) for value in (min(radii), statistics.median(radii)))
                text.append(f"{low} / {middle} / {radii.count(0)}")
            chosen = (sigma, cell, k) == (default["sigma"], default["cell_size"], default["top_k"])
            lines.append([f"**{value}**" if chosen else value for value in text])
    return table(["sigma", "cell", "k of cells", *(f"m = {m}: min / median / none" for m in sizes)], lines)


def _label_table(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    most = max(row["m"] for row in rows)
    kept = {(row["sigma"], row["film"]): row["agreement"] for row in rows if row["m"] == most}
    sigmas = sorted({row["sigma"] for row in rows})
    lines = [[f"{sigma:.2f}", *(f"{kept[sigma, name]:.3f}" for name in names)] for sigma in sigmas]
    return table(["sigma", *names], lines)


def _words(rows: Sequence[Row], default: Row) -> list[str]:
    most, widest = max(row["m"] for row in rows), max(row["sigma"] for row in rows)
    cell, k = default["cell_size"], default["top_k"]
    chosen = [row for row in rows if (row["cell"], row["k"], row["m"]) == (cell, k, most)]
    wide, usual = (
        statistics.median(row["radius"] for row in chosen if row["sigma"] == sigma)
        for sigma in (widest, default["sigma"])
    )
    kept = min(row["agreement"] for row in chosen if row["sigma"] == widest)
    n_cells, coarse = chosen[0]["n_cells"], min(row["n_cells"] for row in rows)
    return prose(
        f"At sigma {widest:g} the median radius is {rounded_down(wide, 3)} where sigma {default['sigma']:g} has",
        f"{rounded_down(usual, 3)} (cells and k of the default, m = {most}), and each film keeps its label in",
        f"{rounded_down(100 * kept, 1)} % of the copies at least. The default is {default['sigma']:g} all the same:",
        "over the validation images more noisy decisions agree with the clean one (classifiers.md), so the smoothed",
        "network is closer to the one that a hospital runs. Radii alone must not choose: a map that ignores the image",
        f"has the largest. {n_cells} cells show more anatomy than {coarse}, and {k} of them are",
        f"{k / n_cells:.0%} of the image.",
    )


def main(output: Path, plan: Plan) -> None:
    """Measures, writes ``results.json`` and the page."""
    bundle = load_bundle(overrides={"device": "$torch.device('cpu')"})
    recipe, claim = bundle.inferer.recipe, bundle.inferer.claim
    default = {name: getattr(recipe, name) for name in ("cell_size", "top_k")}
    default["sigma"] = round(recipe.sigma, 6)  # a float32 as the network has it; the plan's are decimals
    results = {
        "plan": plan.name,
        "default": default | {"beta": claim.beta, "eta": claim.eta},
        "surroundings": surroundings("cpu", ROOT),
        "bundle": bundle.files,
        "rows": measure(bundle, plan, output),
    }
    write_json(output / "results.json", results)
    write_page((RESULTS if plan.name == "full" else output) / "defaults.md", sections(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    main(arguments.output, QUICK if arguments.quick else FULL)
