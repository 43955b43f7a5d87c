"""The page docs/results/classifiers.md, from the results of the study."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.classifiers.plan import Plan, Run
from monai_robustinterp.study.tables import count_range, prose, radius_text, table
from monai_robustinterp.training.report import evaluation_table


def sections(study: dict[str, Any], plan: Plan) -> list[list[str]]:
    """The parts of the page.

    Args:
        study: content of study.json.
        plan: what was compared.
    """
    reports = study["runs"]
    quick = ["**A quick run on images that were made for it: it shows what the command does, no results.**"]
    return [
        ["# The reference classifiers, measured"],
        quick if plan.name == "quick" else [],
        _method([report["settings"]["n_draws"] for report in reports.values()]),
        _trainings(study, plan.runs),
        *(
            [f"## {run.name}: {run.what}", "", evaluation_table(reports[run.name]["groups"]).strip()]
            for run in plan.runs
        ),
        _percentiles(reports),
        _subgroups(study["subgroups"]),
        _brightness(study["brightness"]),
        _certified(study["certified"], study["smoothing"]),
    ]


def _method(n_draws: Sequence[int]) -> list[str]:
    return prose(
        "Written by `python -m benchmarks.classifiers` (`make study-classifiers`). Areas under the ROC curve with 95 %",
        "bootstrap intervals over patients; sensitivity and specificity of the clean decision with 95 % Wilson",
        f"intervals, images taken as independent; agreement of noisy with clean decisions ({count_range(n_draws)}",
        "draws an image) with 95 % bootstrap intervals and Cohen's kappa. Validation patients were in no training. The",
        "weights are a moving average at the end of the last epoch; the recipe was settled in earlier trials on this",
        "split, and there is no third set. The zero points of the findings were set on these images. One seed each.",
    )


def _trainings(study: dict[str, Any], runs: Sequence[Run]) -> list[str]:
    rows = []
    for run in runs:
        minutes, report = study["elapsed_s"][run.name] / 60, study["runs"][run.name]
        command, threads = f"`{' '.join(run.command())}`", str(report["software"]["threads"])
        rows.append([run.name, run.what, command, f"{minutes:.0f}", threads, f"`{report['weights_sha256']}`"])
    return [
        "## Trainings",
        "",
        *prose(
            "Folders of data and output are left out of the commands. Minutes are those of the epochs with their",
            "validation, without reading the images and the final evaluation.",
        ),
        "",
        *table(["run", "what", "command", "minutes", "CPU threads", "SHA-256 of the weights"], rows),
    ]


def _percentiles(reports: dict[str, Any]) -> list[str]:
    fixed, percentiles = (reports[name]["groups"] for name in ("opacity", "opacity_percentiles"))
    sigmas = list(next(iter(fixed.values()))["auc"])
    rows = [
        [name, *(f"{percentiles[name]['auc'][sigma]['value'] - group['auc'][sigma]['value']:+.3f}" for sigma in sigmas)]
        for name, group in fixed.items()
    ]
    return [
        "## Percentiles against the fixed path",
        "",
        "What the fixed path costs: area under the curve with percentiles minus that without.",
        "",
        *table(["group", *(f"sigma {sigma}" for sigma in sigmas)], rows),
    ]


def _subgroups(parts: dict[str, Any]) -> list[str]:
    rows = []
    for name, part in parts.items():
        auc = f"{part['auc']['value']:.3f} [{part['auc']['low']:.3f}, {part['auc']['high']:.3f}]"
        rows.append([name, f"{part['n_positive']} / {part['n_negative']}", auc, f"{part['view_alone']:.3f}"])
    return [
        "## opacity on parts of the ChestX-ray14 validation images",
        "",
        "View alone: area of AP against PA, which no network needs to look for; 0.5 within one view.",
        "",
        *table(["part", "with / without", "AUC, sigma 0", "view alone"], rows),
    ]


def _brightness(rows: dict[str, dict[str, float]]) -> list[str]:
    gains = list(next(iter(rows.values())))
    return [
        "## Darker and brighter films",
        "",
        *prose(
            "Area under the curve, sigma 0, when each display value is multiplied by the gain and cut at 1.",
            "Percentiles of the image undo a gain: it never reaches that network, and no radius in detector units",
            "exists for it.",
        ),
        "",
        *table(
            ["run, source", *(f"gain {gain}" for gain in gains)],
            [[name, *(f"{area:.3f}" for area in row.values())] for name, row in rows.items()],
        ),
    ]


def _certified(found: dict[str, list[dict[str, Any]]], smoothing: dict[str, Any]) -> list[str]:
    rows = [_certified_row(name, results) for name, results in found.items()]
    control = radius_text(found["opacity"][0]["control"])
    before, after = found["opacity_without_noise"], found["opacity"]
    gains = [b["population"] / a["population"] for a, b in zip(before, after) if a["population"]]
    median = f"{statistics.median(gains):.2f}" if gains else "none"
    return [
        "## Certified radius before and after training with noise",
        "",
        *prose(
            f"{len(after)} validation images (the first of each source and label, by name) at the same cost: gradient,",
            f"sigma {smoothing['sigma']:g}, {smoothing['n_samples']} copies, {smoothing['top_k']} cells, beta",
            f"{smoothing['beta']}, eta {smoothing['eta']:g} an image. L_max is the population radius (l2 over the",
            "network's input); plug-in is an estimate and claims nothing. Label kept: share of noisy copies that",
            "decide as the clean image.",
        ),
        "",
        *table(
            ["run", "L_max, median (min to max)", "abstained", "plug-in, median", "label kept, median (min)"],
            [*rows, ["*control: a fixed map that ignores the image*", control, "", "", ""]],
        ),
        "",
        *prose(
            f"Quotient of the radii of one image, after over before, median of the {len(gains)} images with a radius",
            f"before: {median}.",
        ),
    ]


def _certified_row(name: str, results: Sequence[dict[str, Any]]) -> list[str]:
    radii, agreement = ([result[key] for result in results] for key in ("population", "agreement"))
    median, least, most = map(radius_text, (statistics.median(radii), min(radii), max(radii)))
    # A plug-in estimate may be unbounded.
    plug_in = statistics.median(float(result["plug_in"]) for result in results)
    return [
        name,
        f"{median} ({least} to {most})",
        f"{radii.count(0)} of {len(radii)}",
        radius_text(plug_in),
        f"{statistics.median(agreement):.3f} ({min(agreement):.3f})",
    ]
