"""The linear window of the source as a transform: display range to [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils.enums import TransformBackends


class ScaleDisplayRange(Transform):
    """Map the values that are shown black and white, ``display_min`` and ``display_max`` of the meta, to 0 and 1.

    Args:
        clip: cut values outside the range to 0 and 1, as a display does; otherwise they keep their distance.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, clip: bool = True) -> None:
        self.clip = clip

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        """Scale one image.

        Args:
            img: ``MetaTensor`` of any shape with the two meta entries, as ``ChestXRayReader`` gives it.

        Returns:
            float32, same shape, the meta dictionary unchanged.

        Raises:
            ValueError: if the entries are missing, not finite, or in the wrong order.
        """
        low, high = _display_range(img)
        scaled = (img.float() - low) / (high - low)
        return scaled.clamp(0.0, 1.0) if self.clip else scaled


class ScaleDisplayRanged(MapTransform):
    """Dictionary version of :py:class:`ScaleDisplayRange`.

    Args:
        keys: keys of the images.
        clip: see :py:class:`ScaleDisplayRange`.
        allow_missing_keys: do not raise for a missing key.
    """

    backend = ScaleDisplayRange.backend

    def __init__(self, keys: KeysCollection, clip: bool = True, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = ScaleDisplayRange(clip=clip)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images at the keys; see :py:class:`ScaleDisplayRange`."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


ScaleDisplayRangeD = ScaleDisplayRangeDict = ScaleDisplayRanged


def _display_range(img: torch.Tensor) -> tuple[float, float]:
    meta = img.meta if isinstance(img, MetaTensor) else {}
    if "display_min" not in meta or "display_max" not in meta:
        raise ValueError(
            "The image has no display_min and display_max in its meta dictionary; ScaleDisplayRange needs both. "
            "Load it with LoadImage(reader=ChestXRayReader()) and keep it a MetaTensor."
        )
    low, high = float(meta["display_min"]), float(meta["display_max"])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"display_min is {low} and display_max is {high}; both must be finite, with display_min < display_max. "
            "Read the image again, or set the range that is to be shown."
        )
    return low, high
