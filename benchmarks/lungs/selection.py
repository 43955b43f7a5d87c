"""What a contender's decisions are worth, and the rule of the plan applied."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.defaults.measures import areas

Row = dict[str, Any]

KEPT, AUC_LOSS = 0.95, 0.01


def decided(rows: Sequence[Row]) -> Row:
    """Areas under the curve by source, clean and under the noise, and decisions kept."""
    return {
        "clean_auc": areas(rows, "clean"),
        "noisy_auc": areas(rows, "noisy"),
        "decisions_kept": statistics.mean(row["kept"] for row in rows),
        "kept_by_source": {
            source: statistics.mean(row["kept"] for row in rows if row["source"] == source)
            for source in sorted({row["source"] for row in rows})
        },
    }


def keeps(found: Row) -> bool:
    """Whether a candidate keeps to both conditions of the rule."""
    losses = [clean - found["noisy_auc"][source] for source, clean in found["clean_auc"].items()]
    return found["decisions_kept"] >= KEPT and max(losses) <= AUC_LOSS


def chosen(tried: Sequence[Row]) -> int:
    """Number of the candidate that the rule takes; candidates stand in the order of their noise."""
    allowed = [number for number, found in enumerate(tried) if keeps(found)]
    return max(allowed, key=lambda number: tried[number]["both"]) if allowed else 0
