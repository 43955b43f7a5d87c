"""Pixels of a DICOM image outside the exposed field: at the padding value, or near it after lossy compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from scipy import ndimage

from monai_robustinterp.io.read.dicom_header import integer, stored_integer, text

_LOSSY_SYNTAXES = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
_SMEARED = 1 / 64  # of the range of the bits: 4 of 256 gray levels


@dataclass(frozen=True)
class Padding:
    """Where the padding is.

    Attributes:
        mask: bool [H, W], with at least one pixel; None if there is none.
        warning: a sentence if there is more of it than the padding value says; "" otherwise.
    """

    mask: npt.NDArray[np.bool_] | None
    warning: str = ""


def find_padding(stored: npt.NDArray[Any], dataset: Dataset) -> Padding:
    """Pixels at PixelPaddingValue, or from there to PixelPaddingRangeLimit.

    After lossy compression also those within a 64th of the range of them that touch them, over others of that kind.
    """
    first = stored_integer(dataset, "PixelPaddingValue")
    if first is None:
        return Padding(None)
    last = stored_integer(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    mask = (stored >= low) & (stored <= high)
    if not mask.any():
        return Padding(None)
    reach = int(2 ** (integer(dataset, "BitsStored") or 8) * _SMEARED)
    if not _is_lossy(dataset):
        return Padding(mask)
    near = (stored >= low - reach) & (stored <= high + reach)
    smeared: npt.NDArray[np.bool_] = ndimage.binary_propagation(mask, structure=np.ones((3, 3)), mask=near)
    added = int(smeared.sum() - mask.sum())
    if not added or smeared.all():
        return Padding(mask)
    warning = (
        f"lossy compression smeared the padding: {added} pixels that touch it and differ from its value by up to "
        f"{reach} count as padding"
    )
    return Padding(smeared, warning)


def _is_lossy(dataset: Dataset) -> bool:
    return (
        text(dataset.file_meta, "TransferSyntaxUID") in _LOSSY_SYNTAXES
        or text(dataset, "LossyImageCompression") == "01"
    )
