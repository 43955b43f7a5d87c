"""Pages, their pictures and results as files, each whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from matplotlib.figure import Figure

from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.study.tables import strict

Section = Sequence[str]


def write_page(path: Path, sections: Sequence[Section], *, pictures: Mapping[Path, Figure] | None = None) -> None:
    """Writes a Markdown page after its pictures, so that a new page never links to a picture that is not there yet.

    Args:
        path: of the page; what is there is replaced, and a missing folder is made.
        sections: lines of each part; an empty line goes between two parts.
        pictures: PNG files and their figures.
    """
    for picture, figure in (pictures or {}).items():
        _write_figure(picture, figure)
    text = "\n\n".join("\n".join(lines).strip("\n") for lines in sections if lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: file.write(text.encode()), overwrite=True)
    print(f"written: {path}", flush=True)


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON (:func:`~monai_robustinterp.study.tables.strict`) in place of what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: file.write(json_bytes(strict(value))), overwrite=True)


def _write_figure(path: Path, figure: Figure) -> None:
    def write(file: BinaryIO) -> None:
        # No version of matplotlib in the file: the same numbers give the same picture.
        figure.savefig(file, format="png", metadata={"Software": None})

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, write, overwrite=True)
