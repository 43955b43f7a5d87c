"""The films that models are judged on, with what radiologists marked on them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from benchmarks.defaults.films import BoxedFilm, boxed_films
from benchmarks.films import shared_folder
from monai_robustinterp.training.tables import LabeledImage

_FRAME = 1024
CONSOLIDATION = "Consolidation"
"""The one of ChestX-Det's thirteen findings that is nearest to what the opacity network was made for."""

Polygon = tuple[tuple[float, float], ...]
Cells = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MarkedFilm:
    """A film with what was marked on it.

    Attributes:
        path: of the film, square.
        patient: its number.
        boxed: with boxes of the RSNA and the NIH; None without.
        polygons: of ChestX-Det's consolidations, corners in shares of the side; none without.
    """

    path: Path
    patient: str
    boxed: BoxedFilm | None
    polygons: tuple[Polygon, ...]

    def cells(self, truth: str, side: int) -> Cells | None:
        """Share of each of side x side cells in ``boxes`` or ``polygons``, [side, side]; None if there are none."""
        if truth == "boxes":
            return None if self.boxed is None else self.boxed.cells(side)
        return _drawn(self.polygons, side) if self.polygons else None


def marked_films(items: Sequence[LabeledImage]) -> list[MarkedFilm]:
    """The validation films that have boxes or polygons, in the order of their names."""
    boxed = {film.path.stem: film for film in boxed_films(items)}
    polygons = polygons_of(CONSOLIDATION)
    return [
        MarkedFilm(
            path=Path(item["image"]), patient=item["patient"], boxed=boxed.get(name), polygons=polygons.get(name, ())
        )
        for name, item in sorted((Path(item["image"]).stem, item) for item in items)
        if name in boxed or name in polygons
    ]


def normal_films(items: Sequence[LabeledImage]) -> list[MarkedFilm]:
    """The validation films of ChestX-ray14 without opacity, in the order of their names; nothing is marked on them."""
    return [
        MarkedFilm(path=Path(item["image"]), patient=item["patient"], boxed=None, polygons=())
        for item in sorted(items, key=lambda item: Path(item["image"]).stem)
        if item["source"] == "chest_xray14" and item["opacity"] == 0
    ]


def polygons_of(finding: str) -> dict[str, tuple[Polygon, ...]]:
    """ChestX-Det's outlines of a finding by image name without suffix, corners in shares of the side."""
    found: dict[str, list[Polygon]] = {}
    with (shared_folder() / "chestxdet.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["finding"] == finding and row["polygon"]:
                corners = tuple((x / _FRAME, y / _FRAME) for x, y in json.loads(row["polygon"]))
                found.setdefault(Path(row["image"]).stem, []).append(corners)
    return {name: tuple(polygons) for name, polygons in found.items()}


def _drawn(polygons: Sequence[Polygon], side: int) -> Cells:
    fine = 32
    picture = Image.new("L", (side * fine, side * fine))
    for polygon in polygons:
        ImageDraw.Draw(picture).polygon([(x * side * fine, y * side * fine) for x, y in polygon], fill=1)
    return np.asarray(picture, dtype=np.float64).reshape(side, fine, side, fine).mean(axis=(1, 3))
