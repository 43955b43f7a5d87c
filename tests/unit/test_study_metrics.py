"""What the page of the judged maps says of Robust Perturbation, from rows whose differences are known by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.metrics.page import sections
from benchmarks.metrics.slides import FIRST, differences
from benchmarks.places import ROOT
from monai_robustinterp.study.machine import surroundings


def _row(film: int, name: str, deletion: float | None, *, kind: str = "plain") -> dict[str, Any]:
    return {
        "film": film,
        "patient": film,
        "name": name,
        "kind": kind,
        "metrics": {"deletion": {"value": deletion, "reason": ""}},
    }


def _rows() -> list[dict[str, Any]]:
    """RISE is worse by .1 to .3; Meaningful Perturbation ties; Extremal Perturbation has one film only."""
    rows = [_row(film, FIRST, 0.2) for film in range(3)]
    rows += [_row(film, "rise", 0.3 + 0.1 * film) for film in range(3)]
    rows += [_row(film, "meaningful_perturbation", value) for film, value in enumerate((0.1, 0.2, 0.3))]
    rows += [_row(0, "extremal_perturbation", 0.9), _row(1, "extremal_perturbation", None)]
    return [*rows, _row(0, "rise", 0.0, kind="certified")]


def test_differences_are_paired_by_film_and_need_two_patients() -> None:
    found = {part["rival"]: part for part in differences(_rows())}
    assert set(found) == {"rise", "meaningful_perturbation"}
    assert found["rise"]["mean"] == pytest.approx(-0.2)
    assert found["rise"]["films"] == 3
    assert found["rise"]["high"] < 0
    assert found["meaningful_perturbation"]["low"] < 0 < found["meaningful_perturbation"]["high"]


def test_the_page_says_better_only_where_the_interval_leaves_out_0() -> None:
    one = {
        **{"model": "a model", "bundle": "b", "finding": "x", "films": 3, "patients": 3, "budget": 8},
        **{"sigma": 0.1, "brightness": 0.0, "tilt": 0.0, "denoiser": None, "summary": [], "correlations": []},
        **{"refused": [], "directions": {"deletion": "lower"}, "differences": differences(_rows())},
    }
    results = {
        "plan": {"name": "quick", "seconds": None, "n_samples": 8},
        "surroundings": surroundings("cpu", ROOT),
        "table": one,
    }
    text = "\n".join(line for part in sections(results) for line in part)
    assert "deletion, rise: better." in text.replace("\n", " ")
    assert "deletion, meaningful_perturbation: no difference seen." in text.replace("\n", " ")
