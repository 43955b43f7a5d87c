"""The arrays of a vote file, read within bounds: nothing is unpacked before the archive's directory allows it."""

from __future__ import annotations

import io
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from monai_robustinterp.audit.strict import AuditError, bounded_bytes, strict_json

VOTES_FORMAT = "monai_robustinterp/votes/6"

_MOST_CELLS = 1024
_LARGEST_FILE = _LARGEST_SUM = 2**26
_NUMBER, _TEXT, _COPIES, _MAP = 2**8, 2**18, 2**24 + 2**8, 2**25
# By name: kind of the values, number of dimensions, and the bytes that it may have with its header. A text has 4 bytes
# a character, so 2**16 characters fit; 2**25 bytes are the counts of a map of 2,048 x 2,048 cells, and
# 2**24 the votes of 524,288 copies of 256 cells.
_REQUIRED = {
    "format": ("U", 0, _TEXT),
    "counts": ("i8", 2, _MAP + 2**8),
    "n_samples": ("i8", 0, _NUMBER),
    "top_k": ("i8", 0, _NUMBER),
    "input_shape": ("i8", 1, _NUMBER),
    "image_sha256": ("U", 0, 2**10),
    "logits": ("f4", 1, _TEXT),
    "decision": ("b1", 0, _NUMBER),
    "found_copies": ("i8", 0, _NUMBER),
    "tied_copies": ("i8", 0, _NUMBER),
    "constant_copies": ("i8", 0, _NUMBER),
    "pairs": ("b1", 0, _NUMBER),
    "spec": ("U", 0, _TEXT),
    "provenance": ("U", 0, _TEXT),
}
_OPTIONAL = {
    "copy_votes": ("u1", 2, _COPIES),
    "copy_found": ("u1", 1, 2**21 + 2**8),
    "regions": ("U", 0, _TEXT),
    "region_cells": ("b1", 3, _MAP),
    "region_hits": ("i8", 2, _MAP),
    "input_warnings": ("U", 0, _TEXT),
}
_ARRAYS = {**_REQUIRED, **_OPTIONAL}

# What numpy writes before an array's values, format version 1.0.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<>|])([A-Za-z])(\d{1,6})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,8},)?(?: \d{1,8},)*(?: \d{1,8})?)\), \} *\n",
    re.DOTALL,
)
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"
_LARGEST_DIRECTORY = 2**13
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_arrays(path: str | Path) -> dict[str, Any]:
    """The arrays of a vote file by name, of the kinds and sizes that the format has; no pickles.

    What an archive declares is checked before anything of it is unpacked, and no more than that is unpacked.

    Args:
        path: of votes.npz.

    Raises:
        AuditError: if the file cannot be opened, is no such archive, is larger than the format needs, holds what the
            format does not have, lacks an array, or a logit is not finite.
    """
    content = bounded_bytes(path, "the vote file", _LARGEST_FILE)
    _check_end(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_directory(archive.infolist())
            arrays = {entry.filename[:-4]: _array(archive, entry) for entry in archive.infolist()}
    except AuditError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds on damaged bytes
        raise AuditError("the vote file cannot be read: it is damaged, or no npz file.") from error
    check_names(arrays)
    check_cells(arrays["counts"].size, arrays)
    if not np.isfinite(arrays["logits"]).all():
        raise AuditError("the vote file has a logit that is NaN or infinite, of which nothing can be certified.")
    return arrays


def check_names(arrays: Any) -> None:
    """Refuses names of arrays that the format does not have, and a lack of those that it must have.

    Raises:
        AuditError: see above.
    """
    foreign = len(set(arrays) - set(_ARRAYS))
    if foreign:
        raise AuditError(
            f"the vote file holds {foreign} arrays that the format {VOTES_FORMAT!r} does not have: it is of another "
            "version, or was added to."
        )
    if not set(_REQUIRED) <= set(arrays):
        raise AuditError(f"the vote file lacks an array of the format {VOTES_FORMAT!r}.")


def check_cells(n_cells: int, arrays: Any) -> None:
    """Refuses votes of each copy of a map of many cells: counting their pairs takes the square of the cells.

    Raises:
        AuditError: see above.
    """
    if "copy_votes" in arrays and n_cells > _MOST_CELLS:
        raise AuditError(
            f"the vote file has the votes of each copy for {n_cells} cells; the format has them for at most "
            f"{_MOST_CELLS}."
        )


def stored_json(text: Any) -> Any:
    """The value of a JSON text of a vote file.

    Raises:
        AuditError: if it is none, not finite, or nested deeper than one of a vote file is.
    """
    try:
        return strict_json(text)
    except (TypeError, ValueError) as error:
        raise AuditError(
            "the vote file has a text that is no JSON with unique keys and finite numbers, or is nested too deep."
        ) from error


def _check_end(content: bytes) -> None:
    """Refuses what has no short directory at its end: zipfile reads it whole, however long it is."""
    end, locator = content[-22:], content[-42:-38]
    if len(content) < 22 or end[:4] != _END or end[20:] != b"\0\0" or locator == _LOCATOR:
        raise AuditError("the vote file cannot be read: it is damaged, or no npz file.")
    if int.from_bytes(end[12:16], "little") > _LARGEST_DIRECTORY:
        raise AuditError(f"the vote file holds more entries than the format {VOTES_FORMAT!r} has arrays.")


def _check_directory(entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise AuditError("the vote file holds two arrays of one name.")
    check_names([name[:-4] if name.endswith(".npy") else f"{name} is no array" for name in names])
    if any(entry.compress_type not in _METHODS or entry.flag_bits & 1 for entry in entries):
        raise AuditError("the vote file is encrypted, or packed in a way that numpy does not write.")
    too_large = any(entry.file_size > _ARRAYS[entry.filename[:-4]][2] for entry in entries)
    if too_large or sum(entry.file_size for entry in entries) > _LARGEST_SUM:
        raise AuditError("the vote file unpacks to more than the counts of an image need: it is damaged, or a bomb.")


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """One array; as many bytes are unpacked as the directory declares, which were checked."""
    with archive.open(entry) as file:
        content = file.read(entry.file_size)
    kind, dimensions, _ = _ARRAYS[entry.filename[:-4]]
    header = _HEADER.match(content[: 2**8])
    if header is None:
        raise AuditError(
            "the vote file cannot be read: it is damaged, or an array is of another kind than the format has."
        )
    length, order, letter, size, by_columns, sides = header.groups()
    shape = tuple(int(side) for side in sides.replace(b" ", b"").split(b",") if side)
    found = letter.decode() + ("" if letter == b"U" else size.decode())
    if found != kind or len(shape) != dimensions or 0 in shape:
        raise AuditError(
            "the vote file cannot be read: it is damaged, or an array is of another kind than the format has."
        )
    dtype = np.dtype(order.decode() + letter.decode() + size.decode())
    start = header.end()
    if int.from_bytes(length, "little") + 10 != start or len(content) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError
    values = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if by_columns == b"True" else "C")
    return np.array(values, dtype.newbyteorder("="), order="C")
