"""Sections of a walk on several processes, and kept in a folder, so that a walk that was ended goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from monai_robustinterp.attention.crossed import Crossed
from monai_robustinterp.attention.line import Line
from monai_robustinterp.attention.properties import Property
from monai_robustinterp.attention.walk import Section, walk
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write, json_bytes

Part = tuple[Section, float, list[Crossed]]
"""A section, the processor seconds that it took, and what it crossed."""


class Parts:
    """A folder with a file of each section that was crossed.

    Args:
        folder: made when the first part is kept.
        key: JSON values, all that a part depends on: parts of another key are made anew.
    """

    def __init__(self, folder: Path, key: Any) -> None:
        self._folder = folder
        self._key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def read(self, section: Section) -> Part | None:
        """The part of a section, if there is one, whole and of this key."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            kept = json.loads(self._path(section).read_text())
            if kept["key"] == self._key and kept["section"] == [section.near, section.far]:
                return section, kept["process_s"], [Crossed.from_json(one) for one in kept["crossed"]]
        return None

    def keep(self, part: Part) -> None:
        """Writes a part, whole or not at all."""
        section, process_s, crossed = part
        ends, pieces = [section.near, section.far], [one.to_json() for one in crossed]
        content = json_bytes({"key": self._key, "section": ends, "process_s": process_s, "crossed": pieces})
        self._folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path(section), lambda file: file.write(content), overwrite=True)

    def remove(self) -> None:
        """Removes the folder of the parts, and the one that it is in if that is empty then."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.parent.rmdir()

    def _path(self, section: Section) -> Path:
        return self._folder / f"{self._key[:16]}-{section.near.hex()}-{section.far.hex()}.json"


@contextlib.contextmanager
def crossings(
    line: Line, properties: Sequence[Property], *, workers: int, parts: Parts | None
) -> Iterator[Callable[[Iterable[Section]], Iterator[Part]]]:
    """Crosses sections, in this process or in several, and gives them in order.

    Each section is computed with one thread of torch, so that its numbers are the same in every process.

    Args:
        line: of the sections.
        properties: to check.
        workers: processes.
        parts: where they are kept.

    Yields:
        A call that crosses sections; of these it looks a few ahead.

    Raises:
        InputRefused: if a process was ended from outside.
    """
    with contextlib.ExitStack() as stack:
        submit: Callable[[Section], Future[Part]]
        if workers == 1:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            stack.callback(torch.set_num_threads, threads)
            submit = lambda section: _done(_cross(line, properties, section))  # noqa: E731
        else:
            pool = ProcessPoolExecutor(
                workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(_sent(line, properties),),
            )
            # What has not begun need not be waited for.
            stack.callback(pool.shutdown, cancel_futures=True)
            submit = lambda section: pool.submit(_work, section)  # noqa: E731
        try:
            yield lambda wanted: _in_order(wanted, submit, ahead=0 if workers == 1 else 2 * workers, parts=parts)
        except BrokenProcessPool as error:
            raise InputRefused(
                "a process of the walk was ended from outside, as where memory runs out. Run it again with fewer "
                "--workers; what was crossed is kept."
            ) from error


def _in_order(
    wanted: Iterable[Section], submit: Callable[[Section], Future[Part]], *, ahead: int, parts: Parts | None
) -> Iterator[Part]:
    waiting: deque[tuple[bool, Future[Part]]] = deque()
    remaining = iter(wanted)
    while True:
        while len(waiting) <= ahead and (section := next(remaining, None)) is not None:
            kept = parts.read(section) if parts is not None else None
            waiting.append((kept is not None, _done(kept) if kept is not None else submit(section)))
        if not waiting:
            return
        known, future = waiting.popleft()
        part = future.result()
        if parts is not None and not known:
            parts.keep(part)
        yield part


def _done(part: Part) -> Future[Part]:
    future: Future[Part] = Future()
    future.set_result(part)
    return future


def _cross(line: Line, properties: Sequence[Property], section: Section) -> Part:
    start = time.process_time()
    crossed = [Crossed.of(piece, properties, up=section.up) for piece in walk(line, section)]
    return section, time.process_time() - start, crossed


def _sent(line: Line, properties: Sequence[Property]) -> bytes:
    try:
        return pickle.dumps((line, list(properties)))
    except Exception as error:
        raise InputRefused("the network cannot be sent to other processes: verify it with one worker.") from error


_SENT: list[tuple[Line, list[Property]]] = []


def _begin(sent: bytes) -> None:
    # A parent that was killed leaves nobody who wants the result.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _SENT[:] = [pickle.loads(sent)]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(section: Section) -> Part:
    line, properties = _SENT[0]
    return _cross(line, properties, section)
