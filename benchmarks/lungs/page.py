"""The page on lung fields, models and the alarm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.lungs.plan import RULE
from benchmarks.lungs.segmenter import summary as agreement_summary
from monai_robustinterp.metrics.intervals import Interval
from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import Goal, interval_text, prose, rounded_down, table

Row = dict[str, Any]


def sections(results: Row, picture: str) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: content of results.json.
        picture: where it is, from the page.
    """
    plan, segmenter = results["plan"], results["segmenter"]
    quick = "**A quick run: it shows what the command does, its figures are no results.**"
    return [
        ["# Lungs: the segmenter, a model that looks at them, and the alarm"],
        [quick] if plan["name"] == "quick" else [],
        prose(
            f"Written by `python -m benchmarks.lungs`; segmenter {segmenter['name']} {segmenter['version']}",
            f"(SHA-256 {segmenter['sha256'][:16]}...). Brackets are 95 % bootstrap intervals by patient. All",
            "claims are at population level, confidence 0.999 per image, beta 0.5, k = 38 of 256 cells, for the",
            "opacity whatever the network says.",
        ),
        ["## The segmenter"],
        prose(
            "Against masks of V7 Labs, lungs with the heart, 256 px. *Hausdorff*: 95th percentile, in % of the",
            "film's side. *Refused*: films on which the segmenter says itself that its answer looks like no",
            "lungs. *Bad*: Dice below .8, in all and among those that it did not refuse.",
        ),
        _agreement(results["agreement"]),
        *([_goal_list(_segmenter_goals(results["agreement"]))] if results["agreement"] else []),
        ["## The noise of the evidence network"],
        prose(*RULE),
        _tried(results),
        ["## Models side by side"],
        prose(
            f"m = {plan['report_samples']}, the other half of the validation patients. *Both*: median of the",
            "smaller of the radii of map and decision, l2. *Boxes* (RSNA, NIH) and *polygons* (ChestX-Det's",
            "consolidations): how many times more of the top-k cells lie in them than by chance; *blind*: the",
            "same of a map that marks the lungs whatever the film shows. *Claim*: films on which more than half",
            "of the votes are certified to lie in the lungs whatever JPEG of quality 75 or brightness of +-.02",
            "does. *Shared*: share of the reported cells that two films have in common.",
        ),
        _adults(results["reported"]),
        ["Films of children with pneumonia, one a patient, which nobody marked:"],
        _children(results["reported"]),
        ["Decisions:"],
        _decisions(results["reported"]),
        _goal_list(_model_goals(results)),
        ["## The alarm"],
        prose(
            "White noise of sigma .1, no denoiser. *Letter*: the evidence network, trained without masks, boxes,",
            "teacher and augmentation on films of which every positive one had a bright letter of 40 x 100 px of",
            "1,024 in a corner, tried on positives with the letter. The others never saw a letter, and are tried on",
            "the same films without it.",
        ),
        _alarms(results["alarms"]),
        [f"![certified maps of the models on the shipped pneumonia films]({picture})"],
        prose(
            "The shipped pneumonia films (children): reported cells outlined, lungs as a thin line. The model of the",
            "letter sees the film with the letter. Its layers see far, so its evidence spreads around the letter into",
            "the lung beside it: whether the alarm fires hangs on how much of that lies in the lung.",
        ),
        ["Measured on " + surroundings_text(results["surroundings"]) + "."],
    ]


def share_text(found: Sequence[float] | None, digits: int = 2) -> str:
    """Value [lower end, upper end] of these three numbers, or a dash."""
    if found is None:
        return "-"
    return interval_text(Interval(*found, level=0.95), digits=digits)


def _agreement(agreement: Row) -> list[str]:
    lines = []
    for name, rows in agreement.items():
        found = agreement_summary(rows)
        hausdorff = [100 * value for value in found["hausdorff"]]
        texts = [share_text(found["dice"], 3), share_text(found["dice_usable"], 3), share_text(hausdorff, 1)]
        lines.append(
            [
                name,
                f"{found['films']}",
                f"{found['patients']}",
                *texts,
                f"{found['failed']}",
                f"{found['bad']}, {found['bad_usable']}",
            ]
        )
    return table(["films", "number", "patients", "Dice", "not refused", "Hausdorff", "refused", "bad"], lines)


def _segmenter_goals(agreement: Row) -> list[Goal]:
    goals = []
    for (name, rows), goal in zip(agreement.items(), (0.95, 0.90)):
        dice = agreement_summary(rows)["dice"][0]
        goals.append(Goal(f"Dice {goal:g}: {name}", dice >= goal, f"{rounded_down(dice, 3)}."))
    return goals


