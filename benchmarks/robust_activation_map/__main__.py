"""Measures what attacks do to class activation maps and robust activation maps, and writes the page.

usage: python -m benchmarks.robust_activation_map CHEST_XRAY14_DIR OUTPUT_DIR [--quick]

It takes about 8 minutes of one CPU core and writes ``results.json`` into OUTPUT_DIR, robust-activation-map.md into
docs/results and its pictures into docs/images. ``--quick`` (24 images) leaves all in OUTPUT_DIR.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, BinaryIO

import torch
from matplotlib.figure import Figure

from benchmarks.robust_activation_map.attack import ATTACKS
from benchmarks.robust_activation_map.figures import map_row, maps_figure, ranks_figure
from benchmarks.robust_activation_map.measure import chosen, measure
from benchmarks.robust_activation_map.page import MAPS_PICTURE, RANKS_PICTURE, page
from monai_robustinterp import SaliencyBundle, load_bundle
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.training import chest_xray14

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "bundles" / "chest_xray_certified_saliency" / "data" / "chest_xray14_split.csv"
SEED, IMAGES, QUICK_IMAGES = 0, 300, 24
SHOWN = ("wg04_rg1_multiple_masses.dcm", "kermany_person1947_bacteria_4876.jpeg", "kermany_NORMAL2-IM-1442-0001.jpeg")


def load(bundle: SaliencyBundle, path: str | Path) -> torch.Tensor:
    """The network's input of one file, [1, H, W]."""
    image: torch.Tensor = bundle.preprocessing({"image": str(path)})["image"].as_tensor()
    return image


def study(bundle: SaliencyBundle, folder: Path, n_images: int) -> dict[str, Any]:
    """What all attacks do to the chosen images."""
    start = time.process_time()
    items = chosen(chest_xray14(folder, TABLE), n_images, seed=SEED)
    images = torch.stack([load(bundle, item["image"]) for item in items])
    attacks = {}
    with explaining(bundle.network) as network:
        for attack in ATTACKS:
            attacks[attack.key] = measure(network, images, attack, seed=SEED)
            print(f"{attack.title}: {time.process_time() - start:.0f} s of CPU time", flush=True)
    return {
        "n_images": len(items),
        "validation": [item["split"] == "validation" for item in items],
        "seed": SEED,
        "classes": list(bundle.inferer.recipe.findings.names),
        "attacks": attacks,
        "weights_sha256": bundle.hashes["weights_sha256"],
        "torch": torch.__version__,
        "cpu_s": time.process_time() - start,
    }


def write_figure(path: Path, figure: Figure) -> None:
    """A PNG, whole or not at all."""

    def write(file: BinaryIO) -> None:
        figure.savefig(file, format="png")

    atomic_write(path, write, overwrite=True)


def main() -> None:
    """Runs the study and writes what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chest_xray14_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = load_bundle("chest_xray_findings", overrides={"device": "$torch.device('cpu')"})
    results = study(bundle, options.chest_xray14_dir, QUICK_IMAGES if options.quick else IMAGES)
    atomic_write(options.output_dir / "results.json", lambda file: file.write(json_bytes(results)), overwrite=True)
    write(results, bundle, None if not options.quick else options.output_dir)


def write(results: dict[str, Any], bundle: SaliencyBundle, folder: Path | None) -> None:
    """The page and its pictures: in docs, or all in one folder."""
    pages, images = (folder, folder) if folder else (ROOT / "docs" / "results", ROOT / "docs" / "images")
    with explaining(bundle.network) as network:
        shown = [load(bundle, ROOT / "sample_data" / name)[None] for name in SHOWN]
        write_figure(images / MAPS_PICTURE, maps_figure([map_row(network, x, results["classes"]) for x in shown]))
    write_figure(images / RANKS_PICTURE, ranks_figure(results))
    text = page(results, pictures="." if folder else "../images", reading=folder is None)
    atomic_write(pages / "robust-activation-map.md", lambda file: file.write(text.encode()), overwrite=True)
    print(f"written: {pages / 'robust-activation-map.md'}")


if __name__ == "__main__":
    main()
