"""Ours over the others, from the rows of timings."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.speed.measure import Row, best_row

BARE_LOOPS = ("bare", "bare_as_given")
BEST_BARE = "best bare loop"
CAPTUM_DEFAULT = "Captum's default"


def ratios(rates: Sequence[Row], per: str = "samples_per_s") -> dict[str, dict[str, float]]:
    """By model: samples per second of ours over each other contender's, each at its best batch by the same measure.

    Under ``BEST_BARE`` is the faster of the two bare loops, and under :func:`one_batch` Captum's default, over which
    ours is taken at the same m.

    Args:
        rates: rows of timings.
        per: "samples_per_s", or "samples_per_cpu_s": seconds of the clock, or of the process on all cores.
    """
    return {model: _of_model(rates, model, per) for model in models(rates)}


def models(rates: Sequence[Row]) -> list[str]:
    """Keys of the models that have timings, in order."""
    return list(dict.fromkeys(row["model"] for row in rates))


def best_rows(rates: Sequence[Row], model: str, per: str = "samples_per_s") -> dict[str, Row]:
    """By contender its fastest row of the grid; ``per`` as for :func:`ratios`."""
    names = dict.fromkeys(
        row["contender"] for row in rates if row["part"] == "grid" and row["model"] == model and "samples_per_s" in row
    )
    return {name: best_row(rates, model, name, per) for name in names}


def fastest_by_contender(rows: Sequence[Row], per: str = "samples_per_s") -> dict[str, Row]:
    """By contender its fastest of these rows; ``per`` as for :func:`ratios`."""
    best: dict[str, Row] = {}
    for row in rows:
        if row[per] > best.get(row["contender"], {}).get(per, 0.0):
            best[row["contender"]] = row
    return best


def one_batch(n_samples: int) -> str:
    """Key of Captum's default at m copies."""
    return f"{CAPTUM_DEFAULT}, all {n_samples} copies in one batch"


def _of_model(rates: Sequence[Row], model: str, per: str) -> dict[str, float]:
    speed = {name: row[per] for name, row in best_rows(rates, model, per).items()}
    found = {name: speed["ours"] / value for name, value in speed.items() if name != "ours"}
    found[BEST_BARE] = speed["ours"] / max(speed[name] for name in BARE_LOOPS)
    rows = [row for row in rates if (row["part"], row["model"]) == ("one batch", model) and "samples_per_s" in row]
    ours = {row["n_samples"]: row[per] for row in rows if row["contender"] == "ours"}
    for row in rows:
        if row["contender"] == "captum":
            found[one_batch(row["n_samples"])] = ours[row["n_samples"]] / row[per]
    return found
