"""The page of the study, from its results."""

from __future__ import annotations

from typing import Any

from monai_robustinterp.study.machine import surroundings_text
from monai_robustinterp.study.tables import Goal, prose, table


def head(results: dict[str, Any], goals: list[Goal]) -> list[str]:
    """Title, settings, machine, hashes, time and goals."""
    settings, plan = results["settings"], results["plan"]
    parts = results["elapsed_s"]
    films = "[these films](../how-to/get-the-films.md)" if plan["name"] == "full" else "`sample_data/`"
    lines = ["# What the certificates are worth, measured", ""]
    if plan["name"] != "full":
        lines += prose(
            f"**A {plan['name']} run**: fewer images and copies than the study has, and a weak attack. It shows what",
            "the command does; `make study-certificates` gives the numbers to cite.",
        )
        lines.append("")
    return [
        *lines,
        *prose(
            "Written by `benchmarks/certificates` (`make study-certificates`) from one stream of",
            f"{max(plan['prefixes']):,} noisy copies for each of {len(results['images'])} images of {films};",
            "the noise of copy i depends on i alone, so the first m copies are a run of m. Shipped default bundle:",
            f"{settings['interpreter']}, sigma {settings['sigma']:g}, {settings['top_k']} of {settings['n_cells']}",
            f"cells, beta {settings['beta']}, eta {settings['eta']:g}, seed {settings['seed']}. All radii are l2",
            "over the network's input in [0, 1], rounded down. A radius of 0 is no claim. Nothing here says that a",
            "map is right: the radii stand beside the control of a map that ignores the image.",
        ),
        "",
        *prose(
            f"Computed in {sum(parts.values()) / 60:.1f} minutes"
            f" ({', '.join(f'{name} {seconds / 60:.1f}' for name, seconds in parts.items())})",
            f"on {surroundings_text(results['surroundings'])}; what an interrupted run had left counts with the",
            f"time that it took then. Weights `{results['bundle']['weights_sha256']}`, configuration",
            f"`{results['bundle']['config_sha256']}`.",
        ),
        "",
        "Goals that were set beforehand:",
        "",
        *(goal.line for goal in goals),
    ]


def images_table(results: dict[str, Any]) -> list[str]:
    """What the network decides on the images, without which a stable map may mislead."""
    rows = [
        [name, f"{image['score']:.2f}", f"{image['agreement']:.4f}", str(image["tied"]), str(image["constant"])]
        for name, image in results["images"].items()
    ]
    header = ["image", "score of the finding", "label kept", "copies with a tie", "constant copies"]
    return ["## Images", "", "Of all copies; the score is of the clean image.", "", *table(header, rows)]
