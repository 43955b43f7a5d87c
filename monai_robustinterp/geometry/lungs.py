"""The region of the lungs: drawn on the clean image before any vote, and so the same for every changed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monai_robustinterp.certificates.region import LUNGS
from monai_robustinterp.geometry.regions import MaskFile, RegionSource, mask_digest
from monai_robustinterp.io.read.decoder import read_mask
from monai_robustinterp.io.read.mask_file import Mask
from monai_robustinterp.networks.lung_fields import LungField


@dataclass(frozen=True)
class Lungs(RegionSource):
    """Lung fields on the pixels of one image.

    Attributes:
        drawn_by: what found them, as the record names it.
        pixels: bool [H, W] on the grid of the source.
    """

    drawn_by: str
    pixels: Mask

    @classmethod
    def found(cls, field: LungField, settings: Mapping[str, Any]) -> Lungs:
        """Those that a segmenter of these settings found on the clean image as it is displayed."""
        return cls(" ".join(filter(None, (settings["name"], settings["version"]))), field.pixels)

    def draw(self, meta: Mapping[str, Any]) -> tuple[str, Mask]:
        """See :meth:`RegionSource.draw`; the name holds the SHA-256 of the pixels, as that of a mask does."""
        return f"{LUNGS}{self.drawn_by}), SHA-256 {mask_digest(self.pixels)}", self.pixels


@dataclass(frozen=True)
class LungMask(MaskFile):
    """A mask of the lungs of one image, in place of those that a segmenter finds."""

    def read(self, meta: Mapping[str, Any]) -> Lungs:
        """The lungs on the pixels of an image.

        Raises:
            InputRefused: if the file is no mask of the image.
        """
        mask = read_mask(self.path, meta, segment=self.segment)
        return Lungs(f"mask, {mask.kind}", mask.pixels)

    def draw(self, meta: Mapping[str, Any]) -> tuple[str, Mask]:
        """See :meth:`RegionSource.draw`."""
        return self.read(meta).draw(meta)
