"""Means, intervals and correlations of a table, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from monai_robustinterp.study.summary import correlations, flat_rows, reasons, summary


def row(film: int, patient: int, label: str, value: float | None, **changes: Any) -> dict[str, Any]:
    judged = {
        "settings": {},
        "value": value,
        "reason": "" if value is not None else "the film has no box.",
        "cpu_s": 0.1,
    }
    base = {"film": film, "patient": patient, "present": True, "name": label, "kind": "plain", "label": label}
    return {**base, "settings": {"n": 1}, "refused": "", "cpu_s": 0.5 * film, "metrics": {"hit": judged}, **changes}


def test_means_are_over_films_and_intervals_over_patients() -> None:
    rows = [row(0, 0, "a", 1.0), row(1, 0, "a", 0.0), row(2, 1, "a", 1.0), row(3, 2, "a", None), row(0, 0, "b", 0.25)]
    found = {(one["label"], one["column"]): one for one in summary(flat_rows(rows), ["hit", "cpu_s"])}
    first, second = found["a", "hit"], found["b", "hit"]
    assert (first["films"], first["patients"], first["mean"]) == (3, 2, pytest.approx(2 / 3))
    # A resample of two patients has a mean of 1/2, 2/3 or 1.
    assert (first["low"], first["high"]) == (0.5, 1.0)
    assert (second["films"], second["mean"], second["low"]) == (1, 0.25, None)
    assert found["a", "cpu_s"]["mean"] == pytest.approx(0.75)


def test_flat_rows_have_a_column_a_metric_and_the_reasons_as_text() -> None:
    failed = row(1, 1, "a", None)
    refused = {**row(2, 2, "a", None), "refused": "no such file."}
    del refused["metrics"]
    flat = flat_rows([row(0, 0, "a", 0.5), failed, refused])
    assert [one["hit"] for one in flat] == [0.5, None, None]
    assert [one["reasons"] for one in flat] == ["", "hit: the film has no box.", ""]
    assert flat[0]["settings"] == "n=1" and all(list(one) == list(flat[0]) for one in flat)
    assert reasons([failed, failed, refused]) == [("hit", "the film has no box.", 2), ("map", "no such file.", 1)]


def test_columns_that_rise_together_correlate_and_too_few_or_constant_ones_are_left_out() -> None:
    flat = [{"a": i, "b": i**3, "c": -i, "d": 1.0, "e": i if i < 3 else None} for i in range(6)]
    found = {(one["first"], one["second"]): one for one in correlations(flat, ["a", "b", "c", "d", "e"])}
    assert {pair: one["spearman"] for pair, one in found.items()} == {
        ("a", "b"): pytest.approx(1),
        ("a", "c"): pytest.approx(-1),
        ("b", "c"): pytest.approx(-1),
    }
    assert found["a", "b"]["maps"] == 6
