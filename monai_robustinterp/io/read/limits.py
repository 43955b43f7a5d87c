"""What one file may cost: bytes, seconds and memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import signal
import stat
import sys
from pathlib import Path

from monai_robustinterp.errors import InputRefused

MAX_BYTES = 2**29
"""Of a file, and of what it inflates to. The largest image has 10,000 x 10,000 pixels of 16 bits: 200 MB."""

MAX_MEMORY = 2 * 10**9
"""Bytes of the process that reads."""

SECONDS = 10.0
"""Of computing. A busy machine may take twice as long."""

PIXELS_PER_SECOND = 5e6
_BUSY = 2

_clock_runs = False


def file_bytes(path: Path) -> bytes:
    """The whole file, read once, if it is one of a radiograph's size.

    Raises:
        InputRefused: if it cannot be read, is no regular file, has no byte, or more than 512 MiB, with holes counted.
    """
    try:
        # A pipe would block the opening for ever.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            regular, size = stat.S_ISREG(status.st_mode), status.st_size
            content = file.read(MAX_BYTES) if regular and size <= MAX_BYTES else b""
    except (OSError, ValueError) as error:
        raise InputRefused(
            f"The path could not be opened as a file ({type(error).__name__}); it must be one readable file, no "
            "folder. Check the path and its permissions."
        ) from None
    if not regular:
        raise InputRefused("The path is no regular file (a folder, pipe or device, say); it must be one readable file.")
    if size > MAX_BYTES:
        raise InputRefused(
            f"The file has {size} bytes; the reader takes up to {MAX_BYTES}, more than the largest radiograph has. "
            "Export the image again, without what is behind its pixels."
        )
    if not content:
        raise InputRefused("The file has 0 bytes; an image file has content. Copy it again from the source.")
    return content


def unzipped(content: bytes) -> bytes:
    """What gzip content inflates to.

    Raises:
        InputRefused: if that is more than 512 MiB.
        OSError, EOFError, zlib.error: if it is damaged.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        plain = stream.read(MAX_BYTES + 1)
    check_inflated(len(plain))
    return plain


def check_inflated(size: int) -> None:
    """Refuses what inflates to more than a file may have.

    Raises:
        InputRefused: if it is more than 512 MiB.
    """
    if size > MAX_BYTES:
        raise InputRefused(
            f"The compressed file inflates to more than {MAX_BYTES} bytes, more than the largest radiograph has; it "
            "was made to do harm, or is no radiograph. Export the image again."
        )


def limit_memory() -> None:
    """Lets this process fail, rather than the machine, where a file wants more memory. Linux; elsewhere it is lax."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def start_clock() -> None:
    """From now on this process has ten seconds, and then ends by a signal, which no decoder can hold up."""
    _set_clocks(SECONDS)


def stop_clock() -> None:
    """The file is read."""
    _set_clocks(0)


def allow_pixels(rows: int, columns: int) -> None:
    """A second more for each 5 million declared pixels, once a file, where the clock runs."""
    if _clock_runs:
        _set_clocks(SECONDS + rows * columns / PIXELS_PER_SECOND)


def most_seconds(largest_side: int) -> float:
    """After so long no file is waited for."""
    return _BUSY * (2 * SECONDS + largest_side**2 / PIXELS_PER_SECOND)


def _set_clocks(seconds: float) -> None:
    global _clock_runs
    _clock_runs = seconds > 0
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, _BUSY * seconds)
