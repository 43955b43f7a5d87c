"""The goals that were set beforehand, judged on unrounded figures; text is rounded against us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.speed.measure import Row
from benchmarks.speed.plan import DEFAULT, DENSENET, TINY, TITLES
from benchmarks.speed.ratios import BEST_BARE, CAPTUM_DEFAULT, best_rows, fastest_by_contender, models, ratios
from monai_robustinterp.study.tables import Goal, rounded_down, rounded_up

OVER_CAPTUM, OVER_DEFAULT, OVER_BARE, FAST_OVER_CAPTUM = 1.3, 2.5, 0.95, 4.0
DENOISED_RATE, DENOISED_CORES = 150.0, 2
FLAT, LINEAR = 1.05, 1.1
LONG_S, LONG_GPU = 3.0, "H200"


def goals(results: dict[str, Any]) -> list[Goal]:
    """Those that the run can judge.

    Args:
        results: content of bench.json.
    """
    rates, memory, machine = results["rates"], results["memory"], results["machine"]
    by_model, by_cpu_time = ratios(rates), ratios(rates, per="samples_per_cpu_s")
    found = []
    for model in models(rates):
        if machine["device"] == "cuda":
            found += _on_gpu(TITLES[model], by_model[model], rates, model)
        else:
            found += _on_cpu(TITLES[model], by_model[model], by_cpu_time[model])
    if LONG_GPU in machine.get("gpu", ""):
        found += _long(rates)
    return found + _denoised(results) + _flat(memory) + _linear(memory)


def _on_cpu(title: str, of_model: dict[str, float], by_cpu_time: dict[str, float]) -> list[Goal]:
    wanted = {"captum": (OVER_CAPTUM, "Captum at its best batch")}
    wanted |= {key: (OVER_DEFAULT, key) for key in of_model if key.startswith(CAPTUM_DEFAULT)}
    wanted[BEST_BARE] = (OVER_BARE, "the best bare loop")
    return [
        _at_least(title, factor, other, of_model[key], f" In CPU time {rounded_down(by_cpu_time[key])} times.")
        for key, (factor, other) in wanted.items()
    ]


def _on_gpu(title: str, of_model: dict[str, float], rates: Sequence[Row], model: str) -> list[Goal]:
    best = best_rows(rates, model)
    fastest = max((name for name in best if name.startswith("ours")), key=lambda name: best[name]["samples_per_s"])
    over_captum = best[fastest]["samples_per_s"] / best["captum"]["samples_per_s"]
    return [
        _at_least(title, OVER_BARE, "the best bare loop, at equal precision", of_model[BEST_BARE]),
        _at_least(title, FAST_OVER_CAPTUM, f"Captum's float32, by the fastest of ours (`{fastest}`)", over_captum),
    ]


def _at_least(title: str, factor: float, other: str, ratio: float, beside: str = "") -> Goal:
    name = f"{title}: at least {factor:g} times {other}"
    return Goal(name, ratio >= factor, f"{rounded_down(ratio)} times.{beside}")


def _denoised(results: dict[str, Any]) -> list[Goal]:
    """Of runs that measured it."""
    rows = [row for row in results.get("denoised", []) if "samples_per_s" in row]
    if not rows:
        return []
    best = fastest_by_contender(rows)
    ours, bare = best["ours"]["samples_per_s"], best["passes"]["samples_per_s"]
    by_cpu = fastest_by_contender(rows, per="samples_per_cpu_s")
    in_cpu = by_cpu["ours"]["samples_per_cpu_s"] / by_cpu["passes"]["samples_per_cpu_s"]
    title = TITLES[DEFAULT]
    found = [_at_least(title, OVER_BARE, "the bare passes", ours / bare, f" In CPU time {rounded_down(in_cpu)} times.")]
    if results["machine"]["device"] == "cpu" and results["machine"]["cores"] == DENOISED_CORES:
        name = f"{title}: denoise and interpret {DENOISED_RATE:g} copies/s on {DENOISED_CORES} cores"
        beside = f"{ours:.0f} copies/s; the bare passes alone reach {bare:.0f}."
        found.append(Goal(name, ours >= DENOISED_RATE, beside))
    return found


def _long(rates: Sequence[Row]) -> list[Goal]:
    rows = [row for row in rates if (row["part"], row["model"]) == ("long", DENSENET) and "median_s" in row]
    if not rows:
        return []
    row = min(rows, key=lambda row: row["median_s"])
    name = f"{TITLES[DENSENET]} at {row['side']} px, {row['n_samples']:,} copies of one image within {LONG_S:g} s"
    return [Goal(name, row["median_s"] <= LONG_S, f"{rounded_up(row['median_s'])} s (`{row['contender']}`).")]


def _flat(memory: Sequence[Row]) -> list[Goal]:
    added = {row["n_samples"]: row["added_mb"] for row in memory if _is(row, "samples", TINY)}
    if len(added) < 2:
        return []
    low, high = min(added), max(added)
    growth = max(added.values()) / added[low]
    name = f"Memory flat in m, {low} to {high:,} copies within {FLAT - 1:.0%} ({TITLES[TINY]})"
    return [Goal(name, growth <= FLAT, f"At most {rounded_up(growth, 3)} times that of {low} copies.")]


def _linear(memory: Sequence[Row]) -> list[Goal]:
    added = {row["side"]: row["added_mb"] for row in memory if row["part"] == "pixels" and "added_mb" in row}
    if len(added) < 2:
        return []
    low, high = min(added), max(added)
    growth, pixels = added[high] / added[low], (high / low) ** 2
    name = f"Memory linear in pixels, {low} to {high} px a side: grows with them, by at most {LINEAR:g} times as much"
    return [Goal(name, growth <= LINEAR * pixels, f"{rounded_up(growth)} times for {pixels:g} times the pixels.")]


def _is(row: Row, part: str, model: str) -> bool:
    return (row["part"], row.get("model")) == (part, model) and "added_mb" in row
