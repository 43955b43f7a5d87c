"""The page: the rule, what was tried, what was taken, and the earlier default beside it on other patients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.defaults.measures import Row, areas
from benchmarks.defaults.plan import RULE
from benchmarks.defaults.selection import offences, summary
from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import Goal, prose, rounded_down, table

_RADIUS_GOAL = 0.6
_LEDGER_GOAL = 12
_DEFAULT_COPIES = 512


def sections(results: dict[str, Any]) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: content of results.json.
    """
    plan, numbers, images = results["plan"], results["numbers"], results["images"]
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    return [
        ["# Why these defaults"],
        [quick] if plan["name"] == "quick" else [],
        prose(
            "Written by `python -m benchmarks.defaults`, with the shipped opacity networks and their validation",
            "patients, whose one half selects and whose other half reports; noise of the selection has another key.",
            f"Radii are medians over the films with boxes of radiologists ({numbers['select']} and {numbers['report']}",
            "films of 256 px), population level, confidence 0.999 per image, beta 0.5, for the opacity whatever the",
            "network says. *Both* is the smaller one of map and decision.",
        ),
        ["## The rule, written down before"],
        prose(*RULE),
        ["## What was tried"],
        prose(
            f"m = {plan['select_samples']}; decisions of {images['select']} images, {plan['draws']} draws each.",
            "*Kept*: noisy decisions that agree with the clean one. *AUC loss*: of the mean noisy score, on the source",
            "that loses most. *Boxes*: how many times more of the top-k cells lie in boxes than by chance. *Points*:",
            "films whose strongest cell lies in a box. *Shared*: share of the reported cells that two films have in",
            "common. *Blind*: the boxes' figure for a map that marks the lungs whatever the film shows. *Ceiling*:",
            "share of the radius that a map has which ignores the image. Beta, cells (8 px) and k (38 of 256) are",
            "those of the first row unless they are named. An earlier round, on the earlier network alone, is in the",
            "history of this page.",
        ),
        _tried(results),
        ["## The chosen one beside the earlier one, on the other half"],
        prose(*_choice(results)),
        *_reported(results),
        *_at_equal_seconds(results),
        ["Goals that were set beforehand:", "", *(goal.line for goal in _goals(results))],
        ["## Decisions"],
        _decisions(results),
        ["Measured on " + surroundings_text(results["surroundings"]) + "."],
    ]


def _choice(results: dict[str, Any]) -> list[str]:
    old, new = results["old"], results["new"]
    if new == old:
        return ["The rule keeps the earlier default."]
    by_source = {label: areas(results["reported"][label]["decisions"], "clean") for label in (old, new)}
    changed = (
        f"{by_source[new][source]:.3f} where the earlier default has {area:.3f} ({source})"
        for source, area in by_source[old].items()
    )
    return [
        f"The rule takes *{new}*. It compares each network with itself under noise, so what the choice costs or gains",
        f"in reading films stands here: area under the curve without noise {', '.join(changed)}.",
    ]


def _tried(results: dict[str, Any]) -> list[str]:
    lines = []
    for candidate, found in zip(results["candidates"], results["tried"]):
        against = offences(found, results["tried"][0])
        text = [
            candidate["label"],
            *(rounded_down(found[name], 3) for name in ("both", "map", "label")),
            f"{found['covered_both']:g} / {found['tested']:g}",
            f"{found['kept']:.3f}",
            f"{found['auc_loss']:+.3f}",
            f"{found['enrichment']:.2f}",
            f"{found['blind']:.2f}",
            f"{found['pointing']:.2f}",
            f"{found['shared']:.2f}",
            f"{found['ceiling_share']:.0%}",
            f"{found['cpu_ms']:.0f}",
            ", ".join(against) or "-",
        ]
        best = candidate["label"] == results["new"]
        lines.append([f"**{value}**" for value in text] if best else text)
    head = [
        "settings",
        "both",
        "map",
        "decision",
        "covered",
        "kept",
        "AUC loss",
        "boxes",
        "blind",
        "points",
        "shared",
        "ceiling",
    ]
    return table([*head, "CPU ms a copy", "breaks"], lines)


