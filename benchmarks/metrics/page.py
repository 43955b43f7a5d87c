"""The page of the table: what the slides compare, place, steadiness, sanity, and what goes with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import prose, table

Results = Mapping[str, Any]
Part = Mapping[str, Any]

GROUPS = {
    "The games": ("deletion", "insertion", "deletion_argmax", "insertion_argmax", "cds_log_odds", "cds_kl"),
    "Place": (
        *("enrichment_boxes", "enrichment_polygons", "pointing_game", "hit_rate", "box_mass", "polygon_mass", "iou"),
        *("lung_top_k", "lung_mass", "grid_pointing", "certified_grid_pointing"),
    ),
    "Steadiness": ("max_sensitivity", "repeatability", "film_overlap", "psc"),
    "Sanity": ("sanity_cascading", "sanity_independent", "random_pair_ssim", "sanity_passed"),
    "Certificate and cost": ("map", "both", "ceiling_share", "covered", "cpu_s"),
}
_THEIRS = {
    "extremal_perturbation": 0.1511,
    "rise": 0.1502,
    "meaningful_perturbation": 0.1389,
    "robust_perturbation": 0.1248,
}
_STRONG = 0.5
_SIGN = {"higher": "up", "lower": "down", "none": "-"}


def sections(results: Results) -> list[list[str]]:
    """The page, from the results."""
    plan = results["plan"]
    quick = ["**A quick run: its figures are no results.**"] if plan["name"] == "quick" else []
    budget = f"{plan['seconds']:g} CPU seconds" if plan["seconds"] else f"{plan['n_samples']} copies"
    head = [
        "# Maps, judged",
        "",
        *quick,
        *prose(
            f"Written by `python -m benchmarks.metrics` ({plan['name']});",
            f"{surroundings_text(results['surroundings'])}.",
            "Means over films with 95 % bootstrap intervals by patient. *Certified*: the votes of noisy copies,",
            f"{budget} a map; *plain*: the map of the film; *blind*: patterns that no network had a part in. What each",
            "metric is, and where it departs from its source: [metrics](../metrics.md). A radius is a",
            "guarantee at population level; no other column is one.",
        ),
    ]
    one = results["table"]
    found = [
        head,
        [
            f"## {one['model'].capitalize()} (`{one['bundle']}`)",
            "",
            *prose(*_about(one)),
        ],
        *(_group(name, columns, one) for name, columns in GROUPS.items()),
        _slides(one),
        _differences(one),
        _together(one),
        *([["Refused: " + " ".join(one["refused"])]] if one["refused"] else []),
    ]
    return [part for part in found if part]


def _about(one: Part) -> list[str]:
    """Films, finding, noise and copies of the certified maps."""
    exposure = " with exposure noise" if one["brightness"] or one["tilt"] else ""
    denoiser = f", denoised by {one['denoiser']}" if one["denoiser"] else ""
    budget = one["budget"]
    copies = [number for number, _ in budget.values()] if isinstance(budget, Mapping) else [budget]
    return [
        f"{one['films']} films of {one['patients']} patients, all with {one['finding']}, which is explained.",
        f"Noise of sigma {one['sigma']:.3g}{exposure}{denoiser}; {min(copies):,} to {max(copies):,} copies a",
        "certified map.",
    ]


def _group(name: str, columns: Sequence[str], one: Part) -> list[str]:
    by = {(part["label"], part["kind"], part["column"]): part for part in one["summary"]}
    columns = [column for column in columns if any(key[2] == column and part["films"] for key, part in by.items())]
    if not columns:
        return []
    maps = dict.fromkeys((part["label"], part["kind"]) for part in one["summary"])
    signs = [
        f"{column} ({_SIGN[one['directions'][column]]})" if column in one["directions"] else column
        for column in columns
    ]
    rows = [[label, kind, *(_text(by[label, kind, column]) for column in columns)] for label, kind in maps]
    return [f"### {name}", "", *table(["map", "kind", *signs], rows)]


def _text(part: Part | None) -> str:
    if part is None or part["mean"] is None:
        return "-"
    interval = "" if part["low"] is None else f" [{part['low']:.3g}, {part['high']:.3g}]"
    return f"{part['mean']:.3g}{interval}"


def _slides(one: Part) -> list[str]:
    """Deletion and class distortion of the four methods of the slides, beside theirs."""
    by = {(part["label"], part["kind"], part["column"]): part for part in one["summary"]}
    rows = [
        [
            name,
            f"{theirs:.4f}",
            *(
                _text(by.get((name, kind, column)))
                for column in ("deletion", "cds_log_odds", "cds_kl")
                for kind in ("plain", "certified")
            ),
        ]
        for name, theirs in _THEIRS.items()
        if by.get((name, "plain", "deletion"), {}).get("mean") is not None
    ]
    if not rows:
        return []
    header = [
        "method",
        "deletion, theirs",
        *(f"{column}, {kind}" for column in ("deletion", "CDS log-odds", "CDS KL") for kind in ("plain", "certified")),
    ]
    best = min(rows, key=lambda row: float(row[2].split()[0]))[0]
    return [
        "### The slides' table",
        "",
        *table(header, rows),
        "",
        *prose(
            "Theirs: Kim et al. 2022, ChestX-ray14, on networks and films that we do not have; lower is better for",
            f"deletion, higher for class distortion. On these films the plain map of lowest deletion is of {best}.",
        ),
    ]


def _differences(one: Part) -> list[str]:
    """Robust Perturbation against each rival, film by film, and in words."""
    if not one["differences"]:
        return []
    rivals = list(dict.fromkeys(part["rival"] for part in one["differences"]))
    columns = list(dict.fromkeys(part["column"] for part in one["differences"]))
    by = {(part["rival"], part["column"]): part for part in one["differences"]}
    rows = [[rival, *(_difference(by.get((rival, column))) for column in columns)] for rival in rivals]
    return [
        "### Robust Perturbation against its rivals",
        "",
        *table(["less that of", *(f"{column} ({_SIGN[one['directions'][column]]})" for column in columns)], rows),
        "",
        *prose(
            "Robust Perturbation's value less the rival's on the same film, plain maps. **Better** and **worse**: the",
            "interval does not hold 0.",
            *(_verdict(by[rival, column], one["directions"][column]) for rival, column in by),
        ),
    ]


def _difference(part: Part | None) -> str:
    return "-" if part is None else f"{part['mean']:+.3f} [{part['low']:+.3f}, {part['high']:+.3f}]"


def _verdict(part: Part, direction: str) -> str:
    sign = 1 if direction == "higher" else -1
    low, high = sorted((sign * part["low"], sign * part["high"]))
    word = "better" if low > 0 else "worse" if high < 0 else "no difference seen"
    return f"{part['column']}, {part['rival']}: {word}."


def _together(one: Part) -> list[str]:
    strong = sorted(
        (part for part in one["correlations"] if abs(part["spearman"]) >= _STRONG),
        key=lambda part: -abs(part["spearman"]),
    )[:20]
    if not strong:
        return []
    rows = [[part["first"], part["second"], f"{part['spearman']:+.2f}", str(part["maps"])] for part in strong]
    return [
        "### What goes with what",
        "",
        *prose(
            "Spearman's correlation over all maps that have both values, the twenty strongest of .5 and more. Maps of",
            "one film, and of one method, resemble each other: read the signs, not the digits.",
        ),
        "",
        *table(["first", "second", "correlation", "maps"], rows),
    ]
