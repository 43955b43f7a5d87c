"""CPU time that a piece of work may take."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from monai_robustinterp.errors import InputRefused


class _Spent(BaseException):
    """Not an Exception: no ``except Exception`` of the work on its way out may keep it."""


@contextlib.contextmanager
def cpu_limit(seconds: float | None) -> Iterator[None]:
    """Ends the work inside when it took so many CPU seconds of this process, by all its threads.

    A call into a library is ended when it returns. Only the main thread of a process can be limited.

    Args:
        seconds: above 0; None is no limit.

    Raises:
        InputRefused: if the work took longer, or the system has no such clock (Windows).
    """
    if seconds is None:
        yield
        return
    if not hasattr(signal, "setitimer"):
        raise InputRefused("this system has no clock that ends work after some CPU time: leave the limit out.")
    earlier = signal.signal(signal.SIGPROF, _spent)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _Spent:
        raise InputRefused(f"it took more than {seconds:g} CPU seconds: give it more, or less to do.") from None
    finally:
        signal.signal(signal.SIGPROF, earlier)


def _spent(number: int, frame: FrameType | None) -> NoReturn:
    raise _Spent