def _reported(results: dict[str, Any]) -> list[list[str]]:
    lines = []
    for label, found in results["reported"].items():
        for size in sorted({row["m"] for row in found["films"]}):
            for paired in (False, True):
                chosen = [row for row in found["films"] if (row["m"], row["pairs"]) == (size, paired)]
                large = [row for row in found["large"] if (row["m"], row["pairs"]) == (size, paired)]
                lines.append(_line(label, size, paired, summary(chosen, found["decisions"]), large))
    head = ["settings", "m", "pairs", "both", "map", "decision", "ceiling", "covered, 256 px", "covered, 1,024 px"]
    return [
        prose(
            "*Covered*: changes of the ledger that lie within both radii, median of those that apply. The films of",
            "1,024 px are NIH films most of which the network was trained on.",
        ),
        table([*head, "boxes", "points", "shared", "CPU s a film"], lines),
    ]


def _at_equal_seconds(results: dict[str, Any]) -> list[list[str]]:
    """Each one at the number of copies whose seconds are nearest to those of the chosen one's 512 copies."""

    def seconds(label: str, size: int) -> float:
        rows = [row for row in results["reported"][label]["films"] if row["m"] == size]
        return size * statistics.median(row["cpu_ms"] for row in rows) / 1000

    new = results["new"]
    sizes = sorted({row["m"] for row in results["reported"][new]["films"]})
    wanted = seconds(new, min(sizes, key=lambda size: abs(size - _DEFAULT_COPIES)))
    nearest = {
        label: min(sizes, key=lambda size: abs(math.log(seconds(label, size) / wanted)))
        for label in results["reported"]
    }
    return [
        prose(
            f"At equal CPU seconds ({wanted:.0f} a film): "
            + "; ".join(
                f"*{label}* with {size:,} copies ({seconds(label, size):.0f} s) reaches {_both(results, label, size)}"
                for label, size in nearest.items()
            )
            + ".",
        )
    ]


def _both(results: dict[str, Any], label: str, size: int) -> str:
    rows = results["reported"][label]["films"]
    return rounded_down(statistics.median(row["both"] for row in rows if (row["m"], row["pairs"]) == (size, False)), 3)


def _line(label: str, size: int, paired: bool, found: Row, large: Sequence[Row]) -> list[str]:
    covered = statistics.median(row["covered_both"] for row in large) if large else 0
    tested = statistics.median(row["tested"] for row in large) if large else 0
    return [
        label,
        f"{size:,}",
        "yes" if paired else "no",
        *(rounded_down(found[name], 3) for name in ("both", "map", "label")),
        f"{found['ceiling_share']:.0%}",
        f"{found['covered_both']:g} / {found['tested']:g}",
        f"{covered:g} / {tested:g}",
        f"{found['enrichment']:.2f}",
        f"{found['pointing']:.2f}",
        f"{found['shared']:.2f}",
        f"{size * found['cpu_ms'] / 1000:.0f}",
    ]


def _goals(results: dict[str, Any]) -> list[Goal]:
    found = results["reported"][results["new"]]
    most = max(row["m"] for row in found["films"])
    of_films = [row["both"] for row in found["films"] if row["m"] == most and row["pairs"]]
    of_large = [row["covered_both"] for row in found["large"] if row["m"] == most and row["pairs"]]
    radius = statistics.median(of_films)
    goals = [
        Goal(
            f"median radius of map and decision {_RADIUS_GOAL:g} ({results['new']}, m = {most:,} with pairs)",
            radius >= _RADIUS_GOAL,
            rounded_down(radius, 3) + ".",
        )
    ]
    if of_large:
        covered = statistics.median(of_large)
        goals.append(
            Goal(
                f"{_LEDGER_GOAL} changes covered on films of 1,024 px",
                covered >= _LEDGER_GOAL,
                f"{covered:g} in the median.",
            )
        )
    return goals


def _decisions(results: dict[str, Any]) -> list[str]:
    lines = []
    for label, found in results["reported"].items():
        rows = found["decisions"]
        by_score = {score: areas(rows, score) for score in ("clean", "denoised", "noisy")}
        for source in by_score["clean"]:
            kept = statistics.mean(row["kept"] for row in rows if row["source"] == source)
            areas_of = [f"{by_score[score][source]:.3f}" for score in ("clean", "denoised", "noisy")]
            lines.append([label, source, *areas_of, f"{kept:.3f}"])
    return table(
        ["settings", "source", "AUC of f", "of f after the denoiser", "of the mean noisy score", "kept"], lines
    )
