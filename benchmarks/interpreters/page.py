"""The page docs/results/interpreters.md, from stored results."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.certificates.tables import prose, radius_text, table
from benchmarks.interpreters.distortion import METHODS
from benchmarks.interpreters.plan import methods
from monai_robustinterp.files import atomic_write

Row = dict[str, Any]
# Of the finding's score; below, a share of it means nothing.
LEAST_CHANGE = 0.05

_HEAD = """# Every interpreter: cost, and what can be certified of it

Written by `python -m benchmarks.interpreters OUTPUT_DIR` (`make study-interpreters`). Bundle `chest_xray_findings`
(DenseNet at 128 px, 11 findings, sigmoid), [eight films](../how-to/get-the-films.md), each explained for the finding
with the highest logit; labels without a setting are the defaults of the bundle.

![all interpreters on a chest X-ray with pneumonia](../images/interpreters_pneumonia.png)

Fourteen answers to one question and a map of all classes (`robust_activation_map`), by `monai-robustinterp compare
sample_data/kermany_person1947_bacteria_4876.jpeg --bundle chest_xray_findings --target Pneumonia --interpreter all
--output DIR`. Yellow are the 38 cells of 8 px that a noisy copy with this map would vote for. They disagree, and none
of them is certified. The film is of a child, and the network learned its findings from NIH's films, mostly of adults.

How far such cells lie where a radiologist looks was measured on one film that cannot be shown here, since it is not
shipped: ChestX-ray14 00000766_010, of a patient who is not among those who trained the network, with the lung opacities
that a radiologist drew for the RSNA Pneumonia Detection Challenge 2018. Share of the 38 cells' area in them:
`grad_cam_pp` and `robust_activation_map` 0.44, `grad_cam` 0.43, `cam` 0.41, `meaningful_perturbation` 0.32,
`robust_perturbation` 0.14, `gradient` 0.12, `smooth_grad` 0.10, the other seven less than 0.06; by chance 0.09. One
image shows that they differ, not which is better.

![all interpreters on a chest X-ray with multiple masses](../images/interpreters_masses.png)

The same for masses in `wg04_rg1_multiple_masses.dcm`, of an adult. The network does not see them (score 0.50, its
operating point), and most of the yellow cells lie on the spine, the heart and the chest wall.
"""

_DISTORTION = """`robust_perturbation` is made to take away one finding and leave the others (class-distortion
prevention). Scores of the finding with the highest logit at the image and at the perturbed one, mean absolute change
of the ten others, and how far they move for each point by which the finding falls (only where it falls by 0.05 and
more); defaults of the bundle. Below, how the mask for pneumonia came about on the child's film above, with what
the network says of the image (x), of the perturbed one (x_pt) and of the reversed one (x_rpt).

![iterations of robust_perturbation](../images/interpreters_iterations.png)
"""

_DISTORTION_SEEN = """In the four images in which both make the finding fall, the others move about half as far,
whichever method does it: in this network the findings move together, and the loss does not part them. What differs is
the region, 5 % of the image and less against 29 % and more. In the other four the mask of `robust_perturbation` leaves
the finding nearly as it was: its score can change by little there, and the paper's weight on the region outweighs that.
"""

_LEAKS = """## A thousand images, one after the other

Resident memory of the process, once the allocator has given back what it does not use, and live tensors:

- `compare` with `gradient` and `grad_cam` on the shipped network, six of these films in turn, all files of every 20th:
  486 MB and 415 tensors after 100 images, 489 MB and 415 after 1,000;
- `certify` on a folder of 1,000 PNGs, 8 copies each: 576 MB after 100 images, 562 MB after all, up to 606 between, when
  more images are on their way;
- each of the fifteen methods on the small network of the tests: from the 100th image to the 1,000th at most 0.33 MB
  more, no tensor and no hook (`tests/statistical/test_interpreter_leaks.py`; 1,000 images in `make test-all`).
