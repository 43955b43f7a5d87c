"""Seconds of the contenders, which take turns."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.speed.contenders import CONTENDERS, DENOISED, Contender, Run
from benchmarks.speed.models import Case, load_case
from benchmarks.speed.plan import ModelPlan, Plan
from monai_robustinterp.errors import out_of_memory
from monai_robustinterp.smoothing.batching import wait_for

Entry = tuple[str, int | None]
"""A contender and its batch size."""

Row = dict[str, Any]
Times = tuple[float, float]
"""Seconds of the clock, and of the process on all cores."""

SERIES = ("bare", "ours", "captum")


def time_model(model: ModelPlan, plan: Plan, names: Sequence[str], device: str) -> list[Row]:
    """All timings of a model.

    Args:
        model: what is timed of it.
        plan: which says how often.
        names: of the contenders.
        device: "cpu" or "cuda".

    Returns:
        A row a contender, batch size and m, with ``part``: "grid", "series", "one batch", "automatic" or "long".
    """
    case = load_case(model.key, model.side, device)
    rows: list[Row] = []

    def take(part: str, entries: Sequence[Entry], n_samples: int) -> None:
        repeats = plan.repeats if part == "grid" else plan.few_repeats
        for row in take_turns(case, entries, n_samples=n_samples, repeats=repeats):
            rows.append({"part": part, "model": model.key, "side": model.side, **row})
            found = row.get("left_out") or f"{row['samples_per_s']:.1f} samples/s"
            print(f"  {part}, {row['contender']}, batch {row['batch']}, m = {n_samples}: {found}", flush=True)

    for batch in model.batches:
        take("grid", [(name, batch) for name in names], model.n_samples)
    best = {name: best_row(rows, model.key, name)["batch"] for name in names}
    for n_samples in model.series:
        take("series", [(name, best[name]) for name in SERIES], n_samples)
    for n_samples in model.one_batch:
        take("one batch", [("ours", best["ours"]), ("captum", None)], n_samples)
    if model.automatic:
        take("automatic", [("ours", best["ours"]), ("ours", None)], model.automatic)
    if model.long:
        take("long", [(name, best[name]) for name in names if name.startswith("ours")], model.long)
    return rows


def time_denoised(model: ModelPlan, plan: Plan, device: str) -> list[Row]:
    """Timings of a bundle that denoises, beside the bare passes of its two networks: a row a contender and batch size.

    Args:
        model: what is timed of it.
        plan: which says how often.
        device: "cpu" or "cuda".
    """
    case = load_case(model.key, model.side, device)
    rows: list[Row] = []
    for batch in model.batches:
        entries = [(name, batch) for name in (*DENOISED, "ours")]
        rows += take_turns(case, entries, n_samples=model.n_samples, repeats=plan.repeats)
    return [{"model": model.key, "side": model.side, **row} for row in rows]


def take_turns(case: Case, entries: Sequence[Entry], *, n_samples: int, repeats: int) -> list[Row]:
    """Times each entry ``repeats`` times, in turns of shuffled order, after a warm-up of two batches.

    What ran before leaves memory and caches in its own state: in a fixed order it would always meet the same one.

    Args:
        case: what they work on.
        entries: contenders and batch sizes.
        n_samples: copies m of a run.
        repeats: timed runs of each.

    Returns:
        A row an entry: ``seconds`` and ``cpu_seconds`` (of the process on all cores) of each repeat, ``median_s``,
        ``samples_per_s`` and ``samples_per_cpu_s``; or ``left_out``, the reason.
    """
    left_out = {entry: reason for entry in entries if (reason := _warm_up(case, entry, n_samples))}
    running = [entry for entry in entries if entry not in left_out]
    seconds: dict[Entry, list[Times]] = {entry: [] for entry in running}
    for repeat in range(repeats):
        for entry in random.Random(repeat).sample(running, len(running)):
            with _contender(entry[0])(case, n_samples, entry[1]) as run:
                seconds[entry].append(_seconds(run, case.image.device))
    return [
        {"contender": entry[0], "batch": entry[1], "n_samples": n_samples}
        | (_rate(seconds[entry], n_samples) if entry in seconds else {"left_out": left_out[entry]})
        for entry in entries
    ]


def best_row(rows: Sequence[Row], model: str, contender: str, per: str = "samples_per_s") -> Row:
    """The row of the grid with most samples per second, of the clock or as ``per`` says.

    Raises:
        ValueError: if the contender has none.
    """
    found = [
        row
        for row in rows
        if (row["part"], row["model"], row["contender"]) == ("grid", model, contender) and "samples_per_s" in row
    ]
    if not found:
        raise ValueError(f"{contender} has no timing on the grid of {model}: it was left out at every batch size.")
    return max(found, key=lambda row: row[per])


def _contender(name: str) -> Contender:
    return (CONTENDERS | DENOISED)[name]


def _warm_up(case: Case, entry: Entry, n_samples: int) -> str:
    """Runs two batches; returns why the entry cannot run, if so."""
    name, batch = entry
    try:
        with _contender(name)(case, min(n_samples, 2 * (batch or n_samples)), batch) as run:
            run()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        torch.cuda.empty_cache()
        return "out of memory"
    return ""


def _seconds(run: Run, device: torch.device) -> Times:
    wait_for(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    run()
    wait_for(device)
    return time.perf_counter() - start, time.process_time() - cpu_start


def _rate(times: list[Times], n_samples: int) -> Row:
    seconds, cpu_seconds = map(list, zip(*times))
    median = statistics.median(seconds)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "median_s": median,
        "samples_per_s": n_samples / median,
        "samples_per_cpu_s": n_samples / statistics.median(cpu_seconds),
    }
