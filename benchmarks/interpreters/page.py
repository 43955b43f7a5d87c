"""The page docs/results/interpreters.md, from stored results."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.interpreters.cost import BARE, REPEATS, TIMED_STEPS
from monai_robustinterp.metrics.overlap import mean_pairwise_overlap
from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import count_range, prose, radius_text, table

Row = dict[str, Any]
# Of the finding's score; below, a share of it means nothing.
LEAST_CHANGE = 0.05


def sections(results: dict[str, Any]) -> list[list[str]]:
    """The parts of the page, in order.

    Args:
        results: content of results.json.
    """
    full = results["plan"]["name"] == "full"
    return [
        _head(results),
        _pictures(results["bundle"]) if full else ["**A quick run: it shows what the command does, no results.**"],
        distortion_section(results["distortion"], results["bundle"], pictures=full),
        certified_section(results),
        _costs(results["cost"]),
        _setting(results["surroundings"]),
    ]


def _head(results: dict[str, Any]) -> list[str]:
    bundle = results["bundle"]
    return [
        "# Every interpreter: cost, and what can be certified of it",
        "",
        *prose(
            "Written by `python -m benchmarks.interpreters OUTPUT_DIR` (`make study-interpreters`). Bundle",
            f"`chest_xray_findings` (DenseNet at {bundle['side']} px, {bundle['findings']} findings,",
            f"{bundle['activation']}), {len({row['image'] for row in results['radii']})}",
            "[films](../how-to/get-the-films.md), each explained for the finding with the highest logit; labels",
            "without a setting are the defaults of the bundle.",
        ),
    ]


def _pictures(bundle: dict[str, Any]) -> list[str]:
    return [
        "![all interpreters on a chest X-ray with pneumonia](../images/interpreters_pneumonia.png)",
        "",
        *prose(
            "Answers of all methods to one question, and a map of all classes (`robust_activation_map`), by",
            "`monai-robustinterp compare sample_data/kermany_person1947_bacteria_4876.jpeg",
            "--bundle chest_xray_findings",
            f"--target Pneumonia --interpreter all --output DIR`. Yellow are the {bundle['top_k']} cells of",
            f"{bundle['cell_size']} px that a noisy copy with this map would vote for. They disagree, and none of them",
            "is certified. The film is of a child, and the network learned its findings from NIH's films, mostly of",
            "adults. One image shows that they differ, not which is better.",
        ),
        "",
        "![all interpreters on a chest X-ray with multiple masses](../images/interpreters_masses.png)",
        "",
        *prose(
            "The same for masses in `wg04_rg1_multiple_masses.dcm`, of an adult. Most of the yellow cells lie on the",
            "spine, the heart and the chest wall.",
        ),
    ]


def distortion_section(rows: Sequence[Row], bundle: dict[str, Any], *, pictures: bool) -> list[str]:
    """Section: how far the mask of one finding moves the others."""
    by_image: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_image[row["image"]][row["method"]] = row
    names = list(dict.fromkeys(row["method"] for row in rows))
    header = ["image"]
    for method in names:
        header += [f"`{method}`: finding", "others move by", "for each point of the finding", "image removed"]
    lines = [[image, *(cell for name in names for cell in _cells(found[name]))] for image, found in by_image.items()]
    picture = [
        "Below, how the mask for pneumonia came about on the child's film above, with what the network says of the",
        "image (x), of the perturbed one (x_pt) and of the reversed one (x_rpt).",
    ]
    return [
        "## Do the other findings stay?",
        "",
        *prose(
            "`robust_perturbation` is made to take away one finding and leave the others (class-distortion",
            "prevention). Scores of the finding with the highest logit at the image and at the perturbed one, mean",
            f"absolute change of the {bundle['findings'] - 1} others, and how far they move for each point by which",
            f"the finding falls (only where it falls by {LEAST_CHANGE:g} and more); defaults of the bundle.",
            *(picture if pictures else []),
        ),
        *(["", "![iterations of robust_perturbation](../images/interpreters_iterations.png)"] if pictures else []),
        "",
        *table(header, lines),
        "",
        *_distortion_seen(by_image, names),
    ]


def _fall(row: Row) -> float:
    return float(row["target"] - row["target_perturbed"])


def _cells(row: Row) -> list[str]:
    fall = _fall(row)
    return [
        f"{row['target']:.2f} to {row['target_perturbed']:.2f}",
        f"{row['others_change']:.2f}",
        f"{row['others_change'] / fall:.2f}" if fall >= LEAST_CHANGE else "-",
        f"{100 * row['removed']:.0f} %",
    ]


def _distortion_seen(by_image: Mapping[str, Mapping[str, Row]], names: Sequence[str]) -> list[str]:
    """What the table shows, in its own numbers."""
    fallen = [found for found in by_image.values() if all(_fall(found[name]) >= LEAST_CHANGE for name in names)]
    if not fallen:
        return prose(f"In none of the {len(by_image)} images every method makes the finding fall.")
    moved, removed = [], []
    for name in names:
        rows = [found[name] for found in fallen]
        moved.append(f"{statistics.median(row['others_change'] / _fall(row) for row in rows):.2f} (`{name}`)")
        shares = [round(100 * row["removed"]) for row in rows]
        removed.append(f"{count_range(shares)} % (`{name}`)")
    return prose(
        f"In {len(fallen)} of {len(by_image)} images each method makes the finding fall. There the others move, in the",
        f"median, by {' and '.join(moved)} for each point; the region that is removed is {' and '.join(removed)} of",
        "the image. Alike quotients mean that the findings move together and that no loss parts them. Where the mask",
        "leaves the finding nearly as it was, its score can change by little, and the weight on the region outweighs",
        "that.",
    )


def certified_section(results: dict[str, Any]) -> list[str]:
    """Section: what each method is certified for in the same seconds."""
    bundle = results["bundle"]
    by_budget: dict[float, list[Row]] = defaultdict(list)
    for row in results["radii"]:
        by_budget[row["minutes"]].append(row)
    lines = [
        "## Certified radius at an equal budget",
        "",
        *prose(
            "Medians over the images. m follows from the budget and the measured CPU seconds of a copy, on another",
            "image, before any is drawn. On a shared machine these seconds vary; the column CPU s is m times the",
            "seconds of a copy as they were measured last, and says how equal the budgets were; ranges are over the",
            f"images. Settings of the bundle: sigma {bundle['sigma']:g}, {bundle['top_k']} of {bundle['n_cells']}",
            f"cells, beta {bundle['beta']}, eta {bundle['eta']:g} an image and number. NP is Neyman-Pearson; rerun is",
            "about a second run of as many copies, at 2 eta. A radius of 0 is no claim. The control marks the same",
            "cells in every copy: no map certifies further at that m. NP / control is how much of the possible",
            "radius a method has, and **a map that never changes would win this table**. Nothing here says that a",
            "map is right. Agreement: mean share of the copies that vote for a reported cell.",
        ),
    ]
    for minutes in sorted(by_budget):
        lines += ["", *_budget(minutes, by_budget[minutes], results)]
    return [
        *lines,
        "",
        *prose(
            "Few copies abstain whatever the map does: that is the price of inner passes. The plug-in column, which",
            "claims nothing, shows how steady the map is. A row near its control deserves suspicion before praise:",
            "coarse maps (the few positions behind `cam`, `grad_cam`, `grad_cam_pp`) and the shared masks of `rise`",
            "leave the noise little to change. The last column tells part of it: the mean share of the reported",
            "cells that two images have in common, where two unrelated choices have",
            f"{bundle['top_k'] / bundle['n_cells']:.2f} and a map that ignores the image has 1.",
            "Chests look alike, so some of it is anatomy.",
        ),
    ]


def _budget(minutes: float, rows: Sequence[Row], results: dict[str, Any]) -> list[str]:
    """The table of one budget, and what it lacks."""
    by_method: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_method[row["method"]].append(row)
    n_images = max(len(found) for found in by_method.values())
    missing = [label for label in results["plan"]["methods"] if len(by_method.get(label, ())) < n_images]
    header = [
        *("method", "images", "copies m", "CPU s", "plug-in NP"),
        *("population Renyi", "population NP", "abstain", "rerun"),
        *("control: a fixed map", "NP / control", "copies' agreement", "same cells in two images"),
    ]
    seconds = results["seconds"]
    lines = [
        f"### {minutes:g} CPU {'minute' if minutes == 1 else 'minutes'} an image",
        "",
        *table(header, [radii_row(label, by_method[label], seconds[label]) for label in sorted(by_method)]),
    ]
    if missing:
        names = "; ".join(f"`{label}`" for label in missing)
        lines += ["", *prose(f"Not measured at this budget on all {n_images} images: {names}.")]
    return lines


def radii_row(label: str, found: Sequence[Row], seconds: float) -> list[str]:
    """One method's row of that section: medians over the images."""

    def median(key: str) -> float:
        return statistics.median(float(row[key]) for row in found)

    control = median("control")
    share = statistics.median(row["neyman_pearson"] / row["control"] if row["control"] else 0.0 for row in found)
    same = mean_pairwise_overlap([frozenset(row["reported"]) for row in found])
    return [
        label,
        str(len(found)),
        count_range([row["n_samples"] for row in found]),
        count_range([round(row["n_samples"] * seconds) for row in found]),
        radius_text(median("plug_in")),
        radius_text(median("renyi")),
        radius_text(median("neyman_pearson")),
        str(sum(row["neyman_pearson"] == 0 for row in found)),
        radius_text(median("rerun")),
        radius_text(control),
        f"{share:.2f}" if control else "-",
        f"{median('mean_share_of_top_k'):.2f}",
        "-" if math.isnan(same) else f"{same:.2f}",
    ]