"""


def write(docs: Path, output: Path, *, software: dict[str, Any]) -> None:
    """Writes the page.

    Args:
        docs: folder of the documentation.
        output: folder of the stored results.
        software: machine, versions and commit.
    """
    rows = [json.loads(path.read_text()) for path in sorted(output.glob("radii-*.json"))]
    seconds = {
        method.label: json.loads((output / f"seconds-{method.slug}.json").read_text())["seconds"]
        for method in methods()
    }
    parts = [
        _HEAD.splitlines(),
        _distortion(json.loads((output / "distortion.json").read_text())),
        _certified(rows, seconds),
        _costs(json.loads((output / "cost.json").read_text())),
        _LEAKS.splitlines(),
        _setting(software),
    ]
    text = "\n\n".join("\n".join(lines).strip() for lines in parts) + "\n"
    atomic_write(docs / "results" / "interpreters.md", lambda file: file.write(text.encode()), overwrite=True)


def _distortion(rows: Sequence[Row]) -> list[str]:
    by_image: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_image[row["image"]][row["method"]] = row
    header = ["image"]
    for method in METHODS:
        header += [f"`{method}`: finding", "others move by", "for each point of the finding", "image removed"]
    lines = []
    for image, found in by_image.items():
        cells = [image]
        for row in (found[method] for method in METHODS):
            change = row["target"] - row["target_perturbed"]
            ratio = f"{row['others_change'] / change:.2f}" if change >= LEAST_CHANGE else "-"
            cells += [f"{row['target']:.2f} to {row['target_perturbed']:.2f}", f"{row['others_change']:.2f}", ratio]
            cells.append(f"{100 * row['removed']:.0f} %")
        lines.append(cells)
    return [
        "## Do the other findings stay?",
        "",
        *_DISTORTION.splitlines(),
        "",
        *table(header, lines),
        "",
        *_DISTORTION_SEEN.splitlines(),
    ]


def _certified(rows: Sequence[Row], seconds: Mapping[str, float]) -> list[str]:
    by_budget: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        by_budget[row["minutes"]].append(row)
    lines = [
        "## Certified radius at an equal budget",
        "",
        *prose(
            "Medians over the images. m follows from the budget and the measured CPU seconds of a copy, on another",
            "image, before any is drawn. On a shared machine these seconds move by a factor of 1.5 and more; the",
            "column CPU s is m times the seconds of a copy as they were measured last, all methods within five",
            "minutes of each other (`extremal_perturbation` before), and says how equal the budgets were; ranges are",
            "over the images. Settings of",
            "the bundle: sigma 0.1, 38 of 256 cells, beta 0.5, eta 0.001 an image and number. NP is Neyman-Pearson;",
            "rerun is about a second run of as many",
            "copies, at 2 eta. A radius of 0 is no claim. The control marks the same cells in every copy: no map",
            "certifies further at that m. NP / control is how much of the possible radius a method has, and **a map",
            "that never changes would win this table**. Nothing here says that a map is right. Agreement: mean share",
            "of the copies that vote for a reported cell.",
        ),
    ]
    for minutes in sorted(by_budget):
        lines += ["", *_budget(minutes, by_budget[minutes], seconds)]
    return [
        *lines,
        "",
        *prose(
            "Few copies abstain whatever the map does: that is the price of inner passes. The plug-in column,",
            "which claims nothing, shows how steady the map is. A row near its control deserves suspicion before",
            "praise: coarse maps (4 x 4 positions behind `cam`, `grad_cam`, `grad_cam_pp`) and the shared masks",
            "of `rise` leave the noise little to change. The last column tells part of it: the mean share of the",
            "reported cells that two images have in common, where two unrelated choices have 0.15 and a map that",
            "ignores the image has 1. Chests look alike, so some of it is anatomy.",
        ),
    ]


def _budget(minutes: float, rows: Sequence[Row], seconds: Mapping[str, float]) -> list[str]:
    """The table of one budget, and what it lacks."""
    by_method: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_method[row["method"]].append(row)
    n_images = max(len(found) for found in by_method.values())
    missing = [method.label for method in methods() if len(by_method.get(method.label, ())) < n_images]
    header = [
        *(
            "method",
            "images",
            "copies m",
            "CPU s",
            "plug-in NP",
            "population Renyi",
            "population NP",
            "abstain",
            "rerun",
        ),
        *("control: a fixed map", "NP / control", "copies' agreement", "same cells in two images"),
    ]
    lines = [
        f"### {minutes:g} CPU {'minute' if minutes == 1 else 'minutes'} an image",
        "",
        *table(header, [_radii_row(label, by_method[label], seconds[label]) for label in sorted(by_method)]),
    ]
    if missing:
        names = "; ".join(f"`{label}`" for label in missing)
        lines += ["", *prose(f"Not measured at this budget on all {n_images} images: {names}.")]
    return lines


def _radii_row(label: str, found: Sequence[Row], seconds: float) -> list[str]:
    def median(key: str) -> float:
        return statistics.median(float(row[key]) for row in found)

    control = median("control")
    share = statistics.median(row["neyman_pearson"] / row["control"] if row["control"] else 0.0 for row in found)
    return [
        label,
        str(len(found)),
        _range([row["n_samples"] for row in found]),
        _range([round(row["n_samples"] * seconds) for row in found]),
        radius_text(median("plug_in")),
        radius_text(median("renyi")),
        radius_text(median("neyman_pearson")),
        str(sum(row["neyman_pearson"] == 0 for row in found)),
        radius_text(median("rerun")),
        radius_text(control),
        f"{share:.2f}" if control else "-",
        f"{median('mean_share_of_top_k'):.2f}",
        _same_cells([frozenset(row["reported"]) for row in found]),
    ]


def _range(values: Sequence[int]) -> str:
    """The value, or the smallest and the largest one."""
    least, most = min(values), max(values)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _same_cells(reported: Sequence[frozenset[int]]) -> str:
    """Mean share of the reported cells that two images have in common."""
    shares = [len(one & other) / len(one) for one, other in combinations(reported, 2)]
    return f"{statistics.mean(shares):.2f}" if shares else "-"


def _costs(rows: Sequence[Row]) -> list[str]:
    by_method: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        by_method[row["method"]][row["side"]] = row
    sides = sorted({row["side"] for row in rows})
    bare = {side: next(row["seconds"] for row in rows if row["side"] == side) for side in sides}
    header = ["method"]
    for side in sides:
        header += [f"{side} px: seconds", "x bare", "MB"]
    lines = []
    for method, sizes in by_method.items():
        cells = [method]
        for side in sides:
            row = sizes[side]
            star = "*" if row["scaled_from"] else ""
            ratio = row["seconds"] / bare[side]
            cells += [f"{row['seconds']:.3g}{star}", f"{ratio:,.{0 if ratio >= 10 else 1}f}", f"{row['megabytes']:.0f}"]
        lines.append(cells)
    return [
        "## Seconds and memory of one plain map",
        "",
        *prose(
            "CPU seconds of one image alone, one thread, fastest of 3; MB: peak of the process above what it held",
            "before. x bare: over a forward and backward pass of the network on one image. A star: one run of 20 of",
            "the method's passes, scaled. 512 px: the same image enlarged.",
        ),
        "",
        *table(header, lines),
    ]


def _setting(software: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in software["versions"].items())
    return prose(
        f"{software['machine']}; {versions}. Page of commit {software['commit']}. Votes are kept and gone on with, so",
        "some are of earlier commits.",
    )
