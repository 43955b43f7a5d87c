"""Measures what attacks do to class activation maps and robust activation maps, and writes the page.

usage: python -m benchmarks.robust_activation_map OUTPUT_DIR --images CHEST_XRAY14_DIR
       python -m benchmarks.robust_activation_map OUTPUT_DIR --quick

It takes several minutes of one CPU core and writes ``results.json`` into OUTPUT_DIR, robust-activation-map.md into
docs/results and its pictures into docs/images. An interrupted run resumes: attacks of the same settings are not
repeated. ``--quick`` takes the films of ``sample_data`` and leaves all in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.places import PICTURES, RESULTS, ROOT, SAMPLES, films
from benchmarks.robust_activation_map.attack import ATTACKS, Attack
from benchmarks.robust_activation_map.figures import map_row, maps_figure, ranks_figure
from benchmarks.robust_activation_map.measure import CELL_SIZE, LAYER, chosen, measure
from benchmarks.robust_activation_map.page import MAPS_PICTURE, RANKS_PICTURE, sections
from monai_robustinterp import SaliencyBundle, load_bundle
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.study.films import prepared
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import versions
from monai_robustinterp.training import chest_xray14

TABLE = ROOT / "bundles" / "chest_xray_certified_saliency" / "data" / "chest_xray14_split.csv"
SEED, IMAGES, QUICK_FILMS = 0, 300, 5
SHOWN = ("wg04_rg1_multiple_masses.dcm", "kermany_person1947_bacteria_4876.jpeg", "kermany_NORMAL2-IM-1442-0001.jpeg")


def study(bundle: SaliencyBundle, images: torch.Tensor, validation: Sequence[bool], output: Path) -> dict[str, Any]:
    """What all attacks do to the images.

    Args:
        bundle: of independent findings.
        images: float [N, 1, H, W] in [0, 1], one a patient.
        validation: whether each patient is of the validation split.
        output: folder of the attacks that are done.
    """
    settings = {
        "images": [image_sha256(image) for image in images],
        "seed": SEED,
        "weights_sha256": bundle.files["weights_sha256"],
        **versions(),
    }
    with explaining(bundle.network) as network:
        rows, columns = _positions(network, images[:1])
        cells = [
            Cell(
                name=attack.key,
                labels={"attack": attack.key},
                settings=settings | {"attack": dataclasses.asdict(attack)},
                make=partial(_attack, network, images, attack),
            )
            for attack in ATTACKS
        ]
        found = kept_rows(output, "attacks", cells)
    attacks = {attack.key: row for attack, row in zip(ATTACKS, found)}
    return {
        "n_images": len(images),
        "validation": list(validation),
        "seed": SEED,
        "classes": list(bundle.inferer.recipe.findings.names),
        "side": images.shape[-1],
        "n_cells": (images.shape[-2] // CELL_SIZE) * (images.shape[-1] // CELL_SIZE),
        "positions": [rows, columns],
        "attacks": attacks,
        "weights_sha256": bundle.files["weights_sha256"],
        "surroundings": surroundings("cpu", ROOT),
        "cpu_s": sum(row["cpu_s"] for row in found),
    }


def _attack(network: nn.Module, images: torch.Tensor, attack: Attack) -> dict[str, Any]:
    start = time.process_time()
    found = measure(network, images, attack, seed=SEED)
    return found | {"cpu_s": time.process_time() - start}


def _positions(network: nn.Module, image: torch.Tensor) -> tuple[int, int]:
    """Rows and columns of the layer behind the maps."""
    seen: list[tuple[int, int]] = []
    hook = network.get_submodule(LAYER).register_forward_hook(
        lambda module, inputs, output: seen.append((output.shape[-2], output.shape[-1]))
    )
    try:
        with torch.no_grad():
            network(image)
    finally:
        hook.remove()
    return seen[0]


def write(results: dict[str, Any], bundle: SaliencyBundle, folder: Path | None) -> None:
    """The page and its pictures: in docs, or all in one folder."""
    pages, pictures = (folder, folder) if folder else (RESULTS, PICTURES)
    shown = [SAMPLES / name for name in SHOWN]
    with explaining(bundle.network) as network:
        rows = [map_row(network, prepared(bundle, path)[None], results["classes"]) for path in shown]
    write_page(
        pages / "robust-activation-map.md",
        sections(results, pictures="." if folder else "../images", full=folder is None),
        pictures={pictures / MAPS_PICTURE: maps_figure(rows), pictures / RANKS_PICTURE: ranks_figure(results)},
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the study and writes what it found."""
    torch.set_num_threads(1)
    output: Path = arguments.output
    bundle = load_bundle("chest_xray_findings", overrides={"device": "$torch.device('cpu')"})
    if arguments.quick:
        paths = films(output, QUICK_FILMS)
        validation = [False] * len(paths)
    else:
        items = chosen(chest_xray14(arguments.images, TABLE), IMAGES, seed=SEED)
        paths = [Path(item["image"]) for item in items]
        validation = [item["split"] == "validation" for item in items]
    images = torch.stack([prepared(bundle, path) for path in paths])
    results = study(bundle, images, validation, output)
    write_json(output / "results.json", results)
    write(results, bundle, output if arguments.quick else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robust_activation_map")
    parser.add_argument("output", type=Path, help="folder of the results")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--images", type=Path, metavar="CHEST_XRAY14_DIR", help="the images that the table lists")
    wanted.add_argument("--quick", action="store_true", help="sample_data; its figures are no results")
    main(parser.parse_args())
