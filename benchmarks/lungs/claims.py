"""How far the shipped default certifies that its votes stay in the lungs, and what the bound by tails adds.

usage: python -m benchmarks.lungs.claims OUTPUT_DIR --kermany DIR --chest-xray14 DIR [--films N] [--workers N]
       python -m benchmarks.lungs.claims OUTPUT_DIR --quick

Ten minutes on two cores. It writes ``results.json`` into OUTPUT_DIR and lung-claims.md into docs/results. An
interrupted run resumes. ``--quick`` (sample images) needs no folders; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.defaults.films import sample_films, sample_items, validation_items
from benchmarks.defaults.plan import selects
from benchmarks.lungs.films import MarkedFilm, marked_films
from benchmarks.lungs.models import Contender, summary
from benchmarks.lungs.page import share_text
from benchmarks.lungs.rows import positives, rows_of
from benchmarks.places import RESULTS, ROOT, add_workers
from monai_robustinterp.study.machine import surroundings, surroundings_text
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.tables import Goal, prose, table

Row = dict[str, Any]

DEFAULT = Contender(label="the default", bundle="chest_xray_evidence")
ADULTS, CHILDREN = "adults, marked by radiologists", "children with pneumonia"
FILMS, SAMPLES, QUICK_SAMPLES = 16, 512, 16
GOAL = 0.9


def group(rows: Sequence[Row]) -> Row:
    """What the page says of films of one kind."""
    found = summary(rows)
    radii = {
        name: statistics.median(row[name] for row in rows if name in row)
        for name in ("claim_radius", "claim_radius_by_mean")
    }
    return radii | {name: found[name] for name in ("films", "votes_in_lungs", "claimed", "claimed_by_mean", "alarm")}


def sections(results: Row) -> list[list[str]]:
    """The page, from the results."""
    quick = ["**A quick run: its figures are no results.**", ""] if results["quick"] else []
    rows = [
        [
            name,
            str(one["films"]),
            share_text(one["votes_in_lungs"]),
            f"{one['claim_radius_by_mean']:.2f}",
            f"{one['claim_radius']:.2f}",
            share_text(one["claimed_by_mean"]),
            share_text(one["claimed"]),
        ]
        for name, one in results["groups"].items()
    ]
    header = ["films", "number", "votes in the lungs", "radius by the mean", "radius", "claim by the mean", "claim"]
    goals = [
        Goal(f"the claim on 9 of 10 films: {name}", one["claimed"][0] >= GOAL, f"{one['claimed'][0]:.2f}.")
        for name, one in results["groups"].items()
        if one["claimed"] is not None
    ]
    return [
        ["# The claim on the lungs, at the defaults"],
        quick,
        prose(
            f"Written by `python -m benchmarks.lungs.claims`; {surroundings_text(results['surroundings'])}.",
            f"`chest_xray_evidence` with its own settings, m = {results['samples']}, the opacity explained whatever",
            "the network says; films of patients that no setting was chosen with. Population level, confidence",
            "0.999 an image; brackets are 95 % bootstrap intervals by patient. *Radius*: median, in standard",
            "deviations of the noise, of the changes under which more than half of the votes are expected in the lungs",
            "([T15](../theory/label_region.md)). *Claim*: films on which that covers JPEG of quality 75 and brightness",
            "of +-.02 together with the clean film. *By the mean*: the same bound without the chances of the tails.",
        ),
        table(header, rows),
        ["Goals that were set beforehand:"],
        [goal.line for goal in goals],
    ]


def main(arguments: argparse.Namespace) -> None:
    """Measures, writes ``results.json`` and the page."""
    output: Path = arguments.output
    if arguments.quick:
        items = sample_items()
        films = [MarkedFilm(path=film.path, patient=film.patient, boxed=film, polygons=()) for film in sample_films()]
        count, n_samples = 2, QUICK_SAMPLES
    else:
        items = validation_items(arguments.kermany, arguments.chest_xray14)
        films = [film for film in marked_films(items) if not selects(film.patient)]
        count, n_samples = arguments.films, SAMPLES
    chosen = {ADULTS: ("adults", films[:count]), CHILDREN: ("children", positives(items, count))}
    groups = {}
    for name, (table_name, some) in chosen.items():
        (rows,) = rows_of(output, table_name, [(DEFAULT, some)], n_samples, workers=arguments.workers)
        groups[name] = group(rows)
    results = {
        "quick": arguments.quick,
        "samples": n_samples,
        "surroundings": surroundings("cpu", ROOT),
        "groups": groups,
    }
    write_json(output / "results.json", results)
    write_page((output if arguments.quick else RESULTS) / "lung-claims.md", sections(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lungs.claims")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--kermany", type=Path, help="folder of the Kermany images")
    parser.add_argument("--chest-xray14", type=Path, help="folder of the ChestX-ray14 images")
    parser.add_argument("--films", type=int, default=FILMS, help="of each kind, at most")
    add_workers(parser)
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    if not arguments.quick and None in (arguments.kermany, arguments.chest_xray14):
        parser.error("the full form needs --kermany and --chest-xray14")
    return arguments


if __name__ == "__main__":
    main(_arguments())
