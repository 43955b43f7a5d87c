"""A model that learned a planted letter, and a model that did not, at the noise that alarms are tried at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lungs.films import MarkedFilm
from benchmarks.lungs.models import Contender
from benchmarks.lungs.plan import EVIDENCE
from benchmarks.lungs.plant import plant

WHITE = {"sigma": 0.1, "denoiser": "none", "brightness": 0.0, "tilt": 0.0}


def letter_model(weights: Path, interpreter: str, **more: Any) -> Contender:
    """The evidence network with weights that learned a letter; ``more`` settings are told by its label."""
    model = clean_model(interpreter, **more)
    overrides = {**model.overrides, "ckpt_path": str(weights)}
    return dataclasses.replace(model, label=model.label.replace("evidence", "letter"), overrides=overrides)


def clean_model(interpreter: str, **more: Any) -> Contender:
    """The evidence network as it is shipped, at the same noise."""
    label = ", ".join(["evidence", interpreter, *(f"{name} = {value}" for name, value in more.items())])
    return Contender(label=label, bundle=EVIDENCE, overrides=WHITE | {"interpreter_name": interpreter} | more)


def lettered(output: Path, films: Sequence[MarkedFilm]) -> list[MarkedFilm]:
    """The films with the letter."""
    paths = with_letter(output, [film.path for film in films])
    return [dataclasses.replace(film, path=path) for film, path in zip(films, paths)]


def with_letter(output: Path, paths: Sequence[Path]) -> list[Path]:
    """Copies with the letter, in ``planted/``."""
    folder = output / "planted"
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        plant(path, folder, letter=True)
    return [folder / f"{path.stem}.png" for path in paths]
