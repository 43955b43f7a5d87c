"""Images for a quick run, under the names that the shipped tables list: they show nothing of a patient."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.classifiers.measures import TABLES
from monai_robustinterp.files import atomic_write

SIDE, PER_GROUP = 64, 2


def make_images(folder: Path) -> tuple[Path, Path]:
    """Writes a few images of each split and label.

    Args:
        folder: made if it is missing.

    Returns:
        The folders of the Kermany and of the ChestX-ray14 images.
    """
    rng = np.random.default_rng(0)
    folders = folder / "kermany", folder / "chest_xray14"
    tables = (
        ("kermany_split.csv", "image", ("split", "pneumonia")),
        ("chest_xray14_split.csv", "Image Index", ("Split", "RSNA Class", "View Position")),
    )
    for target, (table, name, keys) in zip(folders, tables):
        target.mkdir(parents=True, exist_ok=True)
        groups: dict[tuple[str, ...], list[str]] = {}
        with (TABLES / table).open(newline="") as file:
            for row in csv.DictReader(file):
                groups.setdefault(tuple(row[key] for key in keys), []).append(row[name])
        for label, names in groups.items():
            for image in names[:PER_GROUP]:
                _write(target / f"{Path(image).stem}.png", rng, bright=label[1] in ("1", "Lung Opacity"))
    return folders


def _write(path: Path, rng: np.random.Generator, *, bright: bool) -> None:
    values = rng.normal(100, 10, size=(SIDE, SIDE))
    if bright:
        row, column = rng.integers(SIDE // 4, SIDE // 2, size=2)
        values[row : row + SIDE // 4, column : column + SIDE // 4] += 60
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    atomic_write(path, lambda file: image.save(file, format="PNG"), overwrite=True)
