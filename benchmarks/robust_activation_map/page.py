"""The page of the study, from its results."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from monai_robustinterp.training.statistics import Interval, bootstrap_interval, wilson_interval

from benchmarks.robust_activation_map.attack import ATTACKS, Attack
from benchmarks.robust_activation_map.measure import CELL_SIZE, COMPARISONS, TOP_CLASSES
from monai_robustinterp.study.tables import prose, table

RANKS_PICTURE, MAPS_PICTURE = "robust_activation_map_ranks.png", "robust_activation_map_maps.png"
PAPER = {"adversarial_second": 0.38, "adversarial_top": 0.64}


def page(results: dict[str, Any], *, pictures: str, reading: bool) -> str:
    """The page in Markdown.

    Args:
        results: what ``__main__`` measured.
        pictures: folder of the pictures, as the page links to them.
        reading: whether to say in words what the full study found.
    """
    lines = [
        *_head(results),
        "",
        *_ranks(results),
        "",
        f"![ranks of the classes before and after the attacks]({pictures}/{RANKS_PICTURE})",
        "",
        *_movements(results),
        "",
        f"![maps before and after the attack]({pictures}/{MAPS_PICTURE})",
        "",
        *(_reading(results) if reading else []),
        *_repeat(results),
    ]
    return "\n".join(lines) + "\n"


def shares(results: dict[str, Any], attack: str, quantity: str, *, validation: bool = False) -> dict[str, Interval]:
    """Shares of rank 2, and of a rank from 2 to 5, with 95 % Wilson intervals.

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
    return {
        "second": wilson_interval(int((ranks == 2).sum()), len(ranks)),
        "top": wilson_interval(int(((ranks >= 2) & (ranks <= 5)).sum()), len(ranks)),
    }


def mean_interval(values: list[float]) -> Interval:
    """Mean with a 95 % bootstrap interval; each value is of a patient of its own."""
    return bootstrap_interval(lambda sample: float(np.mean(sample)), np.arange(len(values)), values)


def _head(results: dict[str, Any]) -> list[str]:
    n, held_out = results["n_images"], sum(results["validation"])
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
            f"{n} images of NIH ChestX-ray14, one a patient and drawn with seed {results['seed']}: {held_out} of",
            f"patients of the validation split, {n - held_out} of the training split. Network: `chest_xray_findings`",
            f"({len(results['classes'])} sigmoid findings, input 128 x 128), weights",
            f"`{results['weights_sha256']}`. Class means the finding with the largest logit, although findings are no",
            "exclusive classes and have zero points of their own. Written by `benchmarks/robust_activation_map` with",
            f"{results['cpu_s'] / 60:.1f} minutes of one CPU thread (torch {results['torch']}).",
        ),
    ]


def _ranks(results: dict[str, Any]) -> list[str]:
    others = len(results["classes"]) - 1
    header = ["attack", "class changed", "median l2 (l_inf x 255)", "adversarial class was 2nd", "was 2nd to 5th"]
    header += ["validation patients only: 2nd, 2nd to 5th", "original class is 2nd", "is 2nd to 5th"]
    rows = [_rank_row(results, attack) for attack in ATTACKS]
    chance, top = f"*{1 / others:.2f}*", f"*{4 / others:.2f}*"
    rows.append(["*chance: another class at random*", "", "", chance, top, f"{chance}, {top}", chance, top])
    second, within = PAPER["adversarial_second"], PAPER["adversarial_top"]
    rows.append(["*the paper, 1,000 classes*", "", "", f"*{second}*", f"*{within}*", "", "", ""])
    return [
        "## Ranks",
        "",
        *prose(
            "Rank of the attacked image's class among the logits of the clean image, and of the clean image's class",
            "among those of the attacked image; 1 is the largest. Shares are of the images whose class changed, with",
            "95 % Wilson intervals. The paper does not name its attack. Smallest means gradient ascent in a ball that",
            "grows by a quarter until the class changes (l2 from 0.1, l_inf from 0.2/255); the last attack takes all",
            "its steps. The loss is the cross-entropy of the softmax of the logits, which lifts the other classes",
            "by their probability, except in the third row: there it is the runner-up's logit minus that of the class.",
        ),
        "",
        *table(header, rows),
    ]


def _rank_row(results: dict[str, Any], attack: Attack) -> list[str]:
    found = results["attacks"][attack.key]
    adversarial = shares(results, attack.key, "rank_of_adversarial")
    held_out = shares(results, attack.key, "rank_of_adversarial", validation=True)
    original = shares(results, attack.key, "rank_of_original")
    return [
        attack.title,
        f"{sum(found['flipped'])} of {results['n_images']}",
        f"{np.median(found['l2']):.2f} ({255 * np.median(found['linf']):.1f})",
        _share(adversarial["second"]),
        _share(adversarial["top"]),
        f"{_share(held_out['second'])}, {_share(held_out['top'])}",
        _share(original["second"]),
        _share(original["top"]),
    ]


