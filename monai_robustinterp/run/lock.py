"""Locks in an output folder: runs into the same one wait for each other's lists, and know of each other."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_LISTS, _RUN = ".lists.lock", ".run.lock"
_LEFTOVER = re.compile(r"\.cxr-[0-9a-f]{16}(-maps)?\.[0-9a-f]{8}|\.[0-9a-f]{16}\.tmp")


class OutputFolder:
    """An output folder that this process writes into.

    Attributes:
        alone: whether no other run was writing into it when this one began. Where the file system has no locks, and on
            Windows, every run counts as alone.
    """

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder, self._descriptor = folder, descriptor
        try:
            _lock(descriptor, exclusive=True, wait=False)
        except BlockingIOError:
            self.alone = False
            self.share()
        except OSError:
            self.alone = True
        else:
            self.alone = True
            self._remove_leftovers()

    def share(self) -> None:
        """Lets other runs begin; they find that they are not alone."""
        with contextlib.suppress(OSError):
            _lock(self._descriptor, exclusive=False)

    @contextlib.contextmanager
    def lists(self) -> Iterator[None]:
        """No other run reads or writes the lists of the folder in this block."""
        with _opened(self._folder / _LISTS) as descriptor:
            with contextlib.suppress(OSError):
                _lock(descriptor, exclusive=True)
            yield

    def _remove_leftovers(self) -> None:
        """Removes what killed runs did not finish; with the exclusive lock no living run has any."""
        for path in self._folder.iterdir():
            if not _LEFTOVER.fullmatch(path.name):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[OutputFolder]:
    """Makes the folder, if it is missing, and removes what killed runs left in it.

    Args:
        folder: of results.

    Yields:
        The folder; until it is shared, other runs wait at this point.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder / _RUN) as descriptor:
        yield OutputFolder(folder, descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    # The file stays: one that is removed could be locked by a run that has it open, and a new one by the next run.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, exclusive: bool, wait: bool = True) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
