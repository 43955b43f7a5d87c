"""CPU time and memory of bombs and of the largest films, and what the process of its own costs an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from benchmarks.any_file.spent import cpu_seconds, read_alone
from monai_robustinterp.io.read import decoder, formats
from tests.support.bombs import BOMBS, dicom_frame, jpeg_2000
from tests.support.dicom_factory import make_dx

LARGEST, TABLES = 10_000, 8
REPEATS = 20


def bombs(folder: Path, first: int | None) -> list[dict[str, Any]]:
    """A row a bomb: ``file``, ``said``, ``cpu_s``, ``peak_bytes``.

    Args:
        folder: an existing one, for the files.
        first: so many of them; None takes all.
    """
    rows = []
    for name, (make, _) in list(BOMBS.items())[:first]:
        path = folder / "bomb"
        make(path)
        rows.append({"file": name, **read_alone(path)})
        path.unlink()
    return rows


def largest_films(folder: Path) -> list[dict[str, Any]]:
    """The same of the largest films that are to be read."""
    return [{"file": name, **read_alone(path)} for name, path in _largest(folder / "film.dcm")]


def _largest(path: Path) -> Iterator[tuple[str, Path]]:
    coarse = np.random.default_rng(0).integers(0, 4080, (LARGEST // 8, LARGEST // 8), dtype=np.uint16)
    film = np.kron(coarse, np.ones((8, 8), np.uint16))
    film += np.random.default_rng(1).integers(0, 16, film.shape, dtype=np.uint16)
    yield "uncompressed", make_dx(path, pixels=film)
    yield "JPEG 2000", dicom_frame(path, jpeg_2000(film, bits=12), uid.JPEG2000Lossless, side=LARGEST, bits=12)
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "SIGMOID"}
    yield "sigmoid window", make_dx(path, pixels=film, elements=window)
    dataset = dcmread(make_dx(path, pixels=film, elements={"WindowCenter": None, "WindowWidth": None}))
    # Only the last one shows something; the rescale makes all values floating.
    dataset.VOILUTSequence = [_table(number == TABLES - 1) for number in range(TABLES)]
    dataset.RescaleSlope = 2
    dataset.save_as(path)
    yield f"{TABLES} lookup tables behind a rescale", path


def _table(shows: bool) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "OW", (shows * np.arange(4096, dtype="<u2")).astype("<u2").tobytes())
    return item


def process_costs(films: Sequence[Path]) -> list[dict[str, Any]]:
    """A row a film: CPU milliseconds to read it in the process of its own and in this one, mean of several times."""
    rows = []
    for path in films:
        content = path.read_bytes()
        apart = _mean_ms(partial(decoder.read_image, content, strict=False))
        here = _mean_ms(partial(formats.read_image, content, strict=False))
        rows.append({"film": path.name, "apart_ms": apart, "here_ms": here})
    return rows


def _mean_ms(call: Callable[[], object]) -> float:
    call()
    start = cpu_seconds()
    for _ in range(REPEATS):
        call()
    return 1000 * (cpu_seconds() - start) / REPEATS
