"""The preprocessing of the shipped bundles by rows: the values that a whole film gives, in the memory of a few rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Resized
from monai.utils import ensure_tuple
from torch.nn import functional

from monai_robustinterp.geometry.native import unknown_step
from monai_robustinterp.transforms import CropCenterSquared

Pixels = npt.NDArray[np.float32]
"""Display values, float32 [H, W]: 0 is shown black and 1 white; what lies beyond is cut off by a display."""

BAND = 2**17
"""Pixels of a film that are worked on at once, about: few enough for a core's cache."""


@dataclass(frozen=True)
class RowPath:
    """The chain of :func:`~monai_robustinterp.geometry.native.native_scale`: display range, crop, area means.

    Attributes:
        low: the value that is shown black.
        width: of the display range.
        rows: of the film that the crop keeps.
        columns: the same.
        size: rows and columns of the network's input.
    """

    low: np.float32
    width: np.float32
    rows: range
    columns: range
    size: tuple[int, int]

    @classmethod
    def of(cls, preprocessing: Compose, values: MetaTensor) -> RowPath | None:
        """The path of one image, or None if the preprocessing is another one.

        Args:
            preprocessing: transforms of ``{"image": path}`` to the network's input.
            values: what its first step read, [1, H, W], with the metadata of ``ChestXRayReader``.
        """
        kinds = {type(step): step for step in preprocessing.transforms}
        size: tuple[int, ...] = ensure_tuple(kinds[Resized].resizer.spatial_size) if Resized in kinds else ()
        if len(size) != 2 or min(size) < 1 or unknown_step(preprocessing, size):
            return None
        height, width = size
        meta, shape = values.meta, values.shape[1:]
        crop = kinds.get(CropCenterSquared)
        kept = crop.cropper.kept(shape, meta) if crop else (slice(None), slice(None))
        rows, columns = (range(*part.indices(length)) for part, length in zip(kept, shape))
        low, high = float(meta["display_min"]), float(meta["display_max"])
        return cls(np.float32(low), np.float32(high - low), rows, columns, (height, width))

    def bands(self) -> list[slice]:
        """Consecutive rows of the film, from the top to the last one that the crop keeps."""
        at_once = max(1, BAND * self.size[0] // (len(self.rows) * len(self.columns)))
        lasts = [*range(at_once - 1, self.size[0] - 1, at_once), self.size[0] - 1]
        ends = [self.rows.start + self._window(last).stop for last in lasts]
        return [slice(start, end) for start, end in zip([0, *ends], ends)]

    def input_of(self, bands: Iterable[Pixels]) -> npt.NDArray[np.float32]:
        """The network's input, float32 [1, h, w], of display values.

        Args:
            bands: as :meth:`bands` cuts the film, in order.
        """
        made = np.empty((1, *self.size), np.float32)
        held, top, done = np.empty((0, len(self.columns)), np.float32), 0, 0
        for rows, band in zip(self.bands(), bands):
            inside = band[max(0, self.rows.start - rows.start) :, self.columns.start : self.columns.stop]
            held = np.concatenate([held, self._scaled(inside)])
            while done < self.size[0] and (window := self._window(done)).stop <= top + len(held):
                means = torch.from_numpy(held[window.start - top : window.stop - top])[None]
                made[0, done] = functional.adaptive_avg_pool2d(means, (1, self.size[1]))[0, 0]
                done += 1
            # Windows overlap where the sizes do not divide.
            first = self._window(done).start
            held, top = held[first - top :], first
        return made

    def _window(self, row: int) -> range:
        """Rows of the crop whose mean is a row of the input."""
        height, wanted = len(self.rows), self.size[0]
        return range(row * height // wanted, -(-(row + 1) * height // wanted))

    def _scaled(self, pixels: Pixels) -> Pixels:
        """What ``ScaleDisplayRanged`` makes of a file with these display values."""
        scaled: Pixels = ((self.low + pixels * self.width) - self.low) / self.width
        return np.clip(scaled, 0, 1, out=scaled)
