"""What the process that reads files is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.io.read.formats import read_image
from monai_robustinterp.io.read.header_text import HeaderText
from monai_robustinterp.io.read.mask_file import read_mask

Answer = tuple[dict[str, Any], bytes | memoryview]


def image(job: dict[str, Any], content: bytes) -> Answer:
    """Pixels and facts of one image."""
    pixels, facts = read_image(content, strict=job["strict"])
    return facts, _raw(pixels)


def mask(job: dict[str, Any], _: bytes) -> Answer:
    """Pixels of a mask, one byte each, and what kind of file it is."""
    found = read_mask(Path(job["path"]), job["meta"], segment=job["segment"])
    return {"kind": found.kind, "shape": found.pixels.shape}, _raw(found.pixels)


def header(_: dict[str, Any], content: bytes) -> Answer:
    """The header of a DICOM file."""
    return {"header": HeaderText.of(content)}, b""


def _raw(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")


JOBS: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {"image": image, "mask": mask, "header": header}
