"""Robust Perturbation against the other methods of the slides, film by film."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_robustinterp.metrics.intervals import bootstrap_interval

Row = dict[str, Any]

FIRST = "robust_perturbation"
RIVALS = ("meaningful_perturbation", "extremal_perturbation", "rise")
COLUMNS = ("deletion", "insertion", "cds_log_odds", "cds_kl")


def differences(rows: Sequence[Row]) -> list[Row]:
    """Mean over films of a metric of Robust Perturbation less that of a rival, plain maps, with an interval by patient.

    Args:
        rows: of :func:`~monai_robustinterp.study.runner.run_table`.

    Returns:
        Of each rival and column that two patients have: ``rival``, ``column``, ``films``, ``mean``, ``low``, ``high``.
    """
    found = []
    for rival in RIVALS:
        for column in COLUMNS:
            pairs = _pairs(rows, rival, column)
            patients = [patient for patient, _ in pairs]
            if len(set(patients)) < 2:
                continue
            values = np.array([value for _, value in pairs])
            interval = bootstrap_interval(lambda sample: float(np.mean(sample)), patients, values)
            found.append(
                {
                    "rival": rival,
                    "column": column,
                    "films": len(pairs),
                    "mean": float(values.mean()),
                    "low": interval.low,
                    "high": interval.high,
                }
            )
    return found


def _pairs(rows: Sequence[Row], rival: str, column: str) -> list[tuple[int, float]]:
    """Patient and difference of each film that has both values."""
    ours, theirs = _values(rows, FIRST, column), _values(rows, rival, column)
    return [(ours[film][0], ours[film][1] - theirs[film][1]) for film in ours if film in theirs]


def _values(rows: Sequence[Row], name: str, column: str) -> dict[int, tuple[int, float]]:
    """Patient and value of each film."""
    found = {}
    for row in rows:
        value = row.get("metrics", {}).get(column, {}).get("value")
        if (row["name"], row["kind"]) == (name, "plain") and value is not None:
            found[row["film"]] = (row["patient"], float(value))
    return found
