"""Reads files in a process of its own, within limits of seconds, memory and size.

Parsers and decoders of images are large C libraries, and some files end the whole process in them (SIGSEGV, SIGABRT),
or take minutes and gigabytes. One process does all the reading: it starts with the first file in about half a second,
is asked one file after another, and a new one takes its place when a file has ended it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read import decode_worker
from monai_robustinterp.io.read.header_text import HeaderText
from monai_robustinterp.io.read.limits import file_bytes, most_seconds
from monai_robustinterp.io.read.mask_file import SourceMask
from monai_robustinterp.io.read.messages import receive, send
from monai_robustinterp.io.read.source_image import MAX_SIDE


class Decoder:
    """The process, one at a time; threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, job: Mapping[str, Any], content: bytes = b"") -> tuple[dict[str, Any], bytearray]:
        """Sends a job of :mod:`~monai_robustinterp.io.read.jobs` and waits for its answer.

        Raises:
            InputRefused: if the file is refused, ends the process, or takes more than it may.
        """
        with self._lock:
            answer = self._exchange(job, content)
            if answer is None:
                raise InputRefused(_why(self._end(kill=False)))
        if "refused" in answer[0]:
            raise InputRefused(answer[0]["refused"])
        return answer

    def interrupt(self) -> None:
        """Ends the reading that is under way, if any, in whatever thread: its file is refused."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """Ends the process, as the end of its requests does."""
        with self._lock:
            self._end(kill=False)

    def _exchange(self, job: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytearray] | None:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        alarm = threading.Timer(most_seconds(MAX_SIDE), process.kill)  # it has no clock of its own on Windows
        alarm.daemon = True
        alarm.start()
        try:
            send(process.stdin, job, content)
            return receive(process.stdout)
        except BrokenPipeError:
            return None
        except BaseException:
            # An interrupt: what comes later would be taken for the answer to another file.
            self._end(kill=True)
            raise
        finally:
            alarm.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end(kill=True)
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                # More threads would only take memory.
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
                # glibc: freed pieces of large arrays are kept. To give each back takes longer than the work on it.
                "MALLOC_MMAP_THRESHOLD_": str(2**25),
                "MALLOC_TRIM_THRESHOLD_": str(2**27),
            }
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(decode_worker.__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        return self._process

    def _end(self, *, kill: bool) -> int:
        """Takes leave of the process; returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if kill:
            process.kill()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        return process.wait()


def _why(code: int) -> str:
    if code in (-getattr(signal, "SIGALRM", 0), -getattr(signal, "SIGPROF", 0)):
        return (
            "Reading the file takes longer than 10 s and 1 s for each 5 megapixels, far longer than any radiograph; it "
            "was made to do harm, or is damaged. Copy or export it again."
        )
    if code < 0:
        return (
            f"The file ended the process that decodes ({signal.Signals(-code).name}); decoders fail so on damaged "
            "pixels, or where 2 GB of memory are not enough. Copy the file again, or rewrite it as Explicit VR Little "
            "Endian, for example with DCMTK's dcmdjpeg."
        )
    return (
        f"The process that reads files could not run (exit code {code}): it needs this Python, with pydicom, numpy and "
        "the decoders. Check the installation."
    )


def read_image(content: bytes, *, strict: bool) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """:func:`~monai_robustinterp.io.read.formats.read_image` in the process.

    Raises:
        InputRefused: if the file is no readable radiograph, or reading it takes more than it may.
    """
    facts, pixels = _decoder.ask({"job": "image", "strict": strict}, content)
    facts["dicom_header"] = HeaderText(facts["dicom_header"])
    return np.frombuffer(pixels, np.float32).reshape(1, *facts["shape"]), facts


def read_mask(path: Path, meta: Mapping[str, Any], *, segment: int | None) -> SourceMask:
    """:func:`~monai_robustinterp.io.read.mask_file.read_mask` in the process.

    Raises:
        InputRefused: if the file is no mask of the image, or reading it takes more than it may.
    """
    facts = {
        "filename_or_obj": os.path.abspath(str(meta["filename_or_obj"])),
        "file_format": str(meta["file_format"]),
        "spatial_shape": [int(side) for side in meta["spatial_shape"]],
        "sop_instance_uid": str(meta["sop_instance_uid"]),
    }
    job = {"job": "mask", "path": os.path.abspath(path), "meta": facts, "segment": segment}
    answer, pixels = _decoder.ask(job)
    return SourceMask(pixels=np.frombuffer(pixels, bool).reshape(answer["shape"]), kind=answer["kind"])


def read_header(path: Path) -> HeaderText:
    """The header of a DICOM file.

    Raises:
        InputRefused: if it is no readable DICOM file.
    """
    answer, _ = _decoder.ask({"job": "header"}, file_bytes(path))
    return HeaderText(answer["header"])


def stop_reading() -> None:
    """Ends the reading that is under way in another thread; who waits for it gets a refusal."""
    _decoder.interrupt()


_decoder = Decoder()
atexit.register(_decoder.close)


def _after_fork() -> None:
    # The process answers the parent. Kept, so that nothing is said about one that nobody waits for.
    global _decoder, _of_the_parent
    _of_the_parent, _decoder = _decoder, Decoder()
    atexit.unregister(_of_the_parent.close)
    atexit.register(_decoder.close)


_of_the_parent: Decoder | None = None
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
