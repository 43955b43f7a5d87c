"""Why these defaults: candidates tried on half of the validation patients, and the chosen one reported on the rest.

usage: python -m benchmarks.defaults OUTPUT_DIR --kermany DIR --chest-xray14 DIR [--quick]

About an hour on two cores. It writes ``results.json`` into OUTPUT_DIR and defaults.md into docs/results. An interrupted
run resumes. ``--quick`` (sample images with made-up boxes, few copies) needs no folders; its page is in OUTPUT_DIR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import monai_robustinterp
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
from monai_robustinterp.study.store import kept_json
from monai_robustinterp.training.tables import LabeledImage

_LARGE = 6


def films_of(
    output: Path,
    candidate: Candidate,
    films: Sequence[BoxedFilm],
    sizes: Sequence[int],
    *,
    seed: int,
    pairs: Sequence[bool],
) -> list[Row]:
    """Rows of films, kept one by one."""
    bundle = candidate_bundle(candidate, n_samples=max(sizes), seed=seed)
    rows: list[Row] = []
    for film in films:
        settings = _settings(candidate, sizes=list(sizes), seed=seed, pairs=list(pairs), film=file_sha256(film.path))
        settings |= bundle.files | {"denoiser": bundle.inferer.recipe.spec(0).denoiser, "boxes": film.boxes}
        path = output / f"{_slug(candidate.label)}-{film.path.stem}-{seed}-{max(sizes)}.json"
        rows += kept_json(path, settings, lambda film=film: film_rows(bundle, film, sizes, pairs=pairs))
    print(f"  {candidate.label}: {len(films)} films", flush=True)
    return rows


def decided(output: Path, candidate: Candidate, items: Sequence[LabeledImage], plan: Plan) -> list[Row]:
    """Decisions of validation images under the candidate's noise, kept."""
    bundle = candidate_bundle(candidate, n_samples=1, seed=0)
    # What makes the map of a candidate has no part in its decisions.
    noise_alone = replace(OLD, bundle=candidate.bundle, interpreter="", **candidate.shape)
    settings = _settings(noise_alone, draws=plan.draws, images=[Path(item["image"]).name for item in items])
    settings |= bundle.files | {"denoiser": bundle.inferer.recipe.spec(0).denoiser}
    noise = "-".join(map(str, candidate.noise))
    found: list[Row] = kept_json(
        output / f"decisions-{noise}.json", settings, lambda: decisions(bundle, items, draws=plan.draws)
    )
    return found


def measure(output: Path, plan: Plan, items: Sequence[LabeledImage], films: Sequence[BoxedFilm]) -> dict[str, Any]:
    """The selection and the report."""
    known = [item for item in items if item["opacity"] is not None]
    halves = {
        "select": [film for film in films if selects(film.patient)][: plan.films],
        "report": [film for film in films if not selects(film.patient)][: plan.films],
    }
    noisy = {one: decided(output, one, known, plan) for one in plan.candidates}
    of_half = {
        (one, half): [row for row in noisy[one] if selects(row["patient"]) == (half == "select")]
        for one in plan.candidates
        for half in halves
    }
    tried = []
    for one in plan.candidates:
        rows = films_of(output, one, halves["select"], [plan.select_samples], seed=SELECT_SEED, pairs=[False])
        tried.append(summary(rows, of_half[one, "select"]))
    new = plan.candidates[chosen(tried)]
    reported: dict[str, Any] = {}
    large = [BoxedFilm(path=path, patient="", boxes=()) for path in large_films(_LARGE)] if plan.name == "full" else []
    for one in dict.fromkeys([OLD, new]):
        rows = films_of(output, one, halves["report"], plan.report_samples, seed=REPORT_SEED, pairs=[False, True])
        wide = films_of(output, one, large, plan.report_samples, seed=REPORT_SEED, pairs=[False, True])
        reported[one.label] = {"films": rows, "large": wide, "decisions": of_half[one, "report"]}
    return {
        "candidates": [asdict(one) | {"label": one.label} for one in plan.candidates],
        "tried": tried,
        "old": OLD.label,
        "new": new.label,
        "reported": reported,
        "numbers": {half: len(found) for half, found in halves.items()},
        "images": {half: len(of_half[OLD, half]) for half in halves},
    }


def _slug(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label)


def _settings(candidate: Candidate, **more: Any) -> dict[str, Any]:
    return asdict(candidate) | more | {"monai_robustinterp": monai_robustinterp.__version__}


def main(output: Path, plan: Plan, folders: tuple[Path, Path] | None) -> None:
    """Measures, writes ``results.json`` and the page."""
    items = sample_items() if folders is None else validation_items(*folders)
    films = sample_films() if folders is None else boxed_films(items)
    results = {"plan": {"name": plan.name, "draws": plan.draws, "select_samples": plan.select_samples}}
    results |= {"surroundings": surroundings("cpu", ROOT), **measure(output, plan, items, films)}
    write_json(output / "results.json", results)
    write_page((RESULTS if plan.name == "full" else output) / "defaults.md", page.sections(results))


if __name__ == "__main__":
    output, folders = study_arguments("python -m benchmarks.defaults")
    main(output, QUICK if folders is None else FULL, folders)
