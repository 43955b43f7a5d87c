"""Runs a table: every map of every film, then every metric of every map; a run that was ended goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from monai_robustinterp.study.bench import Bench, Refused, Row
from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.processes import processes


def run_table(
    plan: TablePlan, output: Path, *, workers: int = 1, progress: Callable[[], object] | None = None
) -> list[Row]:
    """The rows of a table, film by film.

    What fails is in its row with a sentence, and the rest goes on. Parts are written whole, so a run that was ended
    goes on where it was; parts of other settings, films, weights or versions are made anew.

    Args:
        plan: what is wanted.
        output: folder of the parts, ``parts/``.
        workers: processes, of one thread each if there are several; each has its own copy of the network.
        progress: called when a film has all its maps, and when it has all its metrics: twice a film.

    Returns:
        A row of each film and contender (:meth:`~monai_robustinterp.study.bench.Bench.rows`).

    Raises:
        InputRefused: if the bundle cannot be built, or a process was ended from outside.
    """
    report = progress or (lambda: None)
    numbers = range(len(plan.films))
    rows: list[Row] = []
    with processes(partial(Bench, plan, output), workers) as call:
        taken: list[Refused] = []
        for refused in call(Bench.maps, numbers):
            taken.append(refused)
            report()
        for found in call(partial(Bench.rows, taken=taken), numbers):
            rows += found
            report()
    return rows
