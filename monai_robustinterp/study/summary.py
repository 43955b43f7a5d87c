"""What the rows of a table say: means by contender with intervals by patient, and which columns go together."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from monai_robustinterp.metrics.intervals import bootstrap_interval

Row = dict[str, Any]

FACTS = ("map", "both", "ceiling_share", "kept", "covered", "cpu_s")
"""Columns of a certified map, and the CPU seconds of any, that are summed up beside the metrics."""
_FEWEST = 5


def flat_rows(rows: Sequence[Row]) -> list[Row]:
    """The same rows with a column a metric, its value or None, and the reasons of all that have none as one text."""
    names = list(dict.fromkeys(name for row in rows for name in row.get("metrics", {})))
    flat = []
    for row in rows:
        judged = row.get("metrics", {})
        reasons = {name: one["reason"] for name, one in judged.items() if one["reason"]}
        rest = {name: value for name, value in row.items() if name not in ("metrics", "settings")}
        settings = ", ".join(f"{name}={value}" for name, value in row["settings"].items())
        values = {name: judged[name]["value"] if name in judged else None for name in names}
        flat.append(
            {**rest, "settings": settings, **values, "reasons": " ".join(f"{n}: {why}" for n, why in reasons.items())}
        )
    columns = list(dict.fromkeys(name for row in flat for name in row))
    return [{name: row.get(name) for name in columns} for row in flat]


def summary(flat: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """Of each contender and column: ``films`` and ``patients`` that have a value, ``mean``, ``low`` and ``high``.

    The ends are those of a 95 % bootstrap interval by patient; None where fewer than two patients have a value.

    Args:
        flat: of :func:`flat_rows`.
        columns: to sum up.
    """
    found = []
    for label, kind in dict.fromkeys((row["label"], row["kind"]) for row in flat):
        own = [row for row in flat if (row["label"], row["kind"]) == (label, kind)]
        for column in columns:
            known = [row for row in own if _number(row.get(column)) is not None]
            patients = [row["patient"] for row in known]
            values = np.array([float(row[column]) for row in known])
            low = high = None
            if len(set(patients)) > 1:
                interval = bootstrap_interval(lambda sample: float(np.mean(sample)), patients, values)
                low, high = interval.low, interval.high
            found.append(
                {
                    "label": label,
                    "kind": kind,
                    "column": column,
                    "films": len(known),
                    "patients": len(set(patients)),
                    "mean": float(values.mean()) if len(values) else None,
                    "low": low,
                    "high": high,
                }
            )
    return found


def correlations(flat: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """Spearman's correlation of each two columns over the maps that have both, five at least.

    Maps of one film and of one contender resemble each other, so no level of significance is given.
    """
    found = []
    for first, second in itertools.combinations(columns, 2):
        both = [(_number(row.get(first)), _number(row.get(second))) for row in flat]
        pairs = np.array([pair for pair in both if None not in pair], dtype=float)
        if len(pairs) < _FEWEST or (pairs == pairs[0]).all(axis=0).any():
            continue
        found.append(
            {"first": first, "second": second, "maps": len(pairs), "spearman": float(spearmanr(*pairs.T).statistic)}
        )
    return found


def reasons(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    """What has no value, why, and how often: (metric, or "map", sentence, count)."""
    counted: Counter[tuple[str, str]] = Counter(("map", row["refused"]) for row in rows if row["refused"])
    for row in rows:
        counted.update((name, one["reason"]) for name, one in row.get("metrics", {}).items() if one["reason"])
    return [(name, reason, count) for (name, reason), count in sorted(counted.items())]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
