"""One look at what the network receives, before any vote: is it an image at all, and like those of the training?"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import adaptive_avg_pool2d

from monai_robustinterp.errors import InputRefused

FIELDS = 16
"""Fields along each side over which an image is averaged: coarse structure is what is left."""

_STATISTICS = {
    "mean": "mean",
    "standard_deviation": "standard deviation",
    "coarse_share": f"share of its variance that is left after averaging over {FIELDS} x {FIELDS} fields",
    "likeness": "correlation with their mean image",
}
_QUANTILES = (0.001, 0.999)

# Resizing by splines leaves [0, 1] by less than this; z-scored and stored values leave it by far more.
_OVERSHOOT, _FAR_OUTSIDE = 0.05, 0.25
_LEAST_DEVIATION = 0.02
_MOSTLY, _MOST_CLIPPED = 0.5, 0.95

_SCALE = (
    "Scale the image to the display range [0, 1], where noise and radii are measured, and let the network do the rest: "
)


@dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """Simple statistics of the images that a network was trained on, as the network receives them.

    Attributes:
        n_images: their number.
        input_shape: their height and width.
        ranges: from the 0.1 % to the 99.9 % quantile of each statistic, by name.
        mean_image: their mean, float64 [16, 16]: averages over fields.
        file_sha256: hash of the file that they were read from; "" if they were not.
    """

    n_images: int
    input_shape: tuple[int, int]
    ranges: Mapping[str, tuple[float, float]]
    mean_image: torch.Tensor
    file_sha256: str = ""

    @classmethod
    def of(cls, images: Iterable[torch.Tensor]) -> InputStatistics:
        """The statistics of training images [1, H, W] of one shape, none of them constant.

        Raises:
            ValueError: if there is none, or the shapes differ.
        """
        stack = torch.stack([image.detach().cpu().double() for image in images])
        mean_image = adaptive_avg_pool2d(stack, FIELDS).mean(dim=(0, 1))
        rows = [_statistics(image[0], mean_image) for image in stack]
        limits = torch.tensor(_QUANTILES, dtype=torch.float64)
        ranges = {}
        for name in _STATISTICS:
            low, high = torch.tensor([row[name] for row in rows], dtype=torch.float64).quantile(limits).tolist()
            ranges[name] = (low, high)
        height, width = stack.shape[-2:]
        return cls(n_images=len(stack), input_shape=(height, width), ranges=ranges, mean_image=mean_image)

    @classmethod
    def read(cls, path: str | Path) -> InputStatistics:
        """Statistics of a file that holds :meth:`to_json`.

        Raises:
            ValueError: if it holds something else.
        """
        try:
            text = Path(path).read_bytes()
            content = json.loads(text.decode("utf-8"))
            height, width = (int(side) for side in content["input_shape"])
            ranges = {
                name: (float(content["ranges"][name][0]), float(content["ranges"][name][1])) for name in _STATISTICS
            }
            mean_image = torch.tensor(content["mean_image"], dtype=torch.float64).reshape(FIELDS, FIELDS)
            return cls(
                n_images=int(content["n_images"]),
                input_shape=(height, width),
                ranges=ranges,
                mean_image=mean_image,
                file_sha256=hashlib.sha256(text).hexdigest(),
            )
        except (ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
            raise ValueError(
                "the file of the input statistics is damaged: it must hold what InputStatistics.to_json() gives. Write "
                "it anew, or set 'input_statistics' of the bundle to null."
            ) from error

    def to_json(self) -> str:
        """Plain values, rounded to four digits behind the point."""
        ranges = {name: [round(value, 4) for value in limits] for name, limits in self.ranges.items()}
        mean_image = [[round(value, 4) for value in row] for row in self.mean_image.tolist()]
        head = {"n_images": self.n_images, "input_shape": list(self.input_shape), "ranges": ranges}
        return json.dumps(head | {"mean_image": mean_image})

    def unlike(self, image: torch.Tensor) -> str:
        """What of an image, float64 [H, W], lies outside of the ranges; "" if nothing does.

        Raises:
            ValueError: if the image has another shape, so that the statistics are of other images.
        """
        if tuple(image.shape) != self.input_shape:
            raise ValueError(
                f"the input statistics are of images of {self.input_shape} pixels and the network receives "
                f"{tuple(image.shape)}: they are of another network's training. Set 'input_statistics' of the bundle "
                "to null, or give those of its own (InputStatistics.of)."
            )
        found = _statistics(image, self.mean_image)
        outside = {
            name: value for name, value in found.items() if not self.ranges[name][0] <= value <= self.ranges[name][1]
        }
        return "; ".join(
            f"{_STATISTICS[name]} {value:.3f} (theirs: {self.ranges[name][0]:.3f} to {self.ranges[name][1]:.3f})"
            for name, value in outside.items()
        )


def check_input(image: torch.Tensor, expected: InputStatistics | None = None) -> tuple[str, ...]:
    """Refuses what cannot be a radiograph in the display range, and warns of what may be none.

    Args:
        image: the network's input, [1, H, W], finite.
        expected: statistics of the training images, if they are known.

    Returns:
        Warnings, one sentence each.

    Raises:
        InputRefused: if the image is constant or nearly so, mostly clipped, or far outside of [0, 1].
    """
    pixels = image.detach().cpu().double()[0]
    low, high, deviation = float(pixels.min()), float(pixels.max()), float(pixels.std(correction=0))
    clipped = float(((pixels <= 0) | (pixels >= 1)).double().mean())
    if low == high:
        raise InputRefused(
            f"every pixel of the network's input is {low:.4g}: there is nothing to explain. Check the file's exposure "
            "and window, and the preprocessing."
        )
    _refuse_other_range(low, high)
    if clipped > _MOST_CLIPPED:
        raise InputRefused(
            f"{clipped:.1%} of the network's input are black or white to the full (0 or 1); at most "
            f"{_MOST_CLIPPED:.0%} may be. The window or the value range of the file does not fit its pixels: correct "
            "it, or the preprocessing."
        )
    if deviation < _LEAST_DEVIATION:
        raise InputRefused(
            f"the network's input is nearly constant: {low:.3f} to {high:.3f}, standard deviation {deviation:.4f}; it "
            f"must be at least {_LEAST_DEVIATION} on the display range [0, 1]. The value range that the file states "
            "may be wider than its pixels use (12 bits said to be 16, say): correct it, or the preprocessing."
        )
    found = []
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        found.append(f"Check the input: its values are {low:.3f} to {high:.3f}, outside of the display range [0, 1].")
    if clipped > _MOSTLY:
        found.append(f"Check the input: {clipped:.1%} of it are black or white to the full.")
    if expected is not None and (unlike := expected.unlike(pixels)):
        found.append(
            f"Check the input: it is unlike the {expected.n_images} images that the network was trained on: {unlike}. "
            "The certificate holds all the same, but finding and map may mean nothing."
        )
    return tuple(found)


def _refuse_other_range(low: float, high: float) -> None:
    if low >= -_FAR_OUTSIDE and high <= 1 + _FAR_OUTSIDE:
        return
    found = f"the network's input has values from {low:.4g} to {high:.4g}"
    if low < -_FAR_OUTSIDE:
        raise InputRefused(
            f"{found}: it looks normalized (z-scores, or [-1, 1]). {_SCALE}networks.GrayscaleInput(network, "
            "mean=[...], std=[...]) with the mean and standard deviation that it was normalized with."
        )
    raise InputRefused(
        f"{found}: it looks like stored pixel values ([0, 255], say). {_SCALE}networks.GrayscaleInput(network, "
        "mean=[0], std=[1 / 255]) hands it values in [0, 255]."
    )


def _statistics(image: torch.Tensor, mean_image: torch.Tensor) -> dict[str, float]:
    """The statistics of an image, float64 [H, W], by name."""
    coarse = adaptive_avg_pool2d(image[None], FIELDS)[0]
    deviation, coarse_deviation = float(image.std(correction=0)), float(coarse.std(correction=0))
    # White noise has little coarse structure, and an inverted film a negative likeness.
    products = ((coarse - coarse.mean()) * (mean_image - mean_image.mean())).mean()
    scale = coarse_deviation * float(mean_image.std(correction=0))
    return {
        "mean": float(image.mean()),
        "standard_deviation": deviation,
        "coarse_share": (coarse_deviation / deviation) ** 2,
        "likeness": float(products) / scale if scale > 0 else math.nan,
    }
