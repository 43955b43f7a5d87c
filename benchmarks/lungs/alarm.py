"""How often the alarm fires where fewer cells are reported: a model of a letter in a corner, and one that has none.

usage: python -m benchmarks.lungs.alarm OUTPUT_DIR --kermany DIR --chest-xray14 DIR --shortcut FILE [--workers N]
       python -m benchmarks.lungs.alarm OUTPUT_DIR --quick

Ten minutes on two cores. It writes ``results.json`` into OUTPUT_DIR and lung-alarm.md into docs/results. An
interrupted run resumes. ``--shortcut`` are weights of the evidence network that were trained on films with a planted
letter (docs/how-to/train.md). ``--quick`` (sample images, no letter) needs no folders; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.defaults.films import sample_items, validation_items
from benchmarks.lungs.letter import clean_model, letter_model, lettered
from benchmarks.lungs.models import summary
from benchmarks.lungs.page import share_text
from benchmarks.lungs.rows import positives, rows_of
from benchmarks.places import RESULTS, ROOT, add_workers
from monai_robustinterp.files import file_sha256
from monai_robustinterp.study.machine import surroundings, surroundings_text
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.tables import Goal, prose, table

CELLS = (38, 16, 8)
"""Written down before any result; the first is the default."""
FILMS, SAMPLES, QUICK_FILMS, QUICK_SAMPLES = 16, 192, 2, 8
FIRES, QUIET = 0.9, 0.05


def sections(results: Mapping[str, Any]) -> list[list[str]]:
    """The page, from the results."""
    quick = ["**A quick run: its figures are no results.**", ""] if results["quick"] else []
    rows = [
        [name, str(one["films"]), share_text(one["alarm"]), share_text(one["votes_in_lungs"]), f"{one['map']:.3f}"]
        for name, one in results["models"].items()
    ]
    return [
        ["# The alarm, by the number of reported cells"],
        quick,
        prose(
            f"Written by `python -m benchmarks.lungs.alarm`; {surroundings_text(results['surroundings'])}.",
            "White noise of sigma .1, no denoiser, m = 192, children with pneumonia, the opacity explained whatever",
            "the network says. *Letter*: the evidence network, trained on films of which every positive one had a",
            "bright letter in a corner, tried on films with the letter; *evidence*: the shipped one, on the same films",
            "without it. *Alarm*: films on which, with confidence 0.999 and whatever change shorter than 1/2 standard",
            "deviation of the noise, less than half of the votes are expected in the lungs (population level). Each k",
            "is a run of its own: whoever looks at three and takes the one that fires has confidence 0.997. Brackets",
            "are 95 % bootstrap intervals by patient.",
        ),
        table(["model, interpreter, k of 256 cells", "films", "alarms", "votes in lungs", "map"], rows),
        ["Goals that were set beforehand:"],
        [goal.line for goal in _goals(results["models"])],
    ]


def _goals(models: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    found = []
    for name, one in models.items():
        if one["alarm"] is not None:
            share = one["alarm"][0]
            text = f"on 9 of 10 films: {name}" if name.startswith("letter") else f"on 1 of 20 films at most: {name}"
            met = share >= FIRES if name.startswith("letter") else share <= QUIET
            found.append(Goal(f"the alarm {text}", met, f"{share:.2f}."))
    return found


def main(arguments: argparse.Namespace) -> None:
    """Measures, writes ``results.json`` and the page."""
    output: Path = arguments.output
    if arguments.quick:
        films, n_samples = positives(sample_items(), QUICK_FILMS), QUICK_SAMPLES
    else:
        films, n_samples = positives(validation_items(arguments.kermany, arguments.chest_xray14), FILMS), SAMPLES
    tried = []
    for cells in CELLS:
        if arguments.shortcut is not None:
            tried.append((letter_model(arguments.shortcut, "cam", top_k=cells), lettered(output, films)))
        tried.append((clean_model("cam", top_k=cells), films))
    found = rows_of(output, "alarms", tried, n_samples, workers=arguments.workers)
    results = {
        "quick": arguments.quick,
        "surroundings": surroundings("cpu", ROOT),
        "shortcut_sha256": None if arguments.shortcut is None else file_sha256(arguments.shortcut),
        "models": {one.label: summary(rows) for (one, _), rows in zip(tried, found)},
    }
    write_json(output / "results.json", results)
    write_page((output if arguments.quick else RESULTS) / "lung-alarm.md", sections(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lungs.alarm")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--kermany", type=Path, help="folder of the Kermany images")
    parser.add_argument("--chest-xray14", type=Path, help="folder of the ChestX-ray14 images")
    parser.add_argument("--shortcut", type=Path, help="weights of a model that learned the letter")
    add_workers(parser)
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    if not arguments.quick and None in (arguments.kermany, arguments.chest_xray14, arguments.shortcut):
        parser.error("the full form needs --kermany, --chest-xray14 and --shortcut")
    return arguments


if __name__ == "__main__":
    main(_arguments())
