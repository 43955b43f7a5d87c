"""The page docs/performance.md, from one or more bench.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.goals import goals
from benchmarks.speed.measure import Row
from benchmarks.speed.memory import MMAP_THRESHOLD
from benchmarks.speed.plan import TITLES
from benchmarks.speed.ratios import best_rows, fastest_by_contender, models, ratios
from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import prose, rounded_down, table

NOTES = Path(__file__).with_name("notes.md")

NAMES = {
    "bare": "bare loop, in the state in which ours runs the network",
    "bare_as_given": "bare loop, untouched network",
    "passes": "bare forward passes of denoiser and network",
    "ours": "**ours**",
    "captum": "Captum NoiseTunnel + Saliency, top-k added",
    "captum_in_our_state": "the same, in the state in which ours runs the network",
    "zennit": "zennit SmoothGrad",
    "ours_tf32": "**ours, TF32**",
    "captum_tf32": "Captum, TF32, torch's default for convolutions",
    "ours_bfloat16": "**ours, bfloat16**",
}


def sections(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The parts of the page.

    Args:
        runs: contents of bench.json, one a machine.
    """
    notes = NOTES.read_text().splitlines() if NOTES.exists() else []
    return [_head(), *(part for results in runs for part in _run(results)), _repeat(), notes]


def machine_section(results: dict[str, Any]) -> list[str]:
    """Machine, versions and commit, as a paragraph."""
    machine = results["machine"]
    stolen = f"{machine['stolen_share']:.0%} of the cores' time went to other guests of the host meanwhile."
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    return prose(
        *([quick] if results["settings"]["name"] == "quick" else []),
        f"{surroundings_text(results)}. {results['settings']['dtype']}; medians of",
        f"{results['settings']['repeats']} runs on the grid, of {results['settings']['few_repeats']} where m varies.",
        *([stolen] if machine["stolen_share"] else []),
        *(f"Left out: {name} ({reason})." for name, reason in results["left_out"].items()),
    )


def _head() -> list[str]:
    return [
        "# Speed and memory",
        "",
        *prose(
            "Written by `python -m benchmarks.speed` (`make bench`). A run needs m noisy copies of an image, each",
            "with a forward pass of the network and a backward pass to its input. That is the bare loop; nothing that",
            "makes the same maps can be faster on the same network. What stands beside it:",
        ),
        "",
        "- the bare loop twice: on the network as a user has it, and in the state that `explaining` gives it, in which",
        "  the inferer runs it; noise and votes are not in it;",
        "- ours: `CertifiedSaliencyInferer.vote`, with the network's preparation, noise, maps, top-k and votes;",
        "- Captum's NoiseTunnel + Saliency, the usual tool, on the network as a user has it, one call a batch, with",
        "  this package's top-k behind it. It averages the maps of a batch, so that it votes once a batch where ours",
        "  votes once a copy. A second row gives it the network as ours prepares it: what is left is the tool;",
        "- Captum's default, all m copies in one batch;",
        "- zennit's SmoothGrad, without votes; the last batch of a run has no noise there.",
        "",
        *prose(
            "All take turns in one process: after a warm-up each runs once in every round, and the order is shuffled",
            "for each round. Same image, sigma, dtype and device; on a GPU the products of float32 values are not",
            "rounded to TF32 but where a row says so. Each is reported at its best batch size of the grid.",
            "Ratios are of medians and rounded down. CPU time is that of the process on all cores: where a host gives",
            "its cores to others meanwhile it tells more than the clock does; on a GPU it is what the host does beside",
            "it. Peak memory is what a run adds to what was held after loading and",
            "a warm-up: on a CPU in a process of its own, which returns freed tensors to the system at once (glibc's",
            f"mmap threshold held at {MMAP_THRESHOLD // 1024} KiB), on a GPU by torch's allocator.",
        ),
    ]


def _run(results: dict[str, Any]) -> list[list[str]]:
    machine = results["machine"]
    kind = "GPU" if machine["device"] == "cuda" else "CPU"
    parts = [
        [f"## {kind}: {machine.get('gpu', machine['processor'])}"],
        machine_section(results),
        ["Goals that were set beforehand, as far as this run can judge them:"],
        [goal.line for goal in goals(results)],
        *(_model(results, model) for model in models(results["rates"])),
    ]
    others = (_denoised, _series, _automatic, _long, _one_batch, _memory_in_m, _memory_in_pixels, _dicom, _ledger)
    return [*parts, *(section(results) for section in others)]


