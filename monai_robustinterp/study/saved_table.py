"""A table as files: rows as CSV and Parquet, summary and correlations as CSV, and one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.study.plan import TablePlan
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
    whole = _arrow(flat)
    atomic_write(output / "table.csv", partial(pyarrow.csv.write_csv, whole), overwrite=True)
    atomic_write(output / "table.parquet", partial(pyarrow.parquet.write_table, whole), overwrite=True)
    for name, part in (("summary", summed), ("correlations", together)):
        path = output / f"{name}.csv"
        if part:
            atomic_write(path, partial(pyarrow.csv.write_csv, _arrow(part)), overwrite=True)
        else:
            path.unlink(missing_ok=True)
    page = table_page(plan, rows, summed, together, about=about)
    atomic_write(output / "index.html", lambda file: file.write(page.encode()), overwrite=True)
    films = [
        {"film": number, "image": str(film.path), "patient": film.patient} for number, film in enumerate(plan.films)
    ]
    atomic_write(output / "films.json", lambda file: file.write(json_bytes(films)), overwrite=True, private=True)
    return summed, together


def _arrow(rows: Sequence[Row]) -> pa.Table:
    """Columns of one type each, whatever has no value in them."""
    return pa.table({name: pa.array([row[name] for row in rows], type=_type(name)) for name in rows[0]})


def _type(name: str) -> pa.DataType:
    if name == "present":
        return pa.bool_()
    return pa.string() if name in _TEXT else pa.int64() if name in _WHOLE else pa.float64()
