"""The segmenter of the lungs, the model that looks at them beside the earlier one, and the alarm.

usage: python -m benchmarks.lungs OUTPUT_DIR --kermany DIR --chest-xray14 DIR --masks DIR --covid DIR --shortcut FILE
                                  [--workers N]
       python -m benchmarks.lungs OUTPUT_DIR --quick

About an hour on two cores. It writes ``results.json`` into OUTPUT_DIR and lungs.md into docs/results. An interrupted
run resumes. ``--masks`` are those of Kermany's films, ``--covid`` holds the other set's ``images`` and ``masks``;
``--shortcut`` are weights of the evidence network that were trained on films with a planted letter
(docs/how-to/train.md). ``--quick`` (sample images) needs no folders; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.defaults.films import sample_films, sample_items, validation_items
from benchmarks.defaults.measures import decisions
from benchmarks.defaults.plan import selects
from benchmarks.films import SAMPLES
from benchmarks.lungs import page
from benchmarks.lungs.films import MarkedFilm, marked_films
from benchmarks.lungs.letter import clean_model, letter_model, lettered, with_letter
from benchmarks.lungs.models import Contender, loaded, summary
from benchmarks.lungs.picture import Column, side_by_side
from benchmarks.lungs.plan import EARLIER, FULL, QUICK, Plan
from benchmarks.lungs.rows import positives, rows_of, settings_of
from benchmarks.lungs.segmenter import agreement, masked_films
from benchmarks.lungs.selection import chosen, decided
from benchmarks.places import PICTURES, RESULTS, ROOT, add_workers
from monai_robustinterp.bundle import load_lung_fields
from monai_robustinterp.run.inputs import find_images
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.training.tables import LabeledImage

Row = dict[str, Any]

SEGMENTER = "chest_xray_lung_fields"
PICTURE = "lungs_models.png"


def decisions_of(
    output: Path, contenders: Sequence[Contender], items: Sequence[LabeledImage], *, draws: int, workers: int
) -> dict[str, list[Row]]:
    """Decisions of validation images under each contender's noise, by its label, kept, and their table."""
    images = [Path(item["image"]).name for item in items]
    cells = []
    for one in contenders:
        bundle = loaded(one, n_samples=draws)
        cells.append(
            Cell(
                name=one.label,
                labels={"model": one.label},
                settings=settings_of(one, bundle, draws=draws, images=images),
                make=partial(decisions, bundle, items, draws=draws),
            )
        )
    found = kept_rows(output, "decisions", cells, workers=workers)
    return {one.label: rows for one, rows in zip(contenders, found)}


def models(
    output: Path, plan: Plan, items: Sequence[LabeledImage], films: Sequence[MarkedFilm], workers: int
) -> dict[str, Any]:
    """The selection on half of the patients, and the report on the other half."""
    known = [item for item in items if item["opacity"] is not None]
    first = [film for film in films if selects(film.patient)][: plan.films]
    second = [film for film in films if not selects(film.patient)][: plan.films]
    everyone = (*plan.candidates, *plan.rivals)
    noisy = decisions_of(output, everyone, known, draws=plan.draws, workers=workers)
    rows = partial(rows_of, output, workers=workers)
    tried = {}
    for one, found in zip(
        plan.candidates, rows("select", [(one, first) for one in plan.candidates], plan.select_samples)
    ):
        half = [row for row in noisy[one.label] if selects(row["patient"])]
        tried[one.label] = summary(found) | decided(half)
    new = plan.candidates[chosen(list(tried.values()))]
    both = (*plan.rivals, new)
    adults = rows("adults", [(one, second) for one in both], plan.report_samples)
    ill = positives(items, plan.films)
    children = rows("children", [(one, ill) for one in both], plan.report_samples)
    reported = {
        one.label: {
            "adults": summary(adults[number]),
            "children": summary(children[number]),
            "decisions": decided([row for row in noisy[one.label] if not selects(row["patient"])]),
        }
        for number, one in enumerate(both)
    }
    return {"tried": tried, "chosen": new.label, "reported": reported, "films": [film.path.name for film in second]}


