"""The page on the attack in the norm of the noise."""

from __future__ import annotations

from typing import Any

from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import Goal, prose, radius_text, rounded_down, table


def sections(results: dict[str, Any]) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: content of results.json.
    """
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    budget = ", ".join(f"{name} {value}" for name, value in results["budget"].items())
    seconds = sum(row["cpu_s"] for row in results["rows"])
    return [
        ["# Attack in the norm of the noise"],
        [quick] if results["plan"] == "quick" else [],
        prose(
            "Written by `python -m benchmarks.attack OUTPUT_DIR` (`make study-attack`). The settings that reach",
            f"farthest on the [page about the defaults](defaults.md): {results['settings']}, certified from",
            f"{results['n_samples']} copies. The films are the first {len(results['rows'])} with boxes among the",
            "validation images of ChestX-ray14, by name, fixed beforehand.",
        ),
        prose(
            "Each certificate is [attacked](../how-to/attack-a-certificate.md) at multiples of its radius, in the norm",
            "of its noise: lengths are standard deviations of the noise (sd), so that a change of brightness or tilt",
            f"may be larger in l2 than another one. The l2 ball inside is the radius times {results['sigma']:g}.",
            f"Budget: {budget}. *Keeps*: cells of the reported top-k. The plain map is that of",
            "the network without noise and denoiser, under an attack of its own.",
            "*Broken*: fresh copies show with confidence 99.9 % that the expected map keeps fewer than the certified",
            "cells. Not broken proves nothing by itself: a stronger attack may exist. At 1 the claim, which is for",
            "smaller changes, just ends.",
        ),
        ["Goal that was set beforehand:", "", _goal(results["rows"]).line],
        _rows(results),
        _lengths(results["rows"]),
        prose(f"{seconds:,.0f} CPU seconds. Measured on {surroundings_text(results['surroundings'])}."),
    ]


def _goal(rows: list[dict[str, Any]]) -> Goal:
    attacks = [attack for row in rows for attack in row["attacks"]]
    inside = [attack["broken"] for attack in attacks if attack["factor"] <= 1]
    beyond = [attack["broken"] for attack in attacks if attack["factor"] > 1]
    return Goal(
        "no certificate broken at or inside its radius",
        bool(inside) and not any(inside),
        f"{sum(inside)} of {len(inside)} attacks broke one; beyond it, where nothing is claimed, {sum(beyond)} of "
        f"{len(beyond)}.",
    )


def _lengths(rows: list[dict[str, Any]]) -> list[str]:
    """How far the attacks went: steps that flip the decision are halved, and an attack that stays proves nothing."""
    shares = [attack["norm"] / attack["radius"] for row in rows for attack in row["attacks"]]
    if not shares:
        return []
    share = rounded_down(100 * min(shares), 1)
    return prose(f"Each change that was found for a smoothed map is {share} % of its radius long or more.")


def _rows(results: dict[str, Any]) -> list[str]:
    header = ["film", "radius / certified", "radius, sd", "plain map keeps", "smoothed map keeps", "certified"]
    lines = []
    for row in results["rows"]:
        for attack in row["attacks"]:
            keeps = [f"{attack[name]} of {results['top_k']}" for name in ("plain_overlap", "overlap")]
            claimed = str(attack["certified_overlap"]) if attack["factor"] <= 1 else "nothing claimed"
            told = ["**yes**" if attack["broken"] else "no", "yes" if attack["label_kept"] else "no"]
            where = [f"{attack['factor']:g}", f"{attack['radius'] / results['sigma']:.3f}"]
            lines.append([row["film"], *where, *keeps, claimed, *told])
        if not row["attacks"]:
            lines.append([row["film"], radius_text(0.0), "", "", "", "abstains: no claim to attack", "", ""])
    return table([*header, "broken", "decision kept"], lines)
