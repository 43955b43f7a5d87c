"""Files that appear whole or not at all, their hashes, and JSON that is always the same."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def atomic_write(
    path: str | os.PathLike[str],
    write_fn: Callable[[BinaryIO], object],
    *,
    overwrite: bool = False,
    private: bool = False,
) -> Path:
    """Write a file under a temporary name beside ``path``, flush it to the disk, then give it its name in one step.

    Whoever looks at ``path``, at any time, sees no file, the old file, or the whole new one. A symbolic link at
    ``path`` is replaced itself; what it points to is never written.

    Args:
        path: the file's final name; its folder must exist.
        write_fn: writes the content to the open binary file that it is given.
        overwrite: whether a file that is there may be replaced.
        private: whether nobody but its owner may read it, as where it names patients or paths.

    Returns:
        The final path.

    Raises:
        FileExistsError: if there is a file and ``overwrite`` is False, even one that appeared meanwhile.
        FileNotFoundError: if the folder is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError("the folder for the output does not exist; create it first.")
    if not overwrite and os.path.lexists(path):
        raise _exists()
    # A leading dot and another suffix, so that no watcher of the folder takes it for a result; short, since a name
    # may be as long as the file system allows.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb", opener=partial(os.open, mode=0o600 if private else 0o666)) as file:
            write_fn(file)
            file.flush()
            os.fsync(file.fileno())
        _give_name(temporary, path, overwrite)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return path


@contextlib.contextmanager
def atomic_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A new folder that gets its name when the block is done, and is removed after an exception.

    Args:
        target: the folder's final name; its parent must exist.
        overwrite: whether a folder that is there is replaced; the old one is removed after the new one is in place.

    Yields:
        The folder to fill, hidden beside ``target``.

    Raises:
        FileExistsError: if there is a folder and ``overwrite`` is False, even one that appeared meanwhile.
    """
    partial, old = (target.with_name(f".{target.name}.{secrets.token_hex(4)}") for _ in range(2))
    partial.mkdir()
    try:
        yield partial
        if overwrite and target.exists():
            os.rename(target, old)
        try:
            os.rename(partial, target)
        except BaseException as error:
            if old.exists():
                os.rename(old, target)
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise _exists() from None
            raise
        _sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _give_name(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # unlike os.replace it fails if the name was taken meanwhile
    except FileExistsError:
        raise _exists() from None
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Some network shares have no hard links; there the check and the renaming are two steps.
        if os.path.lexists(path):
            raise _exists() from None
        os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    # Without this the new name may be lost in a power failure; not every system lets a folder be synchronized.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists() -> FileExistsError:
    # File names may hold patient names, so the message has none.
    return FileExistsError("the output file exists and is kept; remove it, or give another name, or allow overwriting.")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the hash of its content, which tells a damaged file (it is no signature)."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return dict(record) | {"content_sha256": hashlib.sha256(text.encode()).hexdigest()}


def json_bytes(value: Any) -> bytes:
    r"""Strict JSON text (no NaN, no Infinity), UTF-8, with a final newline.

    A byte of a path that is no UTF-8 becomes the escape \udc80 to \udcff, of which ``os.fsencode`` makes it again.
    """
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")
