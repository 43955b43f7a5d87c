"""Trains the reference classifiers and their comparisons, evaluates and certifies them, and writes the result page.

usage: python benchmarks/classifiers.py KERMANY_DIR CHEST_XRAY14_DIR OUTPUT_DIR

A training whose ``evaluation.json`` is in OUTPUT_DIR is not repeated, nor a comparison whose file is there. Nothing is
copied into the bundles: that is a decision of whoever releases them (docs/how-to/train.md).
"""

from __future__ import annotations

import csv
import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import ScaleIntensityRangePercentiles
from monai_robustinterp.training.statistics import area_under_curve, auc_interval

from monai_robustinterp import SaliencyBundle, load_bundle
from monai_robustinterp.bundle import load_weights
from monai_robustinterp.certificates import fixed_map_certificate
from monai_robustinterp.files import atomic_write, file_sha256, json_bytes
from monai_robustinterp.training import areas_under_curve, chest_xray14, kermany, opacity_groups
from monai_robustinterp.training.evaluation import noisy_logits
from monai_robustinterp.training.report import evaluation_table
from monai_robustinterp.training.tables import LabelledImage

ROOT = Path(__file__).parents[1]
OPACITY, FINDINGS = "chest_xray_certified_saliency", "chest_xray_findings"
TABLES = ROOT / "bundles" / OPACITY / "data"
PAGE = ROOT / "docs" / "results" / "classifiers.md"
GAINS = (0.6, 0.8, 1.0, 1.2)
IMAGES_PER_GROUP = 4


