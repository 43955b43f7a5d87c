"""Regions for the region-mass certificate: from what the user names to the cells of the map.

A region must be fixed before the noise. It follows from the clean image and a mask file alone; votes are never read.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.decoder import read_mask
from monai_robustinterp.io.read.mask_file import Mask
from monai_robustinterp.transforms import InvertSaliencyd
from monai_robustinterp.types import Region

_THIRDS = ("upper", "middle", "lower")
_HALVES = ("image-left", "image-right")
_ZONES = {
    "-".join(filter(None, (third, half))): (third, half)
    for third in (*_THIRDS, "")
    for half in (*_HALVES, "")
    if third or half
}


class RegionSource(ABC):
    """What the user named, before any image is there."""

    @abstractmethod
    def draw(self, meta: Mapping[str, Any]) -> tuple[str, Mask]:
        """The region on the pixels of an image.

        Args:
            meta: metadata of the image, as ``ChestXRayReader`` gives it.

        Returns:
            A name without file names or text of a header, and bool [H, W].

        Raises:
            InputRefused: if the region cannot be drawn on this image.
        """


@dataclass(frozen=True)
class Box(RegionSource):
    """Pixels of the source as it is read: ``left`` <= column < ``right``, ``top`` <= row < ``bottom``."""

    left: int
    top: int
    right: int
    bottom: int

    def draw(self, meta: Mapping[str, Any]) -> tuple[str, Mask]:
        """See :meth:`RegionSource.draw`."""
        rows, columns = _shape(meta)
        edges = f"{self.left},{self.top},{self.right},{self.bottom}"
        if self.right > columns or self.bottom > rows:
            raise InputRefused(
                f"the box {edges} leaves the image of {columns} columns and {rows} rows; RIGHT may be {columns} and "
                f"BOTTOM {rows} at most. Give the box in pixels of this image."
            )
        pixels = np.zeros((rows, columns), dtype=bool)
        pixels[self.top : self.bottom, self.left : self.right] = True
        return f"box {edges} (columns and rows of the source)", pixels


@dataclass(frozen=True)
class Zone(RegionSource):
    """A third of the rows, a half of the columns, or both, as the image is displayed; "" is all of them."""

    third: str
    half: str

    def draw(self, meta: Mapping[str, Any]) -> tuple[str, Mask]:
        """See :meth:`RegionSource.draw`."""
        rows, columns = _shape(meta)
        pixels = np.ones((rows, columns), dtype=bool)
        if self.third:
            pixels &= (np.arange(rows) * 3 // rows == _THIRDS.index(self.third))[:, None]
        if self.half:
            pixels &= np.arange(columns) * 2 // columns == _HALVES.index(self.half)
        name = " ".join(filter(None, (self.third, self.half)))
        parts = ["a third of the rows"] * bool(self.third) + ["half of the columns"] * bool(self.half)
        return f"image zone {name} ({', '.join(parts)}; no anatomy)", pixels


@dataclass(frozen=True)
class MaskFile(RegionSource):
    """A mask of one image; ``segment`` is the number of a segment of a DICOM Segmentation, None for its only one."""

    path: Path
    segment: int | None = None

    def draw(self, meta: Mapping[str, Any]) -> tuple[str, Mask]:
        """See :meth:`RegionSource.draw`; the name holds the SHA-256 of the pixels (one byte each, row by row)."""
        mask = read_mask(self.path, meta, segment=self.segment)
        return f"mask ({mask.kind}), SHA-256 {mask_digest(mask.pixels)}", mask.pixels


def mask_digest(pixels: Mask) -> str:
    """The first 16 digits of the SHA-256 of a mask's pixels, one byte each, row by row."""
    return hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest()[:16]


def parse_region(text: str) -> RegionSource:
    """A region from its text; no file is opened.

    Args:
        text: ``box:LEFT,TOP,RIGHT,BOTTOM`` in pixels of the source, ``mask:FILE`` or ``mask:FILE#SEGMENT``, or
            ``zone:NAME`` such as ``zone:lower-image-left``, ``zone:upper`` or ``zone:image-right``.

    Raises:
        ValueError: if it is none of these.
    """
    kind, _, rest = text.partition(":")
    if kind not in _PARSERS:
        raise ValueError(
            "the region is of no known kind; it must be box:LEFT,TOP,RIGHT,BOTTOM, mask:FILE or zone:NAME. Write one "
            "of these."
        )
    return _PARSERS[kind](rest)