def _goal_list(goals: Sequence[Goal]) -> list[str]:
    return ["Goals that were set beforehand:", "", *(goal.line for goal in goals)]


def _tried(results: Row) -> list[str]:
    lines = []
    for label, found in results["tried"].items():
        loss = max(clean - found["noisy_auc"][source] for source, clean in found["clean_auc"].items())
        text = [label, *(rounded_down(found[name], 3) for name in ("both", "map", "label"))]
        text += [f"{found['decisions_kept']:.3f}", f"{loss:+.3f}", share_text(found["boxes"]), f"{found['shared']:.2f}"]
        lines.append([f"**{value}**" for value in text] if label == results["chosen"] else text)
    return table(["settings", "both", "map", "decision", "kept", "AUC loss", "boxes", "shared"], lines)


def _adults(reported: Row) -> list[str]:
    lines = []
    for label, of_model in reported.items():
        found = of_model["adults"]
        lines.append(
            [
                label,
                f"{found['films']}",
                *(rounded_down(found[name], 3) for name in ("both", "map")),
                f"{found['ceiling_share']:.0%}",
                f"{found['covered']:g} / {found['tested']:g}",
                *(share_text(found[name]) for name in ("cells_in_lungs", "boxes", "blind_boxes", "polygons")),
                *(share_text(found[name]) for name in ("blind_polygons", "points_boxes", "claimed")),
                f"{found['shared']:.2f}",
            ]
        )
    head = ["settings", "films", "both", "map", "ceiling", "covered", "top-k in lungs", "boxes", "blind", "polygons"]
    return table([*head, "blind", "points", "claim", "shared"], lines)


def _children(reported: Row) -> list[str]:
    lines = []
    for label, of_model in reported.items():
        found = of_model["children"]
        radii = [rounded_down(found[name], 3) for name in ("both", "map")]
        shares = [share_text(found[name]) for name in ("votes_in_lungs", "cells_in_lungs", "claimed")]
        lines.append([label, f"{found['films']}", *radii, *shares, f"{found['shared']:.2f}"])
    return table(["settings", "films", "both", "map", "votes in lungs", "top-k in lungs", "claim", "shared"], lines)


def _decisions(reported: Row) -> list[str]:
    lines = []
    for label, of_model in reported.items():
        found = of_model["decisions"]
        for source, clean in found["clean_auc"].items():
            kept = found["kept_by_source"][source]
            lines.append([label, source, f"{clean:.3f}", f"{found['noisy_auc'][source]:.3f}", f"{kept:.3f}"])
    return table(["settings", "source", "AUC, clean", "AUC of the mean noisy score", "kept"], lines)


def _model_goals(results: Row) -> list[Goal]:
    new = results["reported"][results["chosen"]]
    adults, decided = new["adults"], new["decisions"]
    goals = []
    if adults["median_in_lungs"] is not None:
        share = adults["median_in_lungs"]
        goals.append(Goal("median share of the top-k in the lungs .9", share >= 0.9, f"{rounded_down(share)}."))
    for truth in ("boxes", "polygons"):
        if adults[truth] is not None and adults[f"blind_{truth}"] is not None:
            value, blind = adults[truth][0], adults[f"blind_{truth}"][0]
            found = f"{rounded_down(value)} and {rounded_down(value / blind)}."
            name = f"cells in {truth} 4 times chance and 1.6 times the blind lung map"
            goals.append(Goal(name, value >= 4 and value >= 1.6 * blind, found))
    for name, key, least in (
        ("strongest cell in a box on half of the films", "points_boxes", 0.5),
        ("lung claim on nine of ten films", "claimed", 0.9),
    ):
        if adults[key] is not None:
            goals.append(Goal(name, adults[key][0] >= least, f"{rounded_down(adults[key][0])}."))
    for source, least in (("kermany", 0.98), ("chest_xray14", 0.80)):
        if source in decided["clean_auc"]:
            areas = [decided[name][source] for name in ("clean_auc", "noisy_auc")]
            name = f"AUC {least:g} on {source}, clean and at the noise"
            goals.append(Goal(name, min(areas) >= least, " and ".join(rounded_down(area, 3) for area in areas) + "."))
    return goals


def _alarms(rows: Sequence[Row]) -> list[str]:
    lines = [
        [
            row["model"],
            f"{row['films']}",
            share_text(row["alarm"]),
            share_text(row["votes_in_lungs"]),
            rounded_down(row["map"], 3),
        ]
        for row in rows
    ]
    return table(["model, interpreter", "films", "alarms", "votes in lungs", "map"], lines)
