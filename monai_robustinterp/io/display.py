"""The source image as a viewer shows it, for the picture below the votes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_robustinterp.io.reader import ChestXRayReader

_STATED = ("window", "VOI", "header", "8-bit", "unit range")


def display_image(path: str | Path) -> npt.NDArray[np.float32]:
    """Gray display values in [0, 1], shape [H, W].

    Where the file states no display range, the 1st to 99th percentile is shown; that touches the picture only, never
    what the network sees.
    """
    with warnings.catch_warnings():
        # Whoever read the file for the network has been warned already.
        warnings.simplefilter("ignore", UserWarning)
        array, meta = ChestXRayReader().get_data(str(path))
    low, high = float(meta["display_min"]), float(meta["display_max"])
    if not any(word in meta["display_source"] for word in _STATED):
        low, high = (float(value) for value in np.percentile(array, (1, 99)))
    scaled = (array[0] - low) / max(high - low, np.finfo(np.float32).tiny)
    gray: npt.NDArray[np.float32] = np.clip(scaled, 0, 1).astype(np.float32)
    return gray
