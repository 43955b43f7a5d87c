"""The rows of films, kept one by one, and the films of children."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.lungs.films import MarkedFilm
from benchmarks.lungs.models import Contender, film_row, loaded
from monai_robustinterp import SaliencyBundle
from monai_robustinterp.files import file_sha256
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import bundle_settings
from monai_robustinterp.training.tables import LabeledImage

Row = dict[str, Any]


def rows_of(
    output: Path, name: str, tried: Sequence[tuple[Contender, Sequence[MarkedFilm]]], n_samples: int, *, workers: int
) -> list[list[Row]]:
    """Rows of each contender's films, kept one by one, and their table."""
    cells = []
    for contender, films in tried:
        shared = settings_of(contender, loaded(contender, n_samples=n_samples), n_samples=n_samples)
        cells += [
            Cell(
                name=f"{contender.label}-{film.path.stem}",
                labels={"model": contender.label},
                settings=shared
                | {"film": file_sha256(film.path), "marks": (film.boxed and film.boxed.boxes, film.polygons)},
                make=partial(film_row, contender, film, n_samples=n_samples),
            )
            for film in films
        ]
    found = iter(kept_rows(output, name, cells, workers=workers))
    return [[next(found) for _ in films] for _, films in tried]


def positives(items: Sequence[LabeledImage], count: int) -> list[MarkedFilm]:
    """The first films of children with opacity, one a patient, in the order of their names."""
    found: dict[str, MarkedFilm] = {}
    for item in sorted(items, key=lambda item: item["image"]):
        if item["source"] != "chest_xray14" and item["opacity"] == 1:
            film = MarkedFilm(path=Path(item["image"]), patient=item["patient"], boxed=None, polygons=())
            found.setdefault(item["patient"], film)
    return list(found.values())[:count]


def settings_of(contender: Contender, bundle: SaliencyBundle, **more: Any) -> dict[str, Any]:
    """All that a part depends on."""
    return {"label": contender.label, "overrides": dict(contender.overrides)} | bundle_settings(bundle) | more
