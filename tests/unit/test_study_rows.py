"""Rows of a study: parts that a stopped run leaves, one table of all rows, and the same of several processes."""

from __future__ import annotations

import json
import math
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.study.row_files import write_rows
from monai_robustinterp.study.rows import Cell, kept_rows, slug


def measured(film: str, count: int) -> list[dict[str, Any]]:
    return [{"film": film, "m": m, "radius": np.float64(m / 3), "cells": (m, m + 1)} for m in range(1, count + 1)]


def refuse() -> None:
    pytest.fail("made again")


def place() -> dict[str, int]:
    return {"process": os.getpid(), "threads": torch.get_num_threads()}


def cells(*, count: int = 2, **makes: Any) -> list[Cell]:
    return [
        Cell(
            name=f"one, {film}",
            labels={"candidate": "one"},
            settings={"film": film, "count": count},
            make=makes.get(film, partial(measured, film, count)),
        )
        for film in ("a", "b", "c")
    ]


def stop() -> None:
    raise KeyboardInterrupt


def endless() -> None:
    total = 0
    while True:
        # As code does that goes on after any failure.
        try:
            total += 1
        except Exception:
            continue


def test_a_run_that_was_ended_goes_on(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        kept_rows(tmp_path, "films", cells(b=stop))
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["films-one--a.json"]
    assert not (tmp_path / "films.csv").exists()
    found = kept_rows(tmp_path, "films", cells(a=refuse))
    assert [[row["film"] for row in rows] for rows in found] == [["a", "a"], ["b", "b"], ["c", "c"]]
    assert found[1][1] == {"film": "b", "m": 2, "radius": 2 / 3, "cells": [2, 3]}
    assert kept_rows(tmp_path, "films", cells(a=refuse, b=refuse, c=refuse)) == found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cell_that_fails_is_a_row_that_says_why_and_the_rest_goes_on(workers, tmp_path) -> None:
    broken = partial(int, "Doe^Jane")
    with pytest.raises(InputRefused, match="1 of 3 parts of the table 'films' failed") as refused:
        kept_rows(tmp_path, "films", cells(b=broken), workers=workers)
    assert "Doe" not in str(refused.value) and "one, b" not in str(refused.value)
    table = pyarrow.parquet.read_table(tmp_path / "films.parquet")
    assert table["film"].to_pylist() == ["a", "a", None, "c", "c"] and table["candidate"].to_pylist() == ["one"] * 5
    assert table["part"].to_pylist() == [None, None, "one, b", None, None]
    assert "unexpected ValueError" in table["refused"].to_pylist()[2]
    # No part is left of it, so that another run tries it again, and only it.
    found = kept_rows(tmp_path, "films", cells(a=refuse, c=refuse), workers=workers)
    assert [len(rows) for rows in found] == [2, 2, 2]
    assert "refused" not in pyarrow.parquet.read_table(tmp_path / "films.parquet").column_names


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cell_beyond_its_cpu_time_is_ended(workers, tmp_path) -> None:
    before = signal.getsignal(signal.SIGPROF)
    with pytest.raises(InputRefused, match=r"it took more than 0\.2 CPU seconds"):
        kept_rows(tmp_path, "films", cells(b=endless), workers=workers, seconds=0.2)
    table = pyarrow.parquet.read_table(tmp_path / "films.parquet")
    assert table["film"].to_pylist() == ["a", "a", None, "c", "c"]
    # What is done within its time is not ended later.
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0) and signal.getsignal(signal.SIGPROF) is before


def test_parts_of_other_settings_are_made_anew(tmp_path) -> None:
    kept_rows(tmp_path, "films", cells())
    found = kept_rows(tmp_path, "films", cells(count=1))
    assert [len(rows) for rows in found] == [1, 1, 1]
    assert len(pyarrow.parquet.read_table(tmp_path / "films.parquet")) == 3


