"""Runs a table: every map of every film, then every metric of every map; a run that was ended goes on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.study.bench import Bench, Refused, Row
from monai_robustinterp.study.plan import TablePlan


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
    with _processes(plan, output, workers) as call:
        taken: list[Refused] = []
        for refused in call("maps", [(number,) for number in numbers]):
            taken.append(refused)
            report()
        for found in call("rows", [(number, taken) for number in numbers]):
            rows += found
            report()
    return rows


_Call = Callable[[str, Sequence[tuple[Any, ...]]], Iterable[Any]]


@contextlib.contextmanager
def _processes(plan: TablePlan, output: Path, workers: int) -> Iterator[_Call]:
    """Calls of a bench's methods, in this process or in others, with results in order."""
    if workers == 1:
        bench = Bench(plan, output)
        yield lambda name, tasks: (getattr(bench, name)(*task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(plan, output)
    ) as pool:
        try:
            yield lambda name, tasks: pool.map(_run, [name] * len(tasks), tasks)
        except BrokenProcessPool as error:
            raise InputRefused(
                "a process of the table was ended from outside, as where memory runs out. Run it again with fewer "
                "--workers; finished parts are kept."
            ) from error
        except BaseException:
            # What has not begun need not be waited for.
            pool.shutdown(cancel_futures=True)
            raise


_BENCH: list[Bench] = []


def _begin(plan: TablePlan, output: Path) -> None:
    # As in the command: warnings of readers and logs of MONAI may quote what a file says of its patient.
    logging.basicConfig(level=logging.CRITICAL)
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    _BENCH[:] = [Bench(plan, output)]


def _run(name: str, task: tuple[Any, ...]) -> Any:
    return getattr(_BENCH[0], name)(*task)
