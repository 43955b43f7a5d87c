"""The source image as a viewer shows it, for the picture below the votes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.reader import ChestXRayReader

_STATED = ("window", "VOI", "header", "8-bit", "unit range")


def display_gray(values: npt.NDArray[np.float32], meta: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """Gray display values in [0, 1], float32 [H, W].

    Where the file states no display range, the 1st to 99th percentile is shown; that touches the picture only, never
    what the network sees.

    Args:
        values: as :class:`~monai_robustinterp.io.read.reader.ChestXRayReader` gives them, [1, H, W].
        meta: its metadata.
    """
    low, high = float(meta["display_min"]), float(meta["display_max"])
    if not any(word in meta["display_source"] for word in _STATED):
        low, high = (float(value) for value in np.percentile(values, (1, 99)))
    scaled = (values[0] - low) / max(high - low, np.finfo(np.float32).tiny)
    gray: npt.NDArray[np.float32] = np.clip(scaled, 0, 1).astype(np.float32)
    return gray


def display_image(path: str | Path, *, pixel_sha256: str) -> npt.NDArray[np.float32]:
    """:func:`display_gray` of a file that was read before.

    Args:
        path: the file.
        pixel_sha256: hash of its stored pixels when it was read.

    Raises:
        InputRefused: if it holds another image now.
    """
    with warnings.catch_warnings():
        # Whoever read the file for the network has been warned already.
        warnings.simplefilter("ignore", UserWarning)
        values, meta = ChestXRayReader().get_data(str(path))
    if meta["pixel_sha256"] != pixel_sha256:
        raise InputRefused(
            "the source file holds other pixels than when it was read: it was replaced meanwhile, and a map must not "
            "be drawn over another image. Run it again."
        )
    return display_gray(values, meta)
