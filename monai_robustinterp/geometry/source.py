"""The image as it was read, and the way from its pixels to the network's input, which a change of the pixels goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_robustinterp.geometry.row_path import Pixels as Pixels
from monai_robustinterp.geometry.row_path import RowPath


@dataclass(frozen=True)
class Source:
    """One image on its own grid.

    Attributes:
        values: what the first step of the preprocessing read, [1, H, W], with the metadata of ``ChestXRayReader``.
        preprocessing: transforms of ``{"image": path}`` to the network's input; the first one reads.
    """

    values: MetaTensor
    preprocessing: Compose

    @cached_property
    def pixels(self) -> Pixels:
        """Display values of the source, not cut off; read-only."""
        low, width = self._display
        pixels: Pixels = (self.values.as_tensor()[0].numpy() - low) / width
        pixels.setflags(write=False)
        return pixels

    def preprocess(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """The network's input that is made of display values, float32 [1, h, w], as if the file had them.

        Args:
            pixels: of the source's shape.
        """
        return self.preprocess_bands(pixels[rows] for rows in self._bands)

    def bands(self) -> Iterator[Pixels]:
        """The pixels from the top, a few rows at a time where :attr:`row_path` is known, else all at once."""
        return (self.pixels[rows] for rows in self._bands)

    def preprocess_bands(self, bands: Iterable[Pixels]) -> npt.NDArray[np.float32]:
        """The same as :meth:`preprocess`, of display values that come as :meth:`bands` does."""
        if self.row_path is not None:
            return self.row_path.input_of(bands)
        (pixels,) = bands
        low, width = self._display
        values = torch.from_numpy(np.ascontiguousarray(low + pixels * width)[None])
        image = MetaTensor(values, meta=dict(self.values.meta))
        made: torch.Tensor = self.preprocessing({"image": image}, start=1)["image"]
        array: npt.NDArray[np.float32] = made.detach().cpu().numpy()
        return array

    @cached_property
    def row_path(self) -> RowPath | None:
        """The preprocessing by rows; None where it is not the known chain, and takes the whole image."""
        return RowPath.of(self.preprocessing, self.values)

    @property
    def _bands(self) -> list[slice]:
        return self.row_path.bands() if self.row_path is not None else [slice(None)]

    @property
    def _display(self) -> tuple[np.float32, np.float32]:
        low, high = (float(self.values.meta[f"display_{end}"]) for end in ("min", "max"))
        return np.float32(low), np.float32(high - low)
