"""Locks in an output folder: runs into the same one wait for each other's lists, and know of each other."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

PARTS = "parts"
"""Folder, in an output folder, of what a run keeps so that another one can go on."""

_LISTS, _RUN = ".lists.lock", ".run.lock"
_LEFTOVER = re.compile(r"\.cxr-[0-9a-f]{16}(-maps|-attention)?\.[0-9a-f]{8}|\.[0-9a-f]{16}\.tmp")


class OutputFolder:
    """An output folder that this process writes into.

    Attributes:
        alone: whether no other run was writing into it when this one began. Where the file system has no locks, and on
            Windows, every run counts as alone.
    """

    def __init__(self, folder: Path, descriptor: int, *, alone: bool) -> None:
        self._folder, self._descriptor, self.alone = folder, descriptor, alone

    def share(self) -> None:
        """Lets other runs begin; they find that they are not alone."""
        with contextlib.suppress(OSError):
            _lock(self._descriptor, exclusive=False)

    @contextlib.contextmanager
    def lists(self) -> Iterator[None]:
        """No other run reads or writes the lists of the folder in this block."""
        descriptor = os.open(self._folder / _LISTS, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with contextlib.suppress(OSError):
                _lock(descriptor, exclusive=True)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[OutputFolder]:
    """Makes the folder, if it is missing; a run that is alone removes what killed runs left in it.

    Args:
        folder: of results.

    Yields:
        The folder; until it is shared, other runs wait at this point.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, alone = _enter(folder)
    try:
        yield OutputFolder(folder, descriptor, alone=alone)
    finally:
        with contextlib.suppress(OSError):
            _lock(descriptor, exclusive=True, wait=False)
            # Nobody else is here.
            for name in (_LISTS, _RUN):
                (folder / name).unlink(missing_ok=True)
        os.close(descriptor)


def _enter(folder: Path) -> tuple[int, bool]:
    """The run's lock, and whether no other run has it."""
    while True:
        descriptor = os.open(folder / _RUN, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor, exclusive=True, wait=False)
            alone = True
        except BlockingIOError:
            _lock(descriptor, exclusive=False)
            alone = False
        except OSError:
            return descriptor, True
        # The run that had it may have removed the file meanwhile, and the next one would lock another.
        if _is_still(folder / _RUN, descriptor):
            if alone:
                _remove_leftovers(folder)
            return descriptor, alone
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _remove_leftovers(folder: Path) -> None:
    """Removes what killed runs did not finish; with the exclusive lock no living run has any."""
    for path in [*folder.iterdir(), *folder.glob(f"{PARTS}/.*")]:
        if not _LEFTOVER.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lock(descriptor: int, *, exclusive: bool, wait: bool = True) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
