"""Every interpreter, plain and certified, and maps that do not look at the film, by every metric, in one table.

usage: python -m benchmarks.metrics OUTPUT_DIR --kermany DIR --chest-xray14 DIR [--full] [--films N]
                                    [--bundle NAME] [--without METRIC ...] [--workers 2]
       python -m benchmarks.metrics OUTPUT_DIR --quick

Eight films at 15 CPU seconds a certified map, about an hour on two cores; ``--full`` takes all films with marks, at 60
seconds. Of each model it writes ``results.json`` and a table into a folder of OUTPUT_DIR, and a page into docs/results:
metrics.md of the default one. A run that was ended goes on. ``--quick`` (sample images) needs no folders; its page is
in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.defaults.films import sample_films, validation_items
from benchmarks.lungs.films import MarkedFilm, marked_films, normal_films
from benchmarks.metrics import page
from benchmarks.metrics.dataset import films_of
from benchmarks.metrics.plan import EIGHT, FULL, QUICK, Model, Plan
from benchmarks.metrics.slides import differences
from benchmarks.places import RESULTS, ROOT
from monai_robustinterp.metrics.registry import make_metric, metric_names
from monai_robustinterp.study.budget import within
from monai_robustinterp.study.contenders import BLIND, contenders
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.runner import run_table
from monai_robustinterp.study.saved_table import save_table
from monai_robustinterp.study.workplace import Workplace


def table_of(
    model: Model, plan: Plan, marked: Sequence[MarkedFilm], normal: Sequence[MarkedFilm], output: Path, workers: int
) -> dict[str, Any]:
    """Runs and saves one model's table; returns what the page says of it."""
    made = TablePlan(
        films=films_of(marked, target=model.target),
        companions=films_of(normal, target=model.target, present=False),
        contenders=(
            *contenders(plan.methods, kinds=("plain",)),
            *contenders(plan.certified, kinds=("certified",), blind=BLIND),
        ),
        metrics=[make_metric(name) for name in plan.metrics],
        bundle=model.bundle,
        overrides={"device": "$torch.device('cpu')"},
        n_samples=plan.n_samples,
    )
    if plan.seconds is not None:
        made = within(made, plan.seconds, output)
    done = iter(range(2 * len(made.films)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rows = run_table(
            made,
            output,
            workers=workers,
            progress=lambda: print(f"  {model.label}: {next(done) + 1} of {2 * len(made.films)}", flush=True),
        )
    recipe = Workplace(model.bundle, made.overrides, seed=made.seed).base.inferer.recipe
    spec = recipe.spec(0)
    facts = {
        "model": model.label,
        "bundle": model.bundle,
        "finding": model.target if isinstance(model.target, str) else recipe.findings.name(model.target),
        "budget": made.budget or made.n_samples,
        "sigma": spec.sigma,
        "brightness": spec.brightness,
        "tilt": spec.tilt,
        "denoiser": spec.denoiser["name"] if spec.denoiser else None,
    }
    summed, together = save_table(made, rows, output, about=facts)
    return {
        **facts,
        "films": len(made.films),
        "patients": len({film.patient for film in made.films}),
        "summary": summed,
        "correlations": together,
        "differences": differences(rows),
        "refused": sorted({row["refused"] for row in rows if row["refused"]}),
        "directions": {metric.name: metric.direction for metric in made.metrics},
    }


def main(arguments: argparse.Namespace) -> None:
    """Runs the tables, writes results and pages."""
    output: Path = arguments.output
    plan = QUICK if arguments.quick else FULL if arguments.full else EIGHT
    if arguments.films is not None:
        plan = dataclasses.replace(plan, films=arguments.films)
    if arguments.bundle is not None:
        plan = dataclasses.replace(plan, models=tuple(one for one in plan.models if one.bundle == arguments.bundle))
    items = [] if arguments.quick else validation_items(arguments.kermany, arguments.chest_xray14)
    if arguments.without:
        metrics = tuple(name for name in plan.metrics if name not in arguments.without)
        plan = dataclasses.replace(plan, metrics=metrics)
    if arguments.quick:
        marked = [MarkedFilm(path=one.path, patient=one.patient, boxed=one, polygons=()) for one in sample_films()]
    else:
        marked = marked_films(items)
        # Films with both kinds of marks come first: a short run can be judged by both.
        marked = sorted(marked, key=lambda film: not (film.boxed and film.polygons))
    marked = marked[: plan.films]
    normal = normal_films(items)
    for model in plan.models:
        folder = output / model.bundle
        folder.mkdir(parents=True, exist_ok=True)
        results = {
            "plan": dataclasses.asdict(dataclasses.replace(plan, models=(model,))),
            "surroundings": surroundings("cpu", ROOT),
            "table": table_of(model, plan, marked, normal, folder, arguments.workers),
        }
        write_json(folder / "results.json", results)
        write_page((output if arguments.quick else RESULTS) / model.page, page.sections(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics")
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--kermany", type=Path, help="folder of the Kermany images")
    parser.add_argument("--chest-xray14", type=Path, help="folder of the ChestX-ray14 images")
    parser.add_argument("--full", action="store_true", help="all films with marks, 60 CPU seconds a certified map")
    parser.add_argument("--films", type=int, help="so many films, in place of the plan's number")
    parser.add_argument("--bundle", choices=[one.bundle for one in FULL.models], help="of one classifier only")
    parser.add_argument(
        "--without", nargs="*", choices=metric_names(), help="metrics to leave out, such as those of many maps"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    if not arguments.quick and None in (arguments.kermany, arguments.chest_xray14):
        parser.error("the table needs --kermany and --chest-xray14")
    return arguments


if __name__ == "__main__":
    main(_arguments())