def test_the_table_has_a_line_a_row_in_both_files(tmp_path) -> None:
    kept_rows(tmp_path, "films", cells())
    whole = pyarrow.parquet.read_table(tmp_path / "films.parquet")
    assert whole.column_names == ["candidate", "film", "m", "radius", "cells"]
    assert whole["film"].to_pylist() == ["a", "a", "b", "b", "c", "c"] and whole["m"].to_pylist() == [1, 2] * 3
    assert [json.loads(text) for text in whole["cells"].to_pylist()] == [[1, 2], [2, 3]] * 3
    # What the text says of a number is the number.
    assert pyarrow.csv.read_csv(tmp_path / "films.csv") == whole


def test_columns_have_the_type_of_their_values(tmp_path) -> None:
    rows = [
        {"yes": True, "number": 1, "radius": "Infinity", "mixed": 1, "none": None},
        {"yes": None, "number": 2, "radius": 0.5, "mixed": "Infinity", "text": "x", "either": True},
        {"yes": False, "radius": None, "mixed": None, "text": None, "either": 2},
    ]
    write_rows(tmp_path / "table", rows)
    table = pyarrow.parquet.read_table(tmp_path / "table.parquet")
    types = {"yes": pa.bool_(), "number": pa.int64(), "radius": pa.float64(), "mixed": pa.float64()}
    types |= {"none": pa.null(), "text": pa.string(), "either": pa.string()}
    assert {field.name: field.type for field in table.schema} == types
    assert table["radius"].to_pylist() == [math.inf, 0.5, None] and table["number"].to_pylist() == [1, 2, None]
    assert table["either"].to_pylist() == [None, "true", "2"]
    write_rows(tmp_path / "table", rows[:1], types={"number": pa.float64()}, suffixes=(".csv",))
    assert (tmp_path / "table.csv").read_text().splitlines()[1].startswith("true,1,inf")
    # Of no row there is no table, not even an earlier one.
    write_rows(tmp_path / "table", [])
    assert list(tmp_path.iterdir()) == []


def test_processes_make_the_same_in_the_same_order(tmp_path) -> None:
    alone = kept_rows(tmp_path / "alone", "films", cells())
    assert kept_rows(tmp_path / "together", "films", cells(), workers=2) == alone
    for name in ("films.csv", "films.parquet", "parts/films-one--b.json"):
        assert (tmp_path / "together" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    # Where nothing is missing no process is started: what cannot be sent to one is no fault.
    assert kept_rows(tmp_path / "together", "films", cells(a=lambda: None), workers=2) == alone


def test_several_processes_have_one_thread_each(tmp_path) -> None:
    (found,) = kept_rows(tmp_path, "places", [Cell(name="x", settings={}, make=place)], workers=2)
    assert found["process"] != os.getpid() and found["threads"] == 1


def test_a_process_that_is_ended_is_said_so_and_finished_parts_stay(tmp_path) -> None:
    with pytest.raises(InputRefused, match="fewer --workers"):
        kept_rows(tmp_path, "films", cells(c=partial(os._exit, 1)), workers=2)
    assert kept_rows(tmp_path, "films", cells(c=list))[2] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/x y", "-..-etc-x-y"),
        ("..", "-"),
        ("", "-"),
        (".hidden", "hidden"),
        ("sigma 0.25, a/b\n", "sigma-0.25--a-b-"),
    ],
)
def test_a_name_of_a_part_leads_nowhere_else(name, expected, tmp_path) -> None:
    assert slug(name) == expected
    kept_rows(tmp_path / "study", "table", [Cell(name=name, settings={}, make=dict)])
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".json"]
    assert files == [Path("study", "parts", f"table-{expected}.json")]


def test_two_cells_never_share_a_part(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"'t-a-b\.json' is of two cells"):
        kept_rows(tmp_path, "t", [Cell(name=name, settings={}, make=refuse) for name in ("a b", "a-b")])


def test_without_cells_there_is_no_table(tmp_path) -> None:
    kept_rows(tmp_path, "films", cells())
    assert kept_rows(tmp_path, "films", []) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts"]
