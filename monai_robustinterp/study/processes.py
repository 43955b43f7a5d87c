"""Work in this process or in others of one thread each, with results in order."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import torch

from monai_robustinterp.errors import InputRefused

Call = Callable[[Callable[[Any, Any], Any], Sequence[Any]], Iterable[Any]]
"""Of a function and tasks: what the function makes of each process's shared thing and a task, in order."""


@contextlib.contextmanager
def processes(begin: Callable[[], Any], workers: int) -> Iterator[Call]:
    """Calls of functions that share one thing in each process.

    Args:
        begin: makes what the functions of a process share.
        workers: processes; 1 works in this one, with its threads, and others have one thread each. For several all
            that is called and returned must be picklable, and importable from a module.

    Raises:
        InputRefused: if a process was ended from outside.
    """
    if workers == 1:
        shared = begin()
        yield lambda function, tasks: (function(shared, task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(begin,)
    ) as pool:
        try:
            yield lambda function, tasks: pool.map(partial(_run, function), tasks)
        except BrokenProcessPool as error:
            raise InputRefused(
                "a process was ended from outside, as where memory runs out. Run it again with fewer --workers; "
                "finished parts are kept."
            ) from error
        except BaseException:
            # What has not begun need not be waited for.
            pool.shutdown(cancel_futures=True)
            raise


_SHARED: list[Any] = []


def _begin(begin: Callable[[], Any]) -> None:
    # As in the command: warnings of readers and logs of MONAI may quote what a file says of its patient.
    logging.basicConfig(level=logging.CRITICAL)
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    _SHARED[:] = [begin()]


def _run(function: Callable[[Any, Any], Any], task: Any) -> Any:
    return function(_SHARED[0], task)
