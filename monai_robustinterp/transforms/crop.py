"""Central square crop, invertible."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import Crop, Cropd


class CropCenterSquare(Crop):
    """Crops [C, H, W] to the largest central part that is square; the inverse pads with zeros.

    Square is what has as many rows as columns, or the same extent both ways where ``pixel_aspect`` of the metadata says
    that the pixels are not square. A resize to a square then gives square pixels.
    """

    def __call__(self, img: torch.Tensor, lazy: bool | None = None) -> torch.Tensor:
        """Crops.

        Args:
            img: [C, H, W].
            lazy: see :class:`monai.transforms.Crop`.
        """
        shape = img.peek_pending_shape() if hasattr(img, "peek_pending_shape") else img.shape[1:]
        slices = self.kept(shape, getattr(img, "meta", {}))
        cropped: torch.Tensor = super().__call__(img, slices=slices, lazy=self.lazy if lazy is None else lazy)
        return cropped

    def kept(self, shape: Sequence[int], meta: Mapping[str, Any]) -> tuple[slice, ...]:
        """Rows and columns of an image of this shape [H, W] and these metadata that the crop keeps."""
        aspect = float(meta.get("pixel_aspect", 1.0))
        side = min(shape[0] * aspect, shape[1])
        # round() of a whole number is that number: square pixels have whole sides.
        size = [max(1, round(side / aspect)), max(1, round(side))]
        slices: tuple[slice, ...] = self.compute_slices(roi_center=[length // 2 for length in shape], roi_size=size)
        return slices


class CropCenterSquared(Cropd):
    """Dictionary version of :class:`CropCenterSquare`.

    Args:
        keys: keys of the images.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, cropper=CropCenterSquare(), allow_missing_keys=allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Crops the images of ``keys``."""
        result: dict[Hashable, Any] = super().__call__(data, lazy=lazy)
        return result


CropCenterSquareD = CropCenterSquareDict = CropCenterSquared
