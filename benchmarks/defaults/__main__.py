"""Why these defaults: candidates tried on half of the validation patients, and the chosen one reported on the rest.

usage: python -m benchmarks.defaults OUTPUT_DIR --kermany DIR --chest-xray14 DIR [--workers N] [--quick]

About an hour on two cores. It writes ``results.json`` into OUTPUT_DIR and defaults.md into docs/results. An interrupted
run resumes. ``--quick`` (sample images with made-up boxes, few copies) needs no folders; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.defaults import page
from benchmarks.defaults.films import (
    BoxedFilm,
    boxed_films,
    large_films,
    sample_films,
    sample_items,
    validation_items,
)
from benchmarks.defaults.measures import Row, candidate_bundle, decisions, film_rows
from benchmarks.defaults.plan import FULL, OLD, QUICK, REPORT_SEED, SELECT_SEED, Candidate, Plan, selects
from benchmarks.defaults.selection import chosen, summary
from benchmarks.places import RESULTS, ROOT, study_arguments
from monai_robustinterp.files import file_sha256
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import bundle_settings
from monai_robustinterp.training.tables import LabeledImage

_LARGE = 6


def films_of(
    output: Path,
    name: str,
    candidates: Iterable[Candidate],
    films: Sequence[BoxedFilm],
    sizes: Sequence[int],
    *,
    seed: int,
    pairs: Sequence[bool],
    workers: int,
) -> dict[Candidate, list[Row]]:
    """Rows of films by candidate, kept film by film, and their table."""
    cells = []
    for one in candidates:
        bundle = candidate_bundle(one, n_samples=max(sizes), seed=seed)
        shared = bundle_settings(bundle) | {"candidate": asdict(one), "sizes": sizes, "seed": seed, "pairs": pairs}
        cells += [
            Cell(
                name=f"{one.label}-{film.path.stem}",
                labels={"candidate": one.label},
                settings=shared | {"film": file_sha256(film.path), "boxes": film.boxes},
                make=partial(film_rows, one, film, sizes, seed=seed, pairs=pairs),
            )
            for film in films
        ]
    found = iter(kept_rows(output, name, cells, workers=workers))
    return {one: [row for _ in films for row in next(found)] for one in candidates}


def decided(
    output: Path, candidates: Sequence[Candidate], items: Sequence[LabeledImage], *, draws: int, workers: int
) -> dict[tuple[Any, ...], list[Row]]:
    """Decisions of validation images by the candidates' noise, kept, and their table."""
    noises = {one.noise: one for one in candidates}
    images = [Path(item["image"]).name for item in items]
    cells = []
    for noise, one in noises.items():
        bundle = candidate_bundle(one, n_samples=1, seed=0)
        # What makes the map of a candidate has no part in its decisions.
        alone = asdict(replace(OLD, bundle=one.bundle, interpreter="", **one.shape))
        cells.append(
            Cell(
                name="-".join(map(str, noise)),
                labels={"bundle": one.bundle, **one.shape},
                settings=bundle_settings(bundle) | {"candidate": alone, "draws": draws, "images": images},
                make=partial(decisions, bundle, items, draws=draws),
            )
        )
    return dict(zip(noises, kept_rows(output, "decisions", cells, workers=workers)))


def measure(
    output: Path, plan: Plan, items: Sequence[LabeledImage], films: Sequence[BoxedFilm], workers: int
) -> dict[str, Any]:
    """The selection and the report."""
    known = [item for item in items if item["opacity"] is not None]
    halves = {
        "select": [film for film in films if selects(film.patient)][: plan.films],
        "report": [film for film in films if not selects(film.patient)][: plan.films],
    }
    noisy = decided(output, plan.candidates, known, draws=plan.draws, workers=workers)
    of_half = {
        (one, half): [row for row in noisy[one.noise] if selects(row["patient"]) == (half == "select")]
        for one in plan.candidates
        for half in halves
    }
    rows_of = partial(films_of, output, workers=workers)
    selecting = rows_of(
        "select", plan.candidates, halves["select"], [plan.select_samples], seed=SELECT_SEED, pairs=[False]
    )
    tried = [summary(selecting[one], of_half[one, "select"]) for one in plan.candidates]
    new = plan.candidates[chosen(tried)]
    both = dict.fromkeys([OLD, new])
    large = [BoxedFilm(path=path, patient="", boxes=()) for path in large_films(_LARGE)] if plan.name == "full" else []
    rows, wide = (
        rows_of(name, both, some, plan.report_samples, seed=REPORT_SEED, pairs=[False, True])
        for name, some in (("report", halves["report"]), ("large", large))
    )
    reported = {
        one.label: {"films": rows[one], "large": wide[one], "decisions": of_half[one, "report"]} for one in both
    }
    return {
        "candidates": [asdict(one) | {"label": one.label} for one in plan.candidates],
        "tried": tried,
        "old": OLD.label,
        "new": new.label,
        "reported": reported,
        "numbers": {half: len(found) for half, found in halves.items()},
        "images": {half: len(of_half[OLD, half]) for half in halves},
    }


def main(output: Path, plan: Plan, folders: tuple[Path, Path] | None, workers: int) -> None:
    """Measures, writes ``results.json`` and the page."""
    items = sample_items() if folders is None else validation_items(*folders)
    films = sample_films() if folders is None else boxed_films(items)
    results = {"plan": {"name": plan.name, "draws": plan.draws, "select_samples": plan.select_samples}}
    results |= {"surroundings": surroundings("cpu", ROOT), **measure(output, plan, items, films, workers)}
    write_json(output / "results.json", results)
    write_page((RESULTS if plan.name == "full" else output) / "defaults.md", page.sections(results))


if __name__ == "__main__":
    arguments = study_arguments("python -m benchmarks.defaults", workers=True)
    main(arguments.output, QUICK if arguments.quick else FULL, arguments.folders, arguments.workers)
