"""What is measured of the trained networks beside their evaluations."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import ScaleIntensityRangePercentiles

from benchmarks.classifiers.plan import OPACITY
from benchmarks.places import ROOT
from monai_robustinterp import SaliencyBundle
from monai_robustinterp.bundle import load_weights
from monai_robustinterp.metrics.classification import area_under_curve, auc_interval
from monai_robustinterp.training import areas_under_curve, chest_xray14, kermany, opacity_groups
from monai_robustinterp.training.evaluation import noisy_logits
from monai_robustinterp.training.tables import LabeledImage

TABLES = ROOT / "bundles" / OPACITY / "data"


def validation_items(kermany_dir: str, chest_xray14_dir: str) -> list[LabeledImage]:
    """Labeled validation images of both sources."""
    items = kermany(kermany_dir, TABLES / "kermany_split.csv")
    items += chest_xray14(chest_xray14_dir, TABLES / "chest_xray14_split.csv")
    return [item for item in items if item["split"] == "validation" and item["opacity"] is not None]


def brightness(
    bundle: SaliencyBundle, items: list[LabeledImage], output: Path, gains: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Area under the curve when every image is made darker or brighter (x gain, cut at 1)."""
    images = [bundle.preprocessing(dict(item))["image"].as_tensor() for item in items]
    percentiles = ScaleIntensityRangePercentiles(lower=1, upper=99, b_min=0.0, b_max=1.0, clip=True)
    rows: dict[str, dict[str, float]] = {}
    for name in ("opacity", "opacity_percentiles"):
        network = load_weights(bundle.network, output / name / "model.pt")
        for gain in gains:
            changed = [(image * gain).clamp(0, 1) for image in images]
            if name == "opacity_percentiles":
                changed = [torch.as_tensor(percentiles(image)) for image in changed]
            areas = areas_under_curve(network, changed, opacity_groups(items), sigmas=(0.0,))
            for group, area in areas.items():
                rows.setdefault(f"{name}, {group.removesuffix(' 0')}", {})[f"{gain:g}"] = area
    return rows


def subgroups(bundle: SaliencyBundle, items: list[LabeledImage], output: Path) -> dict[str, Any]:
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
        if positive[part].any() and not positive[part].all()
    }


def chosen(items: list[LabeledImage], per_group: int) -> list[LabeledImage]:
    """The first images of each source and label, by name: chosen before any map is computed."""
    groups: dict[tuple[str, int | None], list[LabeledImage]] = {}
    for item in items:
        groups.setdefault((item["source"], item["opacity"]), []).append(item)
    return [item for group in groups.values() for item in group[:per_group]]


def certified(bundle: SaliencyBundle, items: list[LabeledImage], output: Path) -> dict[str, list[dict[str, Any]]]:
    """Radii and label agreement of the same images at the same cost, with and without noise in training."""
    inferer = bundle.inferer
    results: dict[str, list[dict[str, Any]]] = {}
    for name in ("opacity_without_noise", "opacity"):
        network = load_weights(bundle.network, output / name / "model.pt")
        for item in items:
            result = inferer.certify(bundle.preprocessing(dict(item))["image"], network)
            votes, certificate = result.votes, result.certificate
            results.setdefault(name, []).append(
                {
                    "source": item["source"],
                    "opacity": item["opacity"],
                    "score": inferer.recipe.findings.score(votes.logits, 1),
                    "agreement": votes.label_agreement,
                    "plug_in": certificate.radius("plug-in", "neyman-pearson").l2,
                    "population": certificate.l_max,
                    "control": certificate.ceiling,
                }
            )
    return results
