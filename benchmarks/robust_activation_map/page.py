"""The page of the study, from its results."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.robust_activation_map.attack import ATTACKS, Attack
from benchmarks.robust_activation_map.measure import CELL_SIZE, COMPARISONS, TOP_CLASSES, TOP_SHARE, top_cells
from monai_robustinterp.metrics.intervals import Interval, wilson_interval
from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.statistics import mean_interval, paired_difference
from monai_robustinterp.study.tables import bullet, interval_text, prose, table

RANKS_PICTURE, MAPS_PICTURE = "robust_activation_map_ranks.png", "robust_activation_map_maps.png"
# Shares that the paper reports, and the number of its classes.
PAPER = {"second": 0.38, "top": 0.64}
PAPER_CLASSES = 1000
TOP = f"2nd to {TOP_CLASSES}th"


def sections(results: dict[str, Any], *, pictures: str, full: bool) -> list[list[str]]:
    """The parts of the page.

    Args:
        results: what ``__main__`` measured.
        pictures: folder of the pictures, as the page links to them.
        full: whether the images are those of the study, of which some words are.
    """
    return [
        _head(results, full=full),
        _ranks(results),
        [f"![ranks of the classes before and after the attacks]({pictures}/{RANKS_PICTURE})"],
        _movements(results),
        [f"![maps before and after the attack]({pictures}/{MAPS_PICTURE})"],
        _reading(results) if full else [],
        _repeat(),
    ]


def shares(
    results: dict[str, Any], attack: str, quantity: str, *, validation: bool = False
) -> dict[str, Interval | None]:
    """Shares of rank 2, and of a rank from 2 to ``TOP_CLASSES``, with 95 % Wilson intervals; None without images.

    Args:
        results: what was measured.
        attack: key of the attack.
        quantity: ``rank_of_adversarial`` or ``rank_of_original``.
        validation: whether only the patients of the validation split count.
    """
    found = results["attacks"][attack]
    ranks = np.array(found[quantity])
    if validation:
        ranks = ranks[np.array(results["validation"])[np.array(found["flipped"])]]
    if not len(ranks):
        return {"second": None, "top": None}
    return {
        "second": wilson_interval(int((ranks == 2).sum()), len(ranks)),
        "top": wilson_interval(int(((ranks >= 2) & (ranks <= TOP_CLASSES)).sum()), len(ranks)),
    }


def _head(results: dict[str, Any], *, full: bool) -> list[str]:
    n, held_out = results["n_images"], sum(results["validation"])
    images = [
        f"{n} images of NIH ChestX-ray14, one a patient and drawn with seed {results['seed']}: {held_out} of",
        f"patients of the validation split, {n - held_out} of the training split.",
    ]
    quick = [f"**A quick run on {n} images of `sample_data`: it shows what the command does, no results.**"]
    return [
        "# Robust activation maps, measured",
        "",
        *prose(
            "Prakash et al. (Robust Discriminative Localization Maps) say that an attack which changes the most likely",
            "class leaves the other top classes nearly as they were, so that the average of their activation maps,",
            "M = sum M_ci / 2^i, stays. Measured here on chest X-rays: the ranks of the two classes, and how far the",
            "maps move, with the interpreters `cam` and `robust_activation_map` of this package. How many of the other",
            "top classes stay was not counted.",
        ),
        "",
        *prose(
            *(images if full else quick),
            f"Network: `chest_xray_findings` ({len(results['classes'])} sigmoid findings, input {results['side']} x",
            f"{results['side']}), weights `{results['weights_sha256']}`. Class means the finding with the largest",
            "logit, although findings are no exclusive classes and have zero points of their own. Written by",
            f"`benchmarks/robust_activation_map` with {results['cpu_s'] / 60:.1f} minutes of one CPU thread on",
            f"{surroundings_text(results['surroundings'])}.",
        ),
    ]


def _ranks(results: dict[str, Any]) -> list[str]:
    others = len(results["classes"]) - 1
    header = ["attack", "class changed", "median l2 (l_inf x 255)", "adversarial class was 2nd", f"was {TOP}"]
    header += [f"validation patients only: 2nd, {TOP}", "original class is 2nd", f"is {TOP}"]
    rows = [_rank_row(results, attack) for attack in ATTACKS]
    chance, top = (f"*{share:.2f}*" for share in _chance(others))
    rows.append(["*chance: another class at random*", "", "", chance, top, f"{chance}, {top}", chance, top])
    paper = [f"*{PAPER['second']}*", f"*{PAPER['top']}*"]
    rows.append([f"*the paper, {PAPER_CLASSES:,} classes*", "", "", *paper, "", "", ""])
    l2, linf = (next(attack for attack in ATTACKS if attack.key == key).radii for key in ("l2", "linf"))
    return [
        "## Ranks",
        "",
        *prose(
            "Rank of the attacked image's class among the logits of the clean image, and of the clean image's class",
            "among those of the attacked image; 1 is the largest. Shares are of the images whose class changed, with",
            "95 % Wilson intervals. The paper does not name its attack. Smallest means gradient ascent in a ball that",
            f"grows by {l2[1] / l2[0] - 1:.0%} until the class changes (l2 from {l2[0]:g}, l_inf from",
            f"{255 * linf[0]:g}/255); the last attack takes all its steps. The loss is the cross-entropy of the",
            "softmax of the logits, which lifts the other classes by their probability, except in the third row: there",
            "it is the runner-up's logit minus that of the class.",
        ),
        "",
        *table(header, rows),
    ]


def _chance(others: int) -> tuple[float, float]:
    """Chance that one of the other classes at random is the second, and among the top ones."""
    return 1 / others, min(1.0, (TOP_CLASSES - 1) / others)


def _rank_row(results: dict[str, Any], attack: Attack) -> list[str]:
    found = results["attacks"][attack.key]
    adversarial = shares(results, attack.key, "rank_of_adversarial")
    held_out = shares(results, attack.key, "rank_of_adversarial", validation=True)
    original = shares(results, attack.key, "rank_of_original")
    moved = f"{np.median(found['l2']):.2f} ({255 * np.median(found['linf']):.1f})" if any(found["flipped"]) else "-"
    return [
        attack.title,
        f"{sum(found['flipped'])} of {results['n_images']}",
        moved,
        _share(adversarial["second"]),
        _share(adversarial["top"]),
        f"{_share(held_out['second'])}, {_share(held_out['top'])}",
        _share(original["second"]),
        _share(original["top"]),
    ]


def _movements(results: dict[str, Any]) -> list[str]:
    found = [results["attacks"][attack.key] for attack in ATTACKS]
    rows = [[title, *(_movement(one, name) for one in found)] for name, title in COMPARISONS.items()]
    rows.append(
        ["**robust minus CAM of the predicted class, overlap, paired**"]
        + [f"**{_difference(one, 'robust', 'cam')}**" for one in found]
    )
    rows.append(
        ["robust minus CAM of the original class, overlap, paired"]
        + [_difference(one, "robust", "features") for one in found]
    )
    n_cells = results["n_cells"]
    flips = [f"{one['noise_flips']} of {sum(one['flipped'])}" for one in found]
    return [
        "## How far the maps move",
        "",
        *prose(
            f"Mean overlap of the top {TOP_SHARE:.0%} of the cells of {CELL_SIZE} pixels ({top_cells(n_cells)} of",
            f"{n_cells}; cells that tie at the last place count in part) with 95 % bootstrap intervals; then the",
            "median Spearman correlation over all cells. 1 is no movement; two unrelated choices of cells have",
            f"{top_cells(n_cells) / n_cells:.2f} in common. The layer has {_positions(results)} positions, and the",
            f"cells between are interpolated. The robust map is over {TOP_CLASSES} of {len(results['classes'])}",
            "classes.",
        ),
        "",
        *table(["maps compared", *(attack.title for attack in ATTACKS)], rows),
        "",
        *prose(
            f"Class changed by the noise of the control, same l2 norm: {', '.join(flips)} images, in the order of the",
            "columns.",
        ),
    ]


def _movement(found: dict[str, Any], name: str) -> str:
    if not found["overlap"][name]:
        return "-"
    return f"{_share(mean_interval(found['overlap'][name]))}; {np.median(found['spearman'][name]):.2f}"


def _difference(found: dict[str, Any], first: str, second: str) -> str:
    overlaps = found["overlap"]
    if not overlaps[first]:
        return "-"
    return interval_text(paired_difference(overlaps[first], overlaps[second]), signed=True)


def _positions(results: dict[str, Any]) -> str:
    rows, columns = results["positions"]
    return f"{rows} x {columns}"


def _reading(results: dict[str, Any]) -> list[str]:
    """What the study says, in its own numbers."""

    def rank(attack: str, which: str, quantity: str = "rank_of_adversarial", *, validation: bool = False) -> str:
        found = shares(results, attack, quantity, validation=validation)[which]
        return "-" if found is None else f"{found.value:.2f}"

    def same(comparison: str, attack: str = "l2") -> str:
        return f"{np.mean(results['attacks'][attack]['overlap'][comparison]):.2f}"

    n_classes, untrained = len(results["classes"]), sum(results["validation"])
    chance, of_paper = _chance(n_classes - 1), _chance(PAPER_CLASSES - 1)
    last = next(attack for attack in ATTACKS if attack.key == "full")
    far = f"{255 * last.radii[-1]:g}/255"
    points = (
        f"**Ranks.** The class of the smallest attack was the clean image's second in {rank('l2', 'second')} (paper: "
        f"{PAPER['second']}) and its {TOP} in {rank('l2', 'top')} (paper: {PAPER['top']}); chance is {chance[0]:.2f} "
        f"and {chance[1]:.2f} among {n_classes} classes, {of_paper[0]:.3f} and {of_paper[1]:.3f} among "
        f"{PAPER_CLASSES:,}. The attack decides too: second is {rank('margin', 'second')} where it is aimed at the "
        f"runner-up, and {rank('full', 'second')} where it goes on to {far}.",
        f"**The original class** is then second in {rank('l2', 'second', 'rank_of_original')}, which follows from "
        "stopping at the boundary. The attack that goes on leaves it second in "
        f"{rank('full', 'second', 'rank_of_original')} and {TOP} in {rank('full', 'top', 'rank_of_original')}.",
        "**Another class, or other features?** The CAMs of the predicted classes have "
        f"{same('cam')} of their top cells in common, those of two patients {same('cam_others')}, those of these two "
        f"classes on the clean image {same('class')}. The original class keeps {same('features')}, and noise of the "
        f"same norm leaves {same('cam_noise')}.",
        f"**The robust map** keeps {same('robust')} where the CAM keeps {same('cam')}, and the CAM of a class that is "
        f"held fixed, for which one must know the class, {same('features')}. Under the attack to {far} it keeps "
        f"{same('robust', 'full')}; the maps of two patients have {same('robust_others', 'full')} in common. The paper "
        "calls recovering the map trivial.",
        "**Why it may differ.** When the first two classes change places, so do their weights 1/2 and 1/4. In "
        "ImageNet, the paper says, the second class is frequently a synonym or close relative of the first, and one "
        f"would expect their maps to lie together; of two findings they have {same('class')} in common. The paper "
        "reports ranks and pictures, and no distance between maps.",
        "**Limits.** One network of one seed, with several findings that are not shown to work (its card); "
        f"{_positions(results)} positions; {results['n_images'] - untrained} patients whose images trained it (without "
        f"them the first share is {rank('l2', 'second', validation=True)}). An attack shows what breaks and proves no "
        "stability: that takes a certificate of the map.",
    )
    return ["## What this says", "", *(line for point in points for line in bullet(point))]


def _repeat() -> list[str]:
    return [
        "## How to repeat it",
        "",
        "```",
        "python -m benchmarks.robust_activation_map OUTPUT_DIR --images CHEST_XRAY14_DIR",
        "```",
        "",
        *prose(
            "CHEST_XRAY14_DIR holds the images that the shipped table `chest_xray14_split.csv` lists",
            "(docs/how-to/train.md). `results.json` in OUTPUT_DIR has the numbers of each image; `--quick` takes the",
            "films of `sample_data` and leaves page and pictures in OUTPUT_DIR. The pictures of maps are of",
            "`sample_data/` (RG1 and two films of children), with the first attack of the table. Color is",
            "the positive part of a map over its own maximum; the",
            f"outline holds the {TOP_SHARE:.0%} of the pixels with the largest values.",
        ),
    ]


def _share(interval: Interval | None) -> str:
    return "-" if interval is None else interval_text(interval)