def _movements(results: dict[str, Any]) -> list[str]:
    rows = []
    for name, title in COMPARISONS.items():
        found = [results["attacks"][attack.key] for attack in ATTACKS]
        rows.append(
            [title]
            + [
                f"{_share(mean_interval(one['overlap'][name]))}; {np.median(one['spearman'][name]):.2f}"
                for one in found
            ]
        )
    rows.append(
        ["**robust minus CAM of the predicted class, overlap, paired**"]
        + [f"**{_signed(difference(results, attack.key, 'robust', 'cam'))}**" for attack in ATTACKS]
    )
    rows.append(
        ["robust minus CAM of the original class, overlap, paired"]
        + [_signed(difference(results, attack.key, "robust", "features")) for attack in ATTACKS]
    )
    return [
        "## How far the maps move",
        "",
        *prose(
            f"Mean overlap of the top 10 % of the cells of {CELL_SIZE} pixels (26 of 256; cells that tie at the last",
            "place count in part) with 95 % bootstrap intervals; then the median Spearman correlation over all cells.",
            "1 is no movement; two unrelated choices of cells have 0.10 in common. The layer has 4 x 4 positions, and",
            f"the cells between are interpolated. The robust map is over {TOP_CLASSES} of {len(results['classes'])}",
            "classes.",
        ),
        "",
        *table(["maps compared", *(attack.title for attack in ATTACKS)], rows),
        "",
        *prose(
            "Class changed by the noise of the control, same l2 norm: "
            + ", ".join(
                f"{results['attacks'][a.key]['noise_flips']} of {sum(results['attacks'][a.key]['flipped'])}"
                for a in ATTACKS
            )
            + " images, in the order of the columns.",
        ),
    ]


def difference(results: dict[str, Any], attack: str, first: str, second: str) -> Interval:
    """Mean difference of two overlaps of the same image, with its interval."""
    overlaps = results["attacks"][attack]["overlap"]
    return mean_interval((np.array(overlaps[first]) - np.array(overlaps[second])).tolist())


def _reading(results: dict[str, Any]) -> list[str]:
    """What the full study says; the words are for its numbers."""

    def rank(attack: str, which: str, quantity: str = "rank_of_adversarial") -> str:
        return f"{shares(results, attack, quantity)[which].value:.2f}"

    def same(comparison: str, attack: str = "l2") -> str:
        return f"{np.mean(results['attacks'][attack]['overlap'][comparison]):.2f}"

    untrained = sum(results["validation"])
    points = (
        "**The ranks are high for the smallest attacks**, as in the paper. Their class was the clean image's second in "
        f"{rank('l2', 'second')} (paper: 0.38) and its second to fifth in {rank('l2', 'top')} (paper: 0.64); chance is "
        "0.10 and 0.40 among 11 classes, 0.001 and 0.004 among 1,000. The attack decides as much as the network does: "
        f"second is {rank('margin', 'second')} where it is aimed at the runner-up, and {rank('full', 'second')} where "
        "it goes on to 8/255.",
        "**That the original class is then second** "
        f"({rank('l2', 'second', 'rank_of_original')}) follows from stopping at the boundary. The attack that goes on "
        f"leaves it second in {rank('full', 'second', 'rank_of_original')} and second to fifth in "
        f"{rank('full', 'top', 'rank_of_original')}, as chance would.",
        "**The CAM moves because another class is explained.** The maps of the predicted classes have "
        f"{same('cam')} of their top cells in common, no more than those of two patients ({same('cam_others')}); the "
        f"maps of these two classes on the clean image have {same('class')}. The original class keeps "
        f"{same('features')}, and noise of the same norm leaves {same('cam_noise')}.",
        "**The robust map moves less, and does not stay.** It keeps "
        f"{same('robust')} against {same('cam')}, but less than the CAM of a class that is held fixed "
        f"({same('features')}), for which one must know the class. Under the attack to 8/255 it keeps "
        f"{same('robust', 'full')}, as much as the maps of two patients have in common "
        f"({same('robust_others', 'full')}). That recovering the map is trivial, as the paper says, is not seen here.",
        "**Why it may differ.** When the first two classes change places, so do their weights 1/2 and 1/4. In "
        "ImageNet, the paper says, the second class is frequently a synonym or close relative of the first, and one "
        f"would expect their maps to lie together; those of two findings lie apart ({same('class')}). The paper "
        "reports ranks and pictures, and no distance between maps.",
        "**Limits.** One network of one seed, with several findings that are not shown to work (its card); 4 x 4 "
        f"positions; {results['n_images'] - untrained} patients whose images trained it, without whom the shares are "
        "alike. An attack shows what breaks and proves no stability: that takes a certificate of the map.",
    )
    lines = ["## What this says", ""]
    for point in points:
        lines += textwrap.wrap(f"- {point}", width=118, subsequent_indent="  ", break_on_hyphens=False)
    return [*lines, ""]


def _repeat(results: dict[str, Any]) -> list[str]:
    return [
        "## How to repeat it",
        "",
        "```",
        "python -m benchmarks.robust_activation_map CHEST_XRAY14_DIR OUTPUT_DIR",
        "```",
        "",
        *prose(
            "CHEST_XRAY14_DIR holds the images that the shipped table `chest_xray14_split.csv` lists",
            "(docs/how-to/train.md). `results.json` in OUTPUT_DIR has the numbers of each image; `--quick` takes 24",
            "images and leaves page and pictures in OUTPUT_DIR. The pictures of maps are of `sample_data/`, with the",
            "first attack of the table. Colour is the positive part of a map over its own maximum; the outline holds",
            "the 10 % of the pixels with the largest values.",
        ),
    ]


def _share(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