def region_on_cells(source: RegionSource, image: MetaTensor, preprocessing: Compose, *, cell_size: int) -> Region:
    """The cells of the map that a region consists of: those with at least half of their source pixels in it.

    Cells have their source pixels by the same inversion that brings the votes back to the source grid.

    Args:
        source: the region.
        image: preprocessed image [1, H, W] with the metadata and history of its source.
        preprocessing: what made it from ``{"image": path}``.
        cell_size: side of a cell in pixels of the network's input.

    Raises:
        InputRefused: if the region cannot be drawn on this image, or has no cell or all of them.
    """
    name, pixels = source.draw(image.meta)
    if not pixels.any():
        raise InputRefused("the region has no pixel; it must have some. Check that the mask is not empty.")
    numbers, (height, width) = _cell_numbers(image, preprocessing, cell_size)
    n_cells = height * width
    size = np.bincount(numbers.ravel(), minlength=n_cells + 1)[1:]
    inside = np.bincount(numbers[pixels], minlength=n_cells + 1)[1:]
    cells = (2 * inside >= size) & (size > 0)
    seen = float((numbers[pixels] > 0).mean())
    if not cells.any() or cells.all():
        raise InputRefused(
            f"the region covers {'all' if cells.any() else 'none'} of the {n_cells} cells of the map, with "
            f"{100 * seen:.0f} % of its pixels in the part of the image that the network sees; a cell belongs to it if "
            "at least half of the cell's pixels do. Choose a region of some cells."
        )
    return Region(name=name, cells=cells.reshape(height, width), seen=seen)


def _cell_numbers(
    image: MetaTensor, preprocessing: Compose, cell_size: int
) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
    """Number of each source pixel's cell, from 1, and 0 where the network sees nothing, [H, W]; the grid of cells."""
    rows, columns = (torch.arange(side) // cell_size for side in image.shape[-2:])
    height, width = int(rows[-1]) + 1, int(columns[-1]) + 1
    cells = MetaTensor((rows[:, None] * width + columns + 1)[None].to(torch.float32))
    to_source_grid = InvertSaliencyd("cells", transform=preprocessing, orig_keys="image")
    values = to_source_grid({"image": image, "cells": cells})["cells"].numpy()[0]
    numbers = values.astype(np.int64)
    if (numbers != values).any() or numbers.min() < 0 or numbers.max() > height * width:
        raise InputRefused(
            "inverting the preprocessing changes values, so cells cannot be traced to pixels; it must move values "
            "only. Leave invertible intensity transforms out of the preprocessing."
        )
    return numbers, (height, width)


def _shape(meta: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = meta["spatial_shape"]
    return int(rows), int(columns)


def _box(text: str) -> Box:
    match = re.fullmatch(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})", text)
    box = Box(*map(int, match.groups())) if match else Box(0, 0, 0, 0)
    if not (box.left < box.right and box.top < box.bottom):
        raise ValueError(
            "the box is not LEFT,TOP,RIGHT,BOTTOM; it must be four whole numbers >= 0, pixels of the source, with LEFT "
            "< RIGHT and TOP < BOTTOM (both ends exclusive), such as box:10,20,110,220."
        )
    return box


def _mask(text: str) -> MaskFile:
    match = re.fullmatch(r"(.+?)(?:#([1-9][0-9]{0,4}))?", text, flags=re.DOTALL)
    if not match:
        raise ValueError("the mask has no file; write mask:FILE, or mask:FILE#2 for segment 2 of a DICOM Segmentation.")
    return MaskFile(Path(match[1]), int(match[2]) if match[2] else None)


def _zone(text: str) -> Zone:
    if text not in _ZONES:
        raise ValueError(
            f"the zone is not known; it must be one of {', '.join(_ZONES)}, such as zone:lower-image-left."
        )
    return Zone(*_ZONES[text])


_PARSERS: dict[str, Callable[[str], RegionSource]] = {"box": _box, "mask": _mask, "zone": _zone}
