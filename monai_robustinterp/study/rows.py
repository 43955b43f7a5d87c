"""Rows of a study: each cell is measured once and kept, and the rows of all cells are one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.run.lock import PARTS
from monai_robustinterp.study.cpu_limit import cpu_limit
from monai_robustinterp.study.processes import processes
from monai_robustinterp.study.row_files import write_rows
from monai_robustinterp.study.store import kept_json, left_json

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is measured at once and kept as one part.

    Attributes:
        name: of its part; no other cell of the table has it.
        settings: JSON values, all that the part depends on.
        make: measures it: a row, or several, JSON values. For several processes it must be picklable, and of a module
            that is not the started one (``__main__``).
        labels: columns of the table before those of its rows.
    """

    name: str
    settings: Mapping[str, Any]
    make: Callable[[], Any]
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Failed:
    """Of a cell that was not measured.

    Attributes:
        reason: a sentence.
    """

    reason: str


def kept_rows(
    output: Path, name: str, cells: Sequence[Cell], *, workers: int = 1, seconds: float | None = None
) -> list[Any]:
    """What each cell makes, kept or new, in order; a bar on stderr shows how far it is.

    Parts are written whole, so a run that was ended goes on where it was; parts of other settings are made anew. A cell
    that fails has a row with the sentence that says why (``refused``), and the rest goes on. It leaves no part: another
    run tries it again.

    Args:
        output: folder of the parts, ``parts/NAME-CELL.json``, and of the table, ``NAME.csv`` and ``NAME.parquet``, a
            line a row (:func:`~monai_robustinterp.study.row_files.write_rows`).
        name: of the table.
        cells: in order.
        workers: processes (:func:`~monai_robustinterp.study.processes.processes`).
        seconds: of CPU time that a cell may take (:func:`~monai_robustinterp.study.cpu_limit.cpu_limit`); None is no
            limit. What was measured within another limit is kept.

    Returns:
        Of each cell its row or its rows, as JSON gives them back: lists for tuples, text for keys.

    Raises:
        ValueError: if two cells have one part.
        InputRefused: if a process was ended from outside, or, when the table is written, if a cell failed.
    """
    stem = output / PARTS / name
    paths = [_path(stem, cell) for cell in cells]
    if twice := [path.name for path, count in Counter(paths).items() if count > 1]:
        raise ValueError(f"the part {twice[0]!r} is of two cells; each needs a name of its own.")
    missing = any(left_json(path, cell.settings) is None for path, cell in zip(paths, cells))
    found: list[Any] = []
    with (
        tqdm(total=len(cells), desc=name, unit=" parts") as bar,
        processes(partial(Path, stem), workers if missing else 1) as call,
    ):
        for part in call(partial(_kept, seconds=seconds), cells):
            found.append(part)
            bar.update()
    output.mkdir(parents=True, exist_ok=True)
    write_rows(output / name, [{**cell.labels, **row} for cell, part in zip(cells, found) for row in _rows(cell, part)])
    if failed := [part.reason for part in found if isinstance(part, _Failed)]:
        raise InputRefused(
            f"{len(failed)} of {len(cells)} parts of the table {name!r} failed, the first one so: {failed[0]} The "
            "table says which and why (part, refused). All others are kept: run it again to try these."
        )
    return found


def slug(name: str) -> str:
    """A name as part of a file's name: letters, digits, points and underscores stay, all else is a hyphen."""
    return "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in name).lstrip(".") or "-"


def _path(stem: Path, cell: Cell) -> Path:
    return stem.with_name(f"{slug(stem.name)}-{slug(cell.name)}.json")


def _kept(stem: Path, cell: Cell, *, seconds: float | None) -> Any:
    def make() -> Any:
        with cpu_limit(seconds):
            return cell.make()

    try:
        return kept_json(_path(stem, cell), cell.settings, make)
    except Exception as error:
        return _Failed(refusal_reason(error))


def _rows(cell: Cell, part: Any) -> list[Row]:
    if isinstance(part, _Failed):
        return [{"part": cell.name, "refused": part.reason}]
    return part if isinstance(part, list) else [part]
