"""The rows of films, kept one by one, and the films of children."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monai_robustinterp
from benchmarks.lungs.films import MarkedFilm
from benchmarks.lungs.models import Contender, film_row
from monai_robustinterp.files import file_sha256
from monai_robustinterp.study.store import kept_json
from monai_robustinterp.training.tables import LabeledImage

Row = dict[str, Any]


def rows_of(output: Path, contender: Contender, films: Sequence[MarkedFilm], n_samples: int) -> list[Row]:
    """Rows of films, kept one by one."""
    bundle = contender.load(n_samples=n_samples)
    rows = []
    for film in films:
        settings = settings_of(contender, bundle, n_samples=n_samples, film=file_sha256(film.path))
        path = output / "films" / f"{slug(contender.label)}-{film.path.stem}-{n_samples}.json"
        rows.append(kept_json(path, settings, lambda film=film: film_row(bundle, film)))
    print(f"  {contender.label}: {len(films)} films", flush=True)
    return rows


def positives(items: Sequence[LabeledImage], count: int) -> list[MarkedFilm]:
    """The first films of children with opacity, one a patient, in the order of their names."""
    found: dict[str, MarkedFilm] = {}
    for item in sorted(items, key=lambda item: item["image"]):
        if item["source"] != "chest_xray14" and item["opacity"] == 1:
            film = MarkedFilm(path=Path(item["image"]), patient=item["patient"], boxed=None, polygons=())
            found.setdefault(item["patient"], film)
    return list(found.values())[:count]


def settings_of(contender: Contender, bundle: Any, **more: Any) -> dict[str, Any]:
    """All that a part depends on."""
    made = {"label": contender.label, "overrides": dict(contender.overrides)} | bundle.files
    parts = {"denoiser": bundle.inferer.recipe.spec(0).denoiser, "lungs": bundle.lungs.settings}
    return made | parts | more | {"monai_robustinterp": monai_robustinterp.__version__}


def slug(label: str) -> str:
    """A label as part of a file's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in label)
