"""Times ours beside bare loops, Captum and zennit, takes their memory, and times a DICOM file's way to its capture.

usage: python -m benchmarks.speed OUTPUT_DIR [--device cpu|cuda] [--quick]
       python -m benchmarks.speed OUTPUT_DIR --page [BENCH_JSON ...]

It writes OUTPUT_DIR/bench.json, anew after every part. ``--page`` measures nothing: it writes docs/performance.md from
OUTPUT_DIR/bench.json and the files that are named (a run on another machine, say). ``--quick`` shows in seconds what
the command does and leaves its page in OUTPUT_DIR; its figures are no results.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch

from benchmarks.places import ROOT, SAMPLES
from benchmarks.speed import memory, page, stages
from benchmarks.speed.contenders import CONTENDERS, CUDA_ONLY
from benchmarks.speed.goals import goals
from benchmarks.speed.measure import time_denoised, time_model
from benchmarks.speed.peers import left_out
from benchmarks.speed.plan import CPU, CUDA, QUICK, Plan
from benchmarks.speed.ratios import ratios
from monai_robustinterp.interpreters.context.precision import float32_products
from monai_robustinterp.study.machine import core_times, stolen_share, surroundings
from monai_robustinterp.study.report import write_json, write_page

PAGE = ROOT / "docs" / "performance.md"
PEERS = ("captum", "zennit")


def measure(plan: Plan, device: str, output: Path) -> dict[str, Any]:
    """Everything, in order; what is done is in bench.json already if a later part fails."""
    missing, since = left_out(), core_times()
    names = names_on(device, missing)
    results: dict[str, Any] = {
        **surroundings(device, ROOT, packages=PEERS),
        "settings": {**dataclasses.asdict(plan), "dtype": "float32"},
        "left_out": missing,
        "ratios": {},
        "rates": [],
        "denoised": [],
        "memory": [],
        "dicom": {},
        "ledger": [],
    }
    for model in plan.models:
        print(f"{model.key} at {model.side} px", flush=True)
        results["rates"] += time_model(model, plan, names, device)
        results["ratios"] = ratios(results["rates"])
        results["machine"]["stolen_share"] = stolen_share(since)
        store(results, output)
    print(f"{plan.denoised.key} at {plan.denoised.side} px", flush=True)
    results["denoised"] = time_denoised(plan.denoised, plan, device)
    store(results, output)
    results["memory"] = memory.measure(plan, results["rates"], names, device)
    store(results, output)
    results["dicom"] = stages.breakdown(
        SAMPLES / "wg04_rg1_multiple_masses.dcm",
        plan.denoised.key,
        device=device,
        n_samples=plan.dicom_samples,
        repeats=plan.few_repeats,
        folder=output,
    )
    store(results, output)
    results["ledger"] = stages.ledgers(plan.denoised.key, plan.ledger_sides, device=device, folder=output)
    store(results, output)
    return results


def names_on(device: str, missing: Container[str]) -> list[str]:
    """Contenders that can run there."""
    return [name for name in CONTENDERS if name not in missing and (device == "cuda" or name not in CUDA_ONLY)]


def store(results: dict[str, Any], output: Path) -> None:
    """Writes bench.json."""
    write_json(output / "bench.json", results)


def main(arguments: argparse.Namespace) -> None:
    """Measures, or writes the page."""
    output: Path = arguments.output
    if arguments.page is not None:
        found = [json.loads(path.read_text()) for path in (output / "bench.json", *arguments.page)]
        write_page(PAGE, page.sections(found))
        return
    output.mkdir(parents=True, exist_ok=True)
    # Batch sizes that the inferer finds are kept here and not in the user's cache; child processes inherit it.
    os.environ["XDG_CACHE_HOME"] = str(output.resolve() / "cache")
    plan = QUICK if arguments.quick else CUDA if arguments.device == "cuda" else CPU
    with float32_products("ieee"):
        results = measure(plan, arguments.device, output)
    print("\n".join(["", *page.machine_section(results), *(goal.line for goal in goals(results))]))
    if plan.name == "quick":
        write_page(output / "performance.md", page.sections([results]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("output", type=Path, help="folder of bench.json")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    parser.add_argument("--page", type=Path, nargs="*", metavar="BENCH_JSON", help="write docs/performance.md")
    main(parser.parse_args())