@dataclass(frozen=True)
class Run:
    """One training."""

    name: str
    bundle: str
    what: str
    options: dict[str, Any] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Without the folders of data and output."""
        config = f"bundles/{self.bundle}/configs/train.json"
        options = [text for key, value in self.options.items() for text in (f"--{key}", str(value))]
        return ["python", "-m", "monai.bundle", "run", "--config_file", config, *options]


RUNS = (
    Run("opacity", OPACITY, "the shipped binary model: fixed intensity path, noise"),
    Run("opacity_without_noise", OPACITY, "the same without noise", {"noise_probability": 0.0}),
    Run("opacity_percentiles", OPACITY, "the same with percentiles of each image", {"percentiles": True}),
    Run("findings", FINDINGS, "the shipped multi-label model"),
)


def train(run: Run, kermany_dir: str, chest_xray14_dir: str, output: Path) -> None:
    """Runs one training unless its evaluation is there.

    Raises:
        SystemExit: if that evaluation is of a training with other options.
    """
    earlier = output / run.name / "evaluation.json"
    if earlier.exists():
        if run.options.items() <= json.loads(earlier.read_text())["settings"].items():
            return
        raise SystemExit(f"{earlier} is of a training with other options: remove it, or choose another folder.")
    folders = ["--chest_xray14_dir", chest_xray14_dir, "--output_dir", str(output / run.name)]
    if run.bundle == OPACITY:
        folders += ["--kermany_dir", kermany_dir]
    else:
        folders += ["--trunk_path", str(output / "opacity" / "model.pt")]
    print("training", run.name, flush=True)
    subprocess.run([sys.executable, *run.command()[1:], *folders], cwd=ROOT, check=True)


def validation_items(kermany_dir: str, chest_xray14_dir: str) -> list[LabelledImage]:
    """Labelled validation images of both sources."""
    items = kermany(kermany_dir, TABLES / "kermany_split.csv")
    items += chest_xray14(chest_xray14_dir, TABLES / "chest_xray14_split.csv")
    return [item for item in items if item["split"] == "validation" and item["opacity"] is not None]


def brightness(bundle: SaliencyBundle, items: list[LabelledImage], output: Path) -> dict[str, dict[str, float]]:
    """Area under the curve when every image is made darker or brighter (x gain, cut at 1)."""
    images = [bundle.preprocessing(dict(item))["image"].as_tensor() for item in items]
    percentiles = ScaleIntensityRangePercentiles(lower=1, upper=99, b_min=0.0, b_max=1.0, clip=True)
    rows: dict[str, dict[str, float]] = {}
    for name in ("opacity", "opacity_percentiles"):
        network = load_weights(bundle.network, output / name / "model.pt")
        for gain in GAINS:
            changed = [(image * gain).clamp(0, 1) for image in images]
            if name == "opacity_percentiles":
                changed = [torch.as_tensor(percentiles(image)) for image in changed]
            areas = areas_under_curve(network, changed, opacity_groups(items), sigmas=(0.0,))
            for group, area in areas.items():
                rows.setdefault(f"{name}, {group.removesuffix(' 0')}", {})[f"{gain:g}"] = area
    return rows


def subgroups(bundle: SaliencyBundle, items: list[LabelledImage], output: Path) -> dict[str, Any]:
    """The shipped opacity model on parts of the ChestX-ray14 validation images, and what the view alone tells there."""
    with (TABLES / "chest_xray14_split.csv").open() as file:
        rows = {Path(row["Image Index"]).stem: row for row in csv.DictReader(file)}
    chest = [item for item in items if item["source"] == "chest_xray14"]
    images = [bundle.preprocessing(dict(item))["image"].as_tensor() for item in chest]
    logits = noisy_logits(load_weights(bundle.network, output / "opacity" / "model.pt"), images, sigma=0.0)
    scores = logits[..., 1] - logits[..., 0]
    positive, patients = np.array([item["opacity"] == 1 for item in chest]), [item["patient"] for item in chest]
    found = [rows[Path(item["image"]).stem] for item in chest]
    anteroposterior = np.array([row["View Position"] == "AP" for row in found])
    rsna = np.array([row["RSNA Class"] != "" for row in found])
    parts = {
        "all": np.ones_like(rsna),
        "RSNA class stated": rsna,
        "NIH labels only": ~rsna,
        "AP": anteroposterior,
        "PA": ~anteroposterior,
    }
    return {
        name: {
            "n_positive": int(positive[part].sum()),
            "n_negative": int((~positive[part]).sum()),
            "auc": asdict(auc_interval(scores[part], positive[part], np.array(patients)[part])),
            "view_alone": area_under_curve(anteroposterior[part].astype(float), positive[part]),
        }
        for name, part in parts.items()
    }


def chosen(items: list[LabelledImage]) -> list[LabelledImage]:
    """The first images of each source and label, by name: chosen before any map is computed."""
    groups: dict[tuple[str, int | None], list[LabelledImage]] = {}
    for item in items:
        groups.setdefault((item["source"], item["opacity"]), []).append(item)
    return [item for group in groups.values() for item in group[:IMAGES_PER_GROUP]]


def certified(bundle: SaliencyBundle, items: list[LabelledImage], output: Path) -> dict[str, list[dict[str, Any]]]:
    """Radii and label agreement of the same images at the same cost, with and without noise in training."""
    inferer = bundle.inferer
    results: dict[str, list[dict[str, Any]]] = {}
    for name in ("opacity_without_noise", "opacity"):
        network = load_weights(bundle.network, output / name / "model.pt")
        for item in items:
            votes, certificate = inferer.certify(bundle.preprocessing(dict(item))["image"], network)
            results.setdefault(name, []).append(
                {
                    "source": item["source"],
                    "opacity": item["opacity"],
                    "score": inferer.findings.score(votes.logits, 1),
                    "agreement": votes.label_agreement,
                    "plug_in": certificate.radius("plug-in", "neyman-pearson").l2,
                    "population": certificate.l_max,
                    "control": fixed_map_certificate(votes, certificate.spec, beta=inferer.beta, eta=inferer.eta).l_max,
                }
            )
    return results


def weights_digest(output: Path) -> str:
    """Twelve digits that stand for the weights of all runs, so that no comparison outlives them."""
    hashes = "".join(file_sha256(output / run.name / "model.pt") for run in RUNS)
    return hashlib.sha256(hashes.encode()).hexdigest()[:12]


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """What an earlier run left at the path, else computed now and left there."""
    if not path.exists():
        result = compute()
        atomic_write(path, lambda file: file.write(json_bytes(result)))
    return json.loads(path.read_text())


def main(kermany_dir: str, chest_xray14_dir: str, output: Path) -> None:
    """Trains, compares, writes ``study.json`` into the output and the page into docs/results."""
    for run in RUNS:
        train(run, kermany_dir, chest_xray14_dir, output)
    items = validation_items(kermany_dir, chest_xray14_dir)
    bundle = load_bundle()
    weights = weights_digest(output)
    study = {
        "runs": {run.name: json.loads((output / run.name / "evaluation.json").read_text()) for run in RUNS},
        "elapsed_s": {run.name: _elapsed_s(output / run.name) for run in RUNS},
        "brightness": kept(output / f"brightness-{weights}.json", lambda: brightness(bundle, items, output)),
        "subgroups": kept(output / f"subgroups-{weights}.json", lambda: subgroups(bundle, items, output)),
        "certified": kept(output / f"certified-{weights}.json", lambda: certified(bundle, chosen(items), output)),
    }
    atomic_write(output / "study.json", lambda file: file.write(json_bytes(study)), overwrite=True)
    atomic_write(PAGE, lambda file: file.write(page(study, bundle).encode()), overwrite=True)
    print(f"written: {PAGE}")


def page(study: dict[str, Any], bundle: SaliencyBundle) -> str:
    """The result page in Markdown."""
    lines = [
        "# The reference classifiers, measured",
        "",
        "Written by `benchmarks/classifiers.py` (`make study-classifiers`). Areas under the ROC curve with 95 %",
        "bootstrap intervals over patients; sensitivity and specificity of the clean decision with 95 % Wilson",
        "intervals, images taken as independent; agreement of noisy with clean decisions (8 draws an image) with",
        "95 % bootstrap intervals and Cohen's kappa. Validation patients were in no training. The weights are a moving",
        "average at the end of the last epoch; the recipe was settled in earlier trials on this split, and there is no",
        "third set. The zero points of the findings were set on these images. One seed each.",
        "",
        "## Trainings",
        "",
        "Folders of data and output are left out of the commands. Minutes are those of the epochs with their",
        "validation, without reading the images and the final evaluation.",
        "",
        "| run | what | command | minutes | CPU threads | SHA-256 of the weights |",
        "|---|---|---|---|---|---|",
    ]
    for run in RUNS:
        minutes, report = study["elapsed_s"][run.name] / 60, study["runs"][run.name]
        lines.append(
            f"| {run.name} | {run.what} | `{' '.join(run.command())}` | {minutes:.0f} | "
            f"{report['software']['threads']} | `{report['weights_sha256']}` |"
        )
    for run in RUNS:
        lines += ["", f"## {run.name}: {run.what}", "", evaluation_table(study["runs"][run.name]["groups"]).strip()]
    lines += ["", *_percentile_lines(study["runs"])]
    lines += ["", *_subgroup_lines(study["subgroups"])]
    lines += ["", *_brightness_lines(study["brightness"]), "", *_certified_lines(study, bundle)]
    return "\n".join(lines) + "\n"


def _percentile_lines(runs: dict[str, Any]) -> list[str]:
    fixed, percentiles = (runs[name]["groups"] for name in ("opacity", "opacity_percentiles"))
    lines = [
        "## Percentiles against the fixed path",
        "",
        "What the fixed path costs: area under the curve with percentiles minus that without.",
        "",
        "| group | sigma 0 | sigma 0.1 | sigma 0.25 |",
        "|---|---|---|---|",
    ]
    for name, group in fixed.items():
        costs = [percentiles[name]["auc"][sigma]["value"] - area["value"] for sigma, area in group["auc"].items()]
        lines.append(f"| {name} | " + " | ".join(f"{cost:+.3f}" for cost in costs) + " |")
    return lines


def _subgroup_lines(parts: dict[str, Any]) -> list[str]:
    lines = [
        "## opacity on parts of the ChestX-ray14 validation images",
        "",
        "View alone: area of AP against PA, which no network needs to look for; 0.5 within one view.",
        "",
        "| part | with / without | AUC, sigma 0 | view alone |",
        "|---|---|---|---|",
    ]
    for name, part in parts.items():
        auc = part["auc"]
        lines.append(
            f"| {name} | {part['n_positive']} / {part['n_negative']} | {auc['value']:.3f} [{auc['low']:.3f}, "
            f"{auc['high']:.3f}] | {part['view_alone']:.3f} |"
        )
    return lines


def _brightness_lines(rows: dict[str, dict[str, float]]) -> list[str]:
    return [
        "## Darker and brighter films",
        "",
        "Area under the curve, sigma 0, when each display value is multiplied by the gain and cut at 1. Percentiles of",
        "the image undo a gain: it never reaches that network, and no radius in detector units exists for it.",
        "",
        "| run, source | " + " | ".join(f"gain {gain:g}" for gain in GAINS) + " |",
        "|---" * (len(GAINS) + 1) + "|",
        *(f"| {name} | " + " | ".join(f"{area:.3f}" for area in row.values()) + " |" for name, row in rows.items()),
    ]


def _certified_lines(study: dict[str, Any], bundle: SaliencyBundle) -> list[str]:
    inferer = bundle.inferer
    lines = [
        "## Certified radius before and after training with noise",
        "",
        f"{len(study['certified']['opacity'])} validation images ({IMAGES_PER_GROUP} of each source and label, the",
        f"first by name) at the same cost: gradient, sigma {inferer.sigma}, {inferer.n_samples} copies,",
        f"{inferer.top_k} cells, beta {inferer.beta}, eta {inferer.eta} an image. L_max is the population radius (l2",
        "over the network's input); plug-in is an estimate and claims nothing. Label kept: share of noisy copies that",
        "decide as the clean image.",
        "",
        "| run | L_max, median (min to max) | abstained | plug-in, median | label kept, median (min) |",
        "|---|---|---|---|---|",
    ]
    for name, results in study["certified"].items():
        radii, agreement = ([r[key] for r in results] for key in ("population", "agreement"))
        lines.append(
            f"| {name} | {statistics.median(radii):.4f} ({min(radii):.4f} to {max(radii):.4f}) | {radii.count(0)} of "
            f"{len(radii)} | {statistics.median(r['plug_in'] for r in results):.4f} | "
            f"{statistics.median(agreement):.3f} ({min(agreement):.3f}) |"
        )
    gains = [
        after["population"] / before["population"]
        for before, after in zip(*study["certified"].values(), strict=True)
        if before["population"]
    ]
    lines += [
        f"| *control: a fixed map that ignores the image* | {study['certified']['opacity'][0]['control']:.4f} | | | |",
        "",
        f"Quotient of the radii of one image, after over before, median of the {len(gains)} images with a radius",
        f"before: {np.median(gains):.2f}.",
    ]
    return lines


def _elapsed_s(folder: Path) -> float:
    with (folder / "history.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["elapsed_s"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