def _costs(rows: Sequence[Row]) -> list[str]:
    by_method: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        by_method[row["method"]][row["side"]] = row
    sides = sorted({row["side"] for row in rows})
    header = ["method"]
    for side in sides:
        header += [f"{side} px: seconds", "x bare", "MB"]
    lines = []
    for method, sizes in by_method.items():
        cells = [method]
        for side in sides:
            row = sizes[side]
            star = "*" if row["scaled_from"] else ""
            ratio = row["seconds"] / by_method[BARE][side]["seconds"]
            cells += [f"{row['seconds']:.3g}{star}", f"{ratio:,.{0 if ratio >= 10 else 1}f}", f"{row['megabytes']:.0f}"]
        lines.append(cells)
    return [
        "## Seconds and memory of one plain map",
        "",
        *prose(
            f"CPU seconds of one image alone, one thread, fastest of {REPEATS}; MB: peak of the process above what it",
            "held before. x bare: over a forward and backward pass of the network on one image. A star: one run of",
            f"{TIMED_STEPS} of the method's passes, scaled.",
            *(f"{side} px: the same image enlarged." for side in sides[1:]),
        ),
        "",
        *table(header, lines),
    ]


def _setting(found: dict[str, Any]) -> list[str]:
    return prose(
        f"Page of {surroundings_text(found)}. Votes are kept and gone on with, so some are of earlier commits.",
    )
