"""Where the lungs are on a film, and whether the answer looks like lungs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.networks.provenance import network_sha256

# The fields are found on a grid of this size, whatever that of the film.
_GRID = (512, 512)
# Of the film's area: a smaller piece is no lung field.
_SMALLEST_FIELD = 0.02
_AREA = (0.08, 0.7)
_LEAST_CONFIDENCE = 0.85


@dataclass(frozen=True, kw_only=True)
class LungField:
    """The lung fields of a film.

    Attributes:
        pixels: bool [H, W] on the grid of the film.
        confidence: mean of ``|2 p - 1|`` over the film, in [0, 1], with p the network's own probability of lung.
        failure: why they are not to be used, as a sentence; None if they look like lung fields.
    """

    pixels: npt.NDArray[np.bool_]
    confidence: float
    failure: str | None


class LungFields:
    """A segmenter of the lung fields; a fixed function of the film.

    The film is made ``spatial_size`` pixels in size whatever its shape. The fields are where the probability of lung,
    bilinear, is above one half, without pieces smaller than 2 % of the film, and with holes filled.

    Args:
        network: returns logits [1, 1, H, W] of images [1, 1, H, W] in [0, 1], air dark.
        name: for the record.
        version: for the record.
        spatial_size: height and width of the network's input in pixels.
    """

    def __init__(
        self, network: nn.Module, *, name: str, version: str = "", spatial_size: Sequence[int] = (128, 128)
    ) -> None:
        self.network = network.eval()
        self.name, self.version, self.spatial_size = name, version, tuple(spatial_size)

    @property
    def settings(self) -> dict[str, Any]:
        """What the record says of it; the hash is that of its weights, "" without any."""
        return {"name": self.name, "version": self.version, "sha256": network_sha256(self.network)}

    def __call__(self, film: torch.Tensor) -> LungField:
        """The lung fields of a film.

        Args:
            film: float [H, W] in [0, 1], air dark, as displayed.

        Raises:
            InputRefused: if the network fails or returns logits of another shape.
        """
        probability = self._probability(film)
        fields = _fields(probability > 0.5)
        confidence = float(np.abs(2 * probability - 1).mean())
        rows, columns = ((np.arange(side) * grid) // side for side, grid in zip(film.shape, _GRID))
        pixels = fields[rows[:, None], columns]
        return LungField(pixels=pixels, confidence=confidence, failure=_failure(fields, confidence))

    def _probability(self, film: torch.Tensor) -> npt.NDArray[np.float32]:
        """Of lung, on the grid."""
        device = next((weight.device for weight in self.network.parameters()), film.device)
        small = F.interpolate(film[None, None].to(device, torch.float32), self.spatial_size, mode="area")
        with torch.no_grad():
            try:
                logits = self.network(small)
            except Exception as error:
                raise InputRefused(
                    f"the segmenter of the lungs fails on an image of shape {tuple(small.shape)} "
                    f"({type(error).__name__}). It must take images [1, 1, H, W] in [0, 1] and return logits [1, 1, H, "
                    "W]; or leave the lungs out (--lungs off)."
                ) from error
        if logits.shape != small.shape:
            raise InputRefused(
                f"the segmenter of the lungs returns shape {tuple(logits.shape)}; it must return one logit a pixel, "
                f"{tuple(small.shape)}. Give its last layer one channel, or leave the lungs out (--lungs off)."
            )
        on_grid = F.interpolate(torch.sigmoid(logits.float()), _GRID, mode="bilinear")
        probability: npt.NDArray[np.float32] = on_grid[0, 0].cpu().numpy()
        return probability


def _pieces(pixels: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Number of each pixel's connected piece, 0 for none; the share of the film of each piece."""
    numbers, count = ndimage.label(pixels)
    return numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:] / pixels.size


def _fields(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    numbers, shares = _pieces(pixels)
    kept = np.concatenate([[False], shares >= _SMALLEST_FIELD])
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(kept[numbers])
    return filled


def _failure(pixels: npt.NDArray[np.bool_], confidence: float) -> str | None:
    area, count = float(pixels.mean()), len(_pieces(pixels)[1])
    if not _AREA[0] <= area <= _AREA[1]:
        return (
            f"the lung fields that were found cover {100 * area:.0f} % of the film; lungs cover {100 * _AREA[0]:.0f} "
            f"to {100 * _AREA[1]:.0f} %, so nothing is claimed about them."
        )
    if count != 2:
        return f"{count} separate lung fields were found; there must be two, so nothing is claimed about them."
    if not confidence >= _LEAST_CONFIDENCE:
        return (
            f"the lung fields are uncertain (confidence {confidence:.2f}, at least {_LEAST_CONFIDENCE} is needed), so "
            "nothing is claimed about them."
        )
    return None