def _model(results: dict[str, Any], model: str) -> list[str]:
    rates, best = results["rates"], best_rows(results["rates"], model)
    grid = [row for row in rates if (row["part"], row["model"]) == ("grid", model)]
    sizes = sorted({row["batch"] for row in grid if row["batch"] is not None})
    by_cpu_time = ratios(rates, per="samples_per_cpu_s")[model]
    memory = {row["contender"]: row for row in _rows(results["memory"], "best batch") if row["model"] == model}
    rate_at = {(row["contender"], row["batch"]): row.get("samples_per_s") for row in grid}
    header = ["", "best batch", "samples/s", "slowest, fastest", "ours over it", "in CPU time", "MB added"]
    lines = [
        [
            NAMES.get(name, name),
            _batch(row["batch"]),
            f"{row['samples_per_s']:.1f}",
            f"{row['n_samples'] / max(row['seconds']):.1f}, {row['n_samples'] / min(row['seconds']):.1f}",
            rounded_down(best["ours"]["samples_per_s"] / row["samples_per_s"]),
            rounded_down(by_cpu_time.get(name, 1.0)),
            _added(memory.get(name)),
            *(_rate(rate_at.get((name, size))) for size in sizes),
        ]
        for name, row in best.items()
    ]
    title = f"### {TITLES[model]}, {grid[0]['side']} px"
    m = f"m = {grid[0]['n_samples']}; the last columns are samples/s at each batch size."
    return [title, "", m, "", *table([*header, *(f"batch {size}" for size in sizes)], lines)]


def _denoised(results: dict[str, Any]) -> list[str]:
    # Runs of before this part was measured have none.
    rows = [row for row in results.get("denoised", []) if "samples_per_s" in row]
    if not rows:
        return []
    best = fastest_by_contender(rows)
    sizes = sorted({row["batch"] for row in rows})
    rate_at = {(row["contender"], row["batch"]): row["samples_per_s"] for row in rows}
    lines = [
        [NAMES[name], str(row["batch"]), f"{row['samples_per_s']:.1f}", *(_rate(rate_at.get((name, n))) for n in sizes)]
        for name, row in best.items()
    ]
    return [
        f"### The default bundle, {TITLES[rows[0]['model']]}, {rows[0]['side']} px",
        "",
        *prose(
            f"m = {rows[0]['n_samples']}. A copy is denoised and classified; its map needs no backward pass. The limit",
            "is the forward passes of the two networks, without noise, map and votes. Captum has no such method.",
        ),
        "",
        *table(["", "best batch", "copies/s", *(f"batch {size}" for size in sizes)], lines),
    ]


def _series(results: dict[str, Any]) -> list[str]:
    rows = _rows(results["rates"], "series")
    if not rows:
        return []
    rate = {(row["contender"], row["n_samples"]): row["samples_per_s"] for row in rows if "samples_per_s" in row}
    names = list(dict.fromkeys(row["contender"] for row in rows))
    numbers = sorted({row["n_samples"] for row in rows})
    lines = [[NAMES.get(name, name), *(_rate(rate.get((name, n_samples))) for n_samples in numbers)] for name in names]
    header = ["samples/s", *(f"m = {n_samples:,}" for n_samples in numbers)]
    return [f"### Number of copies ({TITLES[rows[0]['model']]})", "", "At the best batch.", "", *table(header, lines)]


def _automatic(results: dict[str, Any]) -> list[str]:
    rows = _rows(results["rates"], "automatic")
    lines = [
        [TITLES[row["model"]], f"{row['n_samples']:,}", _batch(row["batch"]), _rate(row.get("samples_per_s"))]
        for row in rows
    ]
    header = ["ours", "m", "batch", "samples/s"]
    note = "The search itself is not in the time: its result is kept on each machine."
    return ["### The batch size that ours finds itself", "", note, "", *table(header, lines)] if lines else []


def _long(results: dict[str, Any]) -> list[str]:
    rows = [row for row in _rows(results["rates"], "long") if "median_s" in row]
    lines = [
        [TITLES[row["model"]], NAMES[row["contender"]], f"{row['n_samples']:,}", f"{row['median_s']:.2f}"]
        for row in rows
    ]
    return ["### One image with many copies", "", *table(["", "", "m", "seconds"], lines)] if lines else []


