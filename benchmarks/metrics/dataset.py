"""The films of the table as a dataset: what radiologists marked, in pixels of each film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.lungs.films import MarkedFilm
from monai_robustinterp.geometry.regions import Box
from monai_robustinterp.study.dataset import Film


def films_of(films: Sequence[MarkedFilm], *, target: str | int, present: bool = True) -> tuple[Film, ...]:
    """Rows of a dataset, for one finding.

    Args:
        films: square ones with their marks, in shares of the side.
        target: the explained finding.
        present: whether they have it.
    """
    return tuple(_film(film, target, present) for film in films)


def _film(film: MarkedFilm, target: str | int, present: bool) -> Film:
    with Image.open(film.path) as picture:
        columns, rows = picture.size
    boxes = () if film.boxed is None else film.boxed.boxes
    return Film(
        path=Path(film.path),
        patient=film.patient,
        present=present,
        target=target,
        boxes=tuple(_box(box, columns, rows) for box in boxes),
        polygons=tuple(tuple((x * columns, y * rows) for x, y in polygon) for polygon in film.polygons),
    )


def _box(box: tuple[float, float, float, float], columns: int, rows: int) -> Box:
    left, top, width, height = box
    return Box(
        round(columns * left),
        round(rows * top),
        min(columns, round(columns * (left + width))),
        min(rows, round(rows * (top + height))),
    )
