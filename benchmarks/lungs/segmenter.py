"""How well the shipped segmenter's lung fields agree with masks drawn by people."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics.hausdorff_distance import HausdorffDistanceMetric
from monai.metrics.meandice import DiceMetric
from PIL import Image

from benchmarks.films import shared_folder
from monai_robustinterp.metrics.intervals import bootstrap_interval
from monai_robustinterp.networks import LungFields

Row = dict[str, Any]

_LUNG = 255


@dataclass(frozen=True, kw_only=True)
class MaskedFilm:
    """A film with the mask of its lungs, by path."""

    name: str
    patient: str
    film: Path
    mask: Path


def masked_films(kermany: Path, masks: Path, covid: Path) -> dict[str, list[MaskedFilm]]:
    """The films to judge by: validation patients of Kermany, and adults of a set that no training has seen.

    Args:
        kermany: folder of the films.
        masks: folder of their masks, PNG files of the same names.
        covid: folder of the other set, with ``images`` and ``masks``.
    """
    return {
        "children (Kermany, validation)": [
            film
            for table in ("kermany_lungs", "kermany_more")
            for film in _listed(table, kermany, masks, splits=("val",))
        ],
        "adults (COVID-19 set, never trained on)": list(
            _listed("covid_v7", covid / "images", covid / "masks", splits=("train", "val"))
        ),
    }


def _listed(table: str, films: Path, masks: Path, *, splits: Sequence[str]) -> Iterable[MaskedFilm]:
    with (shared_folder() / "lungs" / f"{table}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] in splits:
                film, mask = (Path(row[name]).name for name in ("file", "mask"))
                yield MaskedFilm(name=film, patient=row["patient"], film=films / film, mask=masks / mask)


def gray(path: Path) -> torch.Tensor:
    """A film as float [H, W] in [0, 1]."""
    return torch.from_numpy(np.asarray(Image.open(path).convert("L"), dtype=np.float32) / 255)


def agreement(lung_fields: LungFields, films: Sequence[MaskedFilm]) -> list[Row]:
    """A row a film: Dice coefficient, Hausdorff distance (95th percentile, in shares of the side), failure."""
    rows = []
    for one in films:
        film = gray(one.film)
        found = lung_fields(film)
        truth = np.asarray(Image.open(one.mask).convert("L").resize(film.shape[::-1], Image.Resampling.NEAREST))
        known = (truth == 0) | (truth == _LUNG)
        masks = [torch.from_numpy(part & known)[None, None].float() for part in (found.pixels, truth == _LUNG)]
        rows.append(
            {
                "film": one.name,
                "patient": one.patient,
                "dice": float(DiceMetric()(*masks)),
                "hausdorff": float(HausdorffDistanceMetric(percentile=95)(*masks)) / film.shape[0],
                "confidence": found.confidence,
                "failure": found.failure,
            }
        )
    return rows


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means with 95 % bootstrap intervals by patient, the worst film, and what the failures are worth."""
    patients = [row["patient"] for row in rows]
    usable = [row for row in rows if row["failure"] is None]
    return {
        "films": len(rows),
        "patients": len(set(patients)),
        "dice": _interval(patients, [row["dice"] for row in rows]),
        "hausdorff": _interval(patients, [row["hausdorff"] for row in rows]),
        "failed": len(rows) - len(usable),
        "dice_usable": _interval([row["patient"] for row in usable], [row["dice"] for row in usable]),
        "bad": sum(row["dice"] < 0.8 for row in rows),
        "bad_usable": sum(row["dice"] < 0.8 for row in usable),
    }


def _interval(patients: Sequence[str], values: Sequence[float]) -> tuple[float, float, float]:
    def mean(rows: npt.NDArray[np.float64]) -> float:
        return float(np.nanmean(rows))

    found = bootstrap_interval(mean, patients, np.array(values))
    return found.value, found.low, found.high