def _one_batch(results: dict[str, Any]) -> list[str]:
    rows = _rows(results["rates"], "one batch")
    memory = {(row["model"], row["n_samples"]): row for row in _rows(results["memory"], "one batch")}
    lines = []
    for row in rows:
        if row["contender"] != "captum":
            continue
        key = (row["model"], row["n_samples"])
        ours = next(each for each in rows if (each["model"], each["n_samples"]) == key and each["contender"] == "ours")
        both = "samples_per_s" in row and "samples_per_s" in ours
        ratio = rounded_down(ours["samples_per_s"] / row["samples_per_s"]) if both else "-"
        rates = [_rate(each.get("samples_per_s")) for each in (row, ours)]
        lines.append([TITLES[row["model"]], f"{row['n_samples']:,}", *rates, ratio, _added(memory.get(key))])
    header = ["", "m", "Captum, samples/s", "ours at its best batch", "ours over it", "Captum, MB added"]
    return ["### Captum's default, all copies in one batch", "", *table(header, lines)] if lines else []


def _memory_in_m(results: dict[str, Any]) -> list[str]:
    rows = _rows(results["memory"], "samples")
    lines = [
        [f"{TITLES[row['model']]}, {row['side']} px", str(row["batch"]), f"{row['n_samples']:,}", _added(row)]
        for row in rows
    ]
    header = ["ours", "batch", "m", "MB added"]
    return ["### Memory in the number of copies", "", *table(header, lines)] if lines else []


def _memory_in_pixels(results: dict[str, Any]) -> list[str]:
    rows = _rows(results["memory"], "pixels")
    lines = [[f"{row['side']} x {row['side']}", str(row["batch"]), _added(row), _per_pixel(row)] for row in rows]
    header = ["input", "batch", "MB added", "bytes a pixel and copy of the batch"]
    title = f"### Memory in pixels ({TITLES[rows[0]['model']]})" if rows else ""
    return [title, "", *table(header, lines)] if lines else []


def _dicom(results: dict[str, Any]) -> list[str]:
    found = results["dicom"]
    if not found:
        return []
    medians = {stage: statistics.median(seconds) for stage, seconds in found["stages"].items()}
    total = sum(medians.values())
    lines = [[stage, f"{seconds:.3f}", f"{seconds / total:.1%}"] for stage, seconds in medians.items()]
    rows, columns = found["source_shape"]
    return [
        "### A DICOM file to its secondary capture",
        "",
        *prose(
            f"One sample of {rows} x {columns} pixels, m = {found['n_samples']}, bundle's own settings: {total:.2f} s.",
            "In a run over many images the next one is read and the one before is written while the network works.",
        ),
        "",
        *table(["stage", "seconds", "share"], lines),
    ]


def _ledger(results: dict[str, Any]) -> list[str]:
    # Runs of before this part was measured have none.
    rows = results.get("ledger", [])
    lines = [[f"{row['side']:,} x {row['side']:,}", f"{row['seconds']:.2f}", f"{row['cpu_s']:.2f}"] for row in rows]
    text = prose(
        "The named changes of a 16-bit film, measured once. CPU time is that of all threads; most of it goes into the",
        "normals of the 80 noisy films.",
    )
    title = "### The ledger of large films"
    return [title, "", *text, "", *table(["film", "seconds", "CPU seconds"], lines)] if lines else []


def _repeat() -> list[str]:
    return [
        "## How to repeat it",
        "",
        *prose(
            "`make bench` writes `bench_output/bench.json`: machine, versions, commit, settings, every repeat of",
            "every batch size, medians, ratios and memory. It takes the GPU if there is one; `--device cpu` keeps it",
            "on the processor. zennit is installed into `bench_peers/` for it alone. `python -m benchmarks.speed",
            "OUTPUT --quick` is a look. This page comes from stored runs by `python -m benchmarks.speed",
            "OUTPUT --page [BENCH_JSON ...]`. Nothing else should run meanwhile: on shared cores figures",
            "move, and then only the ratios of one run mean something.",
        ),
    ]


def _rows(rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"] == part]


def _batch(batch: int | None) -> str:
    return "automatic" if batch is None else str(batch)


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _added(row: Row | None) -> str:
    return "-" if row is None or "added_mb" not in row else f"{row['added_mb']:,.0f}"


def _per_pixel(row: Row) -> str:
    return f"{1e6 * row['added_mb'] / (row['side'] ** 2 * row['batch']):,.0f}" if "added_mb" in row else "-"
