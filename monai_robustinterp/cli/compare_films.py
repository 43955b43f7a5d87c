"""``compare DATASET.csv``: the maps of many films, judged by metrics, in one table that can be stopped and resumed."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.cli.arguments import (
    InterpreterChoice,
    chosen_interpreter,
    classifier_overrides,
    positive,
    setting_values,
    shown_path,
    split_outside_json,
)
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.metrics.base import Metric
from monai_robustinterp.metrics.registry import METRICS, make_metric
from monai_robustinterp.run.lock import output_folder
from monai_robustinterp.study.budget import within
from monai_robustinterp.study.contenders import BLIND, contenders
from monai_robustinterp.study.dataset import COLUMNS, read_dataset
from monai_robustinterp.study.machine import machine
from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.runner import run_table
from monai_robustinterp.study.saved_table import save_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that only a dataset takes."""
    group = parser.add_argument_group("a dataset", f"INPUT is a CSV file with the columns {', '.join(COLUMNS)}")
    group.add_argument(
        "--metrics",
        type=lambda text: split_outside_json(text, ","),
        metavar="A[:SETTING=VALUE...],B,...",
        help=f"judges of the maps, or 'all': {', '.join(sorted(METRICS))}",
    )
    group.add_argument(
        "--maps",
        type=lambda text: text.split(","),
        metavar="KIND,...",
        help="plain (of the film itself), certified (votes of noisy copies), or both, which is the default",
    )
    group.add_argument(
        "--blind",
        type=lambda text: text.split(","),
        metavar="MAP,...",
        help=f"maps that do not look at the film, to be better than: {', '.join(BLIND)}",
    )
    group.add_argument("--samples", type=positive(int), metavar="M", help="noisy copies of a map (the bundle's number)")
    group.add_argument(
        "--seconds", type=positive(float), metavar="S", help="in place of --samples: CPU seconds of a certified map"
    )
    group.add_argument("--seed", type=int, help="seed of the noise and of what metrics draw")
    group.add_argument("--workers", type=positive(int), metavar="N", help="processes (1)")


def refuse_arguments(arguments: argparse.Namespace) -> None:
    """Refuses arguments that only a dataset takes.

    Raises:
        InputRefused: if one is given.
    """
    for name in ("metrics", "maps", "blind", "samples", "seconds", "seed", "workers"):
        if getattr(arguments, name) is not None:
            raise InputRefused(f"--{name} is for a dataset, and the input is no CSV file. Leave it out.")


def run(arguments: argparse.Namespace, chosen: Sequence[InterpreterChoice]) -> int:
    """Runs the command; returns the exit code: 1 if a map is missing or the plan is refused."""
    try:
        plan = _plan(arguments, chosen)
        with warnings.catch_warnings(), output_folder(arguments.output) as output:
            warnings.simplefilter("ignore", UserWarning)
            output.share()
            if arguments.seconds is not None:
                plan = within(plan, arguments.seconds, arguments.output)
            with _bar(2 * len(plan.films), quiet=arguments.quiet) as step:
                rows = run_table(plan, arguments.output, workers=arguments.workers or 1, progress=step)
            save_table(plan, rows, arguments.output, about=_about(arguments, plan))
    except Exception as error:
        print(f"monai-robustinterp: {refusal_reason(error)}", file=sys.stderr)
        return 1
    refused = [row for row in rows if row["refused"]]
    if not arguments.quiet:
        for row in refused:
            print(f"film {row['film']}, {row['label']} ({row['kind']}): {row['refused']}", file=sys.stderr)
        print(f"{len(rows)} maps of {len(plan.films)} films, {len(refused)} refused: {shown_path(arguments.output)}/")
        print("index.html, table.csv, table.parquet, summary.csv; films.json names the films.")
    return 1 if refused else 0


def _plan(arguments: argparse.Namespace, chosen: Sequence[InterpreterChoice]) -> TablePlan:
    if arguments.samples is not None and arguments.seconds is not None:
        raise InputRefused("--samples and --seconds are two budgets for one map; give one of them.")
    overrides = {name: given for name, given in classifier_overrides(arguments).items() if given is not None}
    bundle = load_bundle(arguments.bundle, overrides)
    recipe = bundle.inferer.recipe
    for choice in chosen:
        chosen_interpreter(bundle, choice)
    return TablePlan(
        films=read_dataset(arguments.input),
        contenders=contenders(chosen, kinds=arguments.maps or ["plain", "certified"], blind=arguments.blind or []),
        metrics=metrics(arguments.metrics or []),
        bundle=arguments.bundle,
        overrides=overrides,
        n_samples=arguments.samples or recipe.n_samples,
        seed=recipe.seed if arguments.seed is None else arguments.seed,
    )


def metrics(texts: Sequence[str]) -> list[Metric]:
    """Metrics of their texts ``NAME[:SETTING=VALUE...]``; "all" is every one with its own settings.

    Raises:
        InputRefused: if one is unknown.
    """
    found = []
    for text in sorted(METRICS) if list(texts) == ["all"] else texts:
        name, *settings = split_outside_json(text.strip(), ":")
        try:
            found.append(make_metric(name, **setting_values(text, settings)))
        except argparse.ArgumentTypeError as error:
            raise InputRefused(f"metric {name!r}: {error}.") from error
    return found


def _about(arguments: argparse.Namespace, plan: TablePlan) -> dict[str, Any]:
    bundle = load_bundle(plan.bundle, plan.overrides)
    recipe = bundle.inferer.recipe
    spec = dataclasses.asdict(recipe.spec(recipe.target or 0))
    shown = ("sigma", "brightness", "tilt", "denoiser", "top_k", "cell_size", "precision")
    place = machine(str(bundle.device))
    return {
        "bundle": arguments.bundle or "default",
        **bundle.files,
        **{name: spec[name] for name in shown},
        "beta": bundle.inferer.claim.beta,
        "confidence": 1 - bundle.inferer.claim.eta,
        "copies": dict(plan.budget) or plan.n_samples,
        "seed": plan.seed,
        "machine": f"{place['device']}, {place['processor']}, {place['cores']} cores",
    }


@contextlib.contextmanager
def _bar(total: int, *, quiet: bool) -> Any:
    bar = tqdm(total=total, unit=" steps", leave=False, disable=quiet)
    step: Callable[[], object] = bar.update
    try:
        yield step
    finally:
        bar.close()
