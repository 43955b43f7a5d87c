"""Many cases of one behavior in one test: every case runs, and those that fail are named together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@contextmanager
def collected() -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """Give ``case``, in whose context the cases of a loop run; its arguments name the case.

    Raises:
        ExceptionGroup: at the end, with what every failed case raised.
        AssertionError: no case ran.
    """
    names: list[str] = []
    offenders: list[Exception] = []
    ran = 0

    @contextmanager
    def case(*name: object) -> Iterator[None]:
        nonlocal ran
        ran += 1
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:
            # pytest.raises fails with what is no Exception, which a group cannot hold.
            kept = error if isinstance(error, Exception) else AssertionError(str(error))
            kept.add_note(f"case: {name}")
            names.append(" ".join(map(str, name)))
            offenders.append(kept.with_traceback(error.__traceback__))

    yield case
    assert ran, "no case ran"
    if offenders:
        raise ExceptionGroup(f"{len(offenders)} of {ran} cases: {'; '.join(names)}", offenders)
