"""A table as files: rows as CSV and Parquet, summary and correlations as CSV, and one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.row_files import write_rows
from monai_robustinterp.study.summary import FACTS, correlations, flat_rows, summary
from monai_robustinterp.study.table_page import table_page

Row = dict[str, Any]

_TEXT = {"name", "kind", "label", "settings", "refused", "reasons", "column", "first", "second"}
_WHOLE = {"film", "patient", "copies", "covered", "tested", "films", "patients", "maps"}


def save_table(
    plan: TablePlan, rows: Sequence[Row], output: Path, *, about: dict[str, Any]
) -> tuple[list[Row], list[Row]]:
    """Writes the table in place of an earlier one.

    Files: ``table.csv`` and ``table.parquet`` (a row a film and contender), ``summary.csv`` (means by contender with
    95 % intervals by patient), ``correlations.csv``, ``index.html``, and ``films.json``, which alone names files and
    patients.

    Args:
        plan: of the table.
        rows: of :func:`~monai_robustinterp.study.runner.run_table`.
        output: an existing folder.
        about: what the page says of classifier, machine and versions, JSON values.

    Returns:
        :func:`~monai_robustinterp.study.summary.summary` and
        :func:`~monai_robustinterp.study.summary.correlations` of the rows.
    """
    flat = flat_rows(rows)
    columns = [*(name for name in FACTS if any(name in row for row in rows)), *(metric.name for metric in plan.metrics)]
    summed, together = summary(flat, columns), correlations(flat, columns)
    write_rows(output / "table", flat, types=_types(flat))
    write_rows(output / "summary", summed, types=_types(summed), suffixes=(".csv",))
    write_rows(output / "correlations", together, types=_types(together), suffixes=(".csv",))
    page = table_page(plan, rows, summed, together, about=about)
    atomic_write(output / "index.html", lambda file: file.write(page.encode()), overwrite=True)
    films = [
        {"film": number, "image": str(film.path), "patient": film.patient} for number, film in enumerate(plan.films)
    ]
    atomic_write(output / "films.json", lambda file: file.write(json_bytes(films)), overwrite=True, private=True)
    return summed, together


def _types(rows: Sequence[Row]) -> dict[str, pa.DataType]:
    """Of each column, whatever has no value in it."""
    return {name: _type(name) for row in rows[:1] for name in row}


def _type(name: str) -> pa.DataType:
    if name == "present":
        return pa.bool_()
    return pa.string() if name in _TEXT else pa.int64() if name in _WHOLE else pa.float64()