def alarms(output: Path, plan: Plan, items: Sequence[LabeledImage], shortcut: Path | None, workers: int) -> list[Row]:
    """How often the alarm fires: a model of the letter on films with it, and models without it on the same films."""
    children = positives(items, plan.films)
    marked = lettered(output, children)
    tried = []
    for interpreter in ("cam", "grad_cam", "gradient"):
        if shortcut is not None:
            tried.append((letter_model(shortcut, interpreter), marked))
        tried.append((clean_model(interpreter), children))
    tried.append((EARLIER, children))
    found = rows_of(output, "alarms", tried, plan.alarm_samples, workers=workers)
    return [{"model": contender.label, **summary(rows)} for (contender, _), rows in zip(tried, found)]


def picture(output: Path, plan: Plan, chosen_label: str, shortcut: Path | None) -> Figure:
    """The shipped pneumonia films under the earlier default, the chosen settings, and the model of the letter."""
    films = [path for path in find_images([SAMPLES]).images if path.suffix == ".jpeg" and "person" in path.name]
    films = films[: plan.films]
    new = next(one for one in plan.candidates if one.label == chosen_label)
    columns: list[Column] = [(EARLIER, films), (new, films)]
    if shortcut is not None:
        columns.append((letter_model(shortcut, "cam"), with_letter(output, films)))
    return side_by_side(columns, n_samples=plan.alarm_samples)


def main(arguments: argparse.Namespace) -> None:
    """Measures, writes ``results.json`` and the page."""
    output: Path = arguments.output
    plan = QUICK if arguments.quick else FULL
    results: dict[str, Any] = {"plan": dataclasses.asdict(plan), "surroundings": surroundings("cpu", ROOT)}
    lung_fields = load_lung_fields(SEGMENTER)
    assert lung_fields is not None
    results["segmenter"] = lung_fields.settings
    if arguments.quick:
        items = sample_items()
        films = [MarkedFilm(path=film.path, patient=film.patient, boxed=film, polygons=()) for film in sample_films()]
        results["agreement"] = {}
    else:
        items = validation_items(arguments.kermany, arguments.chest_xray14)
        films = marked_films(items)
        judged = masked_films(arguments.kermany, arguments.masks, arguments.covid)
        cells = [
            Cell(
                name=name,
                labels={"set": name},
                settings={"segmenter": lung_fields.settings, "films": [film.name for film in masked]},
                make=partial(agreement, lung_fields, masked),
            )
            for name, masked in judged.items()
        ]
        results["agreement"] = dict(zip(judged, kept_rows(output, "agreement", cells, workers=arguments.workers)))
    results |= models(output, plan, items, films, arguments.workers)
    results["alarms"] = alarms(output, plan, items, arguments.shortcut, arguments.workers)
    write_json(output / "results.json", results)
    pages, pictures = (output, output) if arguments.quick else (RESULTS, PICTURES)
    shown = {pictures / PICTURE: picture(output, plan, results["chosen"], arguments.shortcut)}
    link = PICTURE if arguments.quick else f"../{PICTURES.name}/{PICTURE}"
    write_page(pages / "lungs.md", page.sections(results, link), pictures=shown)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lungs")
    parser.add_argument("output", type=Path, help="folder of the results")
    for name in ("kermany", "chest-xray14", "masks", "covid", "shortcut"):
        parser.add_argument(f"--{name}", type=Path)
    add_workers(parser)
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    if not arguments.quick and None in (arguments.kermany, arguments.chest_xray14, arguments.masks, arguments.covid):
        parser.error("the full form needs --kermany, --chest-xray14, --masks and --covid")
    return arguments


if __name__ == "__main__":
    main(_arguments())
