"""What somebody marked on a film: boxes and polygons, as one region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from monai_robustinterp.geometry.regions import Box, RegionSource
from monai_robustinterp.io.read.mask_file import Mask

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Marks(RegionSource):
    """The pixels inside any of the marks.

    Attributes:
        boxes: in pixels of the source as it is read.
        polygons: corners (column, row) in the same pixels, three at least; what lies outside of the image is cut off.
    """

    boxes: tuple[Box, ...] = ()
    polygons: tuple[Polygon, ...] = ()

    def draw(self, meta: Mapping[str, Any]) -> tuple[str, Mask]:
        """See :meth:`RegionSource.draw`."""
        rows, columns = (int(side) for side in meta["spatial_shape"])
        picture = Image.new("1", (columns, rows))
        for polygon in self.polygons:
            ImageDraw.Draw(picture).polygon(polygon, fill=1)
        pixels = np.array(picture, dtype=bool)
        for box in self.boxes:
            pixels |= box.draw(meta)[1]
        return f"{len(self.boxes)} boxes and {len(self.polygons)} polygons", pixels
