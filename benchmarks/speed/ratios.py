"""Ours over the others, from the rows of timings."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.speed.measure import Row, best_row

BARE_LOOPS = ("bare", "bare_as_given")
BEST_BARE = "best bare loop"


def ratios(rates: Sequence[Row]) -> dict[str, dict[str, float]]:
    """By model: samples per second of ours over each other contender's, each at its best batch.

    Under ``BEST_BARE`` is the faster of the two bare loops, and under "captum, all N in one batch" Captum's default,
    over which ours is taken at the same m.
    """
    return {model: _of_model(rates, model) for model in models(rates)}


def models(rates: Sequence[Row]) -> list[str]:
    """Keys of the models that have timings, in order."""
    return list(dict.fromkeys(row["model"] for row in rates))


def best_rows(rates: Sequence[Row], model: str) -> dict[str, Row]:
    """By contender its fastest row of the grid."""
    names = dict.fromkeys(
        row["contender"] for row in rates if row["part"] == "grid" and row["model"] == model and "samples_per_s" in row
    )
    return {name: best_row(rates, model, name) for name in names}


def one_batch(n_samples: int) -> str:
    """Key of Captum's default at m copies."""
    return f"captum, all {n_samples} in one batch"


def _of_model(rates: Sequence[Row], model: str) -> dict[str, float]:
    speed = {name: row["samples_per_s"] for name, row in best_rows(rates, model).items()}
    found = {name: speed["ours"] / value for name, value in speed.items() if name != "ours"}
    found[BEST_BARE] = speed["ours"] / max(speed[name] for name in BARE_LOOPS)
    rows = [row for row in rates if (row["part"], row["model"]) == ("one batch", model) and "samples_per_s" in row]
    ours = {row["n_samples"]: row["samples_per_s"] for row in rows if row["contender"] == "ours"}
    for row in rows:
        if row["contender"] == "captum":
            found[one_batch(row["n_samples"])] = ours[row["n_samples"]] / row["samples_per_s"]
    return found
