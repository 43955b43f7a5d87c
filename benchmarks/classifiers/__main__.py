"""Trains the reference classifiers and their comparisons, evaluates and certifies them, and writes the result page.

usage: python -m benchmarks.classifiers OUTPUT_DIR --kermany DIR --chest-xray14 DIR
       python -m benchmarks.classifiers OUTPUT_DIR --quick

A training whose ``evaluation.json`` is in OUTPUT_DIR is not repeated, nor a comparison of the same weights. Nothing is
copied into the bundles: that is a decision of whoever releases them (docs/how-to/train.md). ``--quick`` trains for a
few steps on images that it makes, and leaves its page in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.classifiers import measures, page
from benchmarks.classifiers.made import make_images
from benchmarks.classifiers.plan import FULL, OPACITY, QUICK, Plan, Run
from benchmarks.places import RESULTS, ROOT
from monai_robustinterp import load_bundle
from monai_robustinterp.files import file_sha256
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.store import kept_json


def train(run: Run, kermany_dir: Path, chest_xray14_dir: Path, output: Path) -> None:
    """Runs one training unless its evaluation is there.

    Raises:
        SystemExit: if that evaluation is of a training with other options.
    """
    earlier = output / run.name / "evaluation.json"
    if earlier.exists():
        settings = json.loads(earlier.read_text())["settings"]
        if all(settings[key] == value for key, value in run.options.items() if key in settings):
            return
        raise SystemExit(f"{earlier} is of a training with other options: remove it, or choose another folder.")
    folders = ["--chest_xray14_dir", str(chest_xray14_dir), "--output_dir", str((output / run.name).resolve())]
    if run.bundle == OPACITY:
        folders += ["--kermany_dir", str(kermany_dir)]
    else:
        folders += ["--trunk_path", str((output / "opacity" / "model.pt").resolve())]
    print("training", run.name, flush=True)
    subprocess.run([sys.executable, *run.command()[1:], *folders], cwd=ROOT, check=True)


def compare(plan: Plan, kermany_dir: Path, chest_xray14_dir: Path, output: Path) -> dict[str, Any]:
    """What the trained networks do beside their evaluations."""
    items = measures.validation_items(str(kermany_dir), str(chest_xray14_dir))
    chosen = measures.chosen(items, plan.images_per_group)
    bundle = load_bundle(OPACITY, overrides=plan.overrides)
    inferer = bundle.inferer
    recipe, claim = inferer.recipe, inferer.claim
    smoothing = {name: getattr(recipe, name) for name in ("sigma", "n_samples", "top_k", "cell_size")}
    smoothing |= {"beta": claim.beta, "eta": claim.eta}
    # No comparison outlives the weights, or the images.
    settings = {
        "weights": {run.name: file_sha256(output / run.name / "model.pt") for run in plan.runs},
        "images": [Path(item["image"]).name for item in items],
    }
    return {
        "smoothing": smoothing,
        "brightness": kept_json(
            output / "brightness.json",
            settings | {"gains": plan.gains},
            lambda: measures.brightness(bundle, items, output, plan.gains),
        ),
        "subgroups": kept_json(output / "subgroups.json", settings, lambda: measures.subgroups(bundle, items, output)),
        "certified": kept_json(
            output / "certified.json",
            settings | smoothing | {"per_group": plan.images_per_group},
            lambda: measures.certified(bundle, chosen, output),
        ),
    }


def main(arguments: argparse.Namespace) -> None:
    """Trains, compares, writes ``study.json`` into the output, and the page."""
    plan = QUICK if arguments.quick else FULL
    output: Path = arguments.output
    kermany_dir, chest_xray14_dir = (
        make_images(output / "made") if arguments.quick else (arguments.kermany, arguments.chest_xray14)
    )
    for run in plan.runs:
        train(run, kermany_dir.resolve(), chest_xray14_dir.resolve(), output)
    study = {
        "runs": {run.name: json.loads((output / run.name / "evaluation.json").read_text()) for run in plan.runs},
        "elapsed_s": {run.name: _elapsed_s(output / run.name) for run in plan.runs},
        **compare(plan, kermany_dir, chest_xray14_dir, output),
    }
    write_json(output / "study.json", study)
    write_page((RESULTS if plan.name == "full" else output) / "classifiers.md", page.sections(study, plan))


def _elapsed_s(folder: Path) -> float:
    with (folder / "history.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["elapsed_s"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classifiers")
    parser.add_argument("output", type=Path, help="folder of trainings and results")
    parser.add_argument("--kermany", type=Path, metavar="DIR", help="folder of the Kermany images")
    parser.add_argument("--chest-xray14", type=Path, metavar="DIR", help="folder of the ChestX-ray14 images")
    parser.add_argument("--quick", action="store_true", help="made images; its figures are no results")
    parsed = parser.parse_args()
    if not parsed.quick and (parsed.kermany is None or parsed.chest_xray14 is None):
        parser.error("give --kermany and --chest-xray14 (docs/how-to/train.md), or --quick")
    main(parsed)
