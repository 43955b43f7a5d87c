"""Flat rows as CSV and Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from monai_robustinterp.files import atomic_write

Row = Mapping[str, Any]

_INFINITY = "Infinity"


def write_rows(
    stem: Path,
    rows: Sequence[Row],
    *,
    types: Mapping[str, pa.DataType] | None = None,
    suffixes: Sequence[str] = (".csv", ".parquet"),
) -> None:
    """Writes a file of each suffix in place of an earlier one; without rows there is none.

    Args:
        stem: path of the files without their suffix, in an existing folder.
        rows: in order; a row has no value in columns that only others have.
        types: of columns. Others get the type of their values: truth values, whole numbers, numbers (the string
            "Infinity" is one), text; anything else is written as JSON text.
        suffixes: of ``.csv`` and ``.parquet``.
    """
    table = _table(rows, types or {})
    writers = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}
    for suffix in suffixes:
        path = stem.with_name(stem.name + suffix)
        if rows:
            atomic_write(path, partial(writers[suffix], table), overwrite=True)
        else:
            path.unlink(missing_ok=True)


def _table(rows: Sequence[Row], types: Mapping[str, pa.DataType]) -> pa.Table:
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        columns[name] = pa.array(values, type=types[name]) if name in types else _column(values)
    return pa.table(columns)


def _column(values: Sequence[Any]) -> pa.Array:
    known = [value for value in values if value is not None]
    if not known:
        return pa.nulls(len(values))
    if all(isinstance(value, bool) for value in known):
        return pa.array(values, type=pa.bool_())
    if all(type(value) is int for value in known):
        return pa.array(values, type=pa.int64())
    if all(type(value) in (int, float) or value == _INFINITY for value in known):
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    if all(isinstance(value, str) for value in known):
        return pa.array(values, type=pa.string())
    return pa.array([None if value is None else json.dumps(value) for value in values], type=pa.string())
