"""Changes that happen to X-rays, by name and with fixed values: of the source's pixels, before any preprocessing.

A change takes display values and gives display values back (:data:`~monai_robustinterp.geometry.source.Pixels`).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data import MetaTensor
from monai.transforms import Compose, Resized
from torch.nn import functional

from monai_robustinterp.certificates.ledger import LEDGER_PROTOCOL, change_label
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.pixel_changes import (
    brightness,
    contrast,
    detector_noise,
    eight_bits,
    exposure_slope,
    gamma,
    gaussian_blur,
    jpeg,
    quantum_noise,
    rotation,
    shift,
    unsharp_mask,
    window_center,
    window_width,
)
from monai_robustinterp.geometry.source import Pixels, Source

N_DRAWS = 20


def always(source: Source) -> str:
    """Of a change that applies to every image."""
    return ""


@dataclass(frozen=True)
class Change(ABC):
    """A change of the source image.

    Attributes:
        name: what it is; changes of one name are a family, ordered from the mildest to the strongest.
        value: how strong it is; None where there is nothing to choose.
        by_rows: whether each row of the changed image depends on that row alone, so that a film is changed a few rows
            at a time, in little memory and beside other changes.
    """

    name: str
    value: float | None
    by_rows: bool = field(default=False, kw_only=True)

    @property
    def label(self) -> str:
        """Name and value."""
        return change_label(self.name, self.value)

    @abstractmethod
    def reason(self, source: Source) -> str:
        """Why the change does not apply to an image; "" if it does."""

    @abstractmethod
    def inputs(self, source: Source, seed: int) -> Iterator[npt.NDArray[np.float32]]:
        """The network's inputs of the changed image, float32 [1, h, w]: one, or one a draw."""


@dataclass(frozen=True)
class PixelChange(Change):
    """A change that is a function of the pixels.

    Attributes:
        apply: makes changed pixels of the source's, or of some of its rows, which it leaves as they are, in the same
            shape.
        why_not: see :meth:`Change.reason`.
    """

    apply: Callable[[Pixels], Pixels]
    why_not: Callable[[Source], str] = always

    def reason(self, source: Source) -> str:
        """See :meth:`Change.reason`."""
        return self.why_not(source)

    def inputs(self, source: Source, seed: int) -> Iterator[npt.NDArray[np.float32]]:
        """See :meth:`Change.inputs`."""
        yield _input_of(source, self.apply, by_rows=self.by_rows)


@dataclass(frozen=True)
class RandomChange(Change):
    """A change that is drawn, ``N_DRAWS`` times.

    Attributes:
        draw: makes changed pixels of the source's, or of some of its rows, and of standard normals of the same shape.
    """

    draw: Callable[[Pixels, Pixels], Pixels]

    def reason(self, source: Source) -> str:
        """See :meth:`Change.reason`."""
        return ""

    def inputs(self, source: Source, seed: int) -> Iterator[npt.NDArray[np.float32]]:
        """See :meth:`Change.inputs`; the draws follow from label, seed, number and the pixels' hash alone."""
        for number in range(N_DRAWS):
            identity = f"{LEDGER_PROTOCOL}|{self.label}|{seed}|{number}|{source.values.meta['pixel_sha256']}"
            key = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:16], "little")
            rng = np.random.Generator(np.random.Philox(key=key))
            yield _input_of(source, partial(self._drawn, rng), by_rows=self.by_rows)

    def _drawn(self, rng: np.random.Generator, pixels: Pixels) -> Pixels:
        return self.draw(pixels, rng.standard_normal(pixels.shape, dtype=np.float32))


@dataclass(frozen=True)
class ResizeKernel(Change):
    """The kernel of the resize to the network's input that other software takes: bilinear and antialiased."""

    def reason(self, source: Source) -> str:
        """See :meth:`Change.reason`."""
        resizes = any(isinstance(step, Resized) for step in source.preprocessing.transforms)
        return "" if resizes else "the preprocessing has no Resized step."

    def inputs(self, source: Source, seed: int) -> Iterator[npt.NDArray[np.float32]]:
        """See :meth:`Change.inputs`."""
        steps = [_other_kernel(step) if isinstance(step, Resized) else step for step in source.preprocessing.transforms]
        yield Source(source.values, Compose(steps)).preprocess(source.pixels)


def _other_kernel(resize: Resized) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A step that resizes to the same size with the other kernel."""

    def step(data: dict[str, Any]) -> dict[str, Any]:
        result = dict(resize(data))
        for key in resize.keys:
            size = result[key].shape[1:]
            plain = data[key].as_tensor()[None]
            other = functional.interpolate(plain, size, mode="bilinear", antialias=True, align_corners=False)[0]
            result[key] = MetaTensor(other, meta=result[key].meta)
        return result

    return step


class BadChange(ValueError):
    """A change gave no image of the source's shape."""


def _input_of(source: Source, change: Callable[[Pixels], Pixels], *, by_rows: bool) -> npt.NDArray[np.float32]:
    """The network's input of the changed source."""
    if by_rows:
        return source.preprocess_bands(_checked(change(band), band) for band in source.bands())
    return source.preprocess(_checked(change(source.pixels), source.pixels))


def _checked(changed: Pixels, pixels: Pixels) -> Pixels:
    """Changed pixels as float32.

    Raises:
        BadChange: if they are none.
    """
    if not isinstance(changed, np.ndarray) or changed.shape != pixels.shape:
        found = f"the shape {changed.shape}" if isinstance(changed, np.ndarray) else f"a {type(changed).__name__}"
        raise BadChange(f"it gives {found}; it must give an array of the source's shape, {pixels.shape}.")
    if changed.dtype.kind not in "fiu" or not np.isfinite(changed).all():
        raise BadChange("it gives values that are no finite numbers; all must be, 0 is black and 1 is white.")
    return changed.astype(np.float32, copy=False)


def _fits_in_8_bits(source: Source) -> str:
    values = np.empty(0, np.float32)
    for row in source.pixels:
        values = np.union1d(values, row)
        if len(values) > 256:
            return ""
    return "the image has no more than 256 gray values, which 8 bits hold."


def _is_jpeg(source: Source) -> str:
    return "the file is a JPEG already." if source.values.meta.get("lossy_compression") == "JPEG" else ""


def _no_window(source: Source) -> str:
    display = str(source.values.meta.get("display_source", ""))
    curved = "SIGMOID" in display or display.startswith("VOI LUT")
    return "the file is shown by a curve or a table, and not by a linear window." if curved else ""


NAMED: tuple[Change, ...] = (
    PixelChange("8-bit rounding", None, eight_bits, _fits_in_8_bits, by_rows=True),
    *(PixelChange("JPEG quality", q, partial(jpeg, quality=q), _is_jpeg) for q in (95, 75, 50)),
    *(RandomChange("detector noise, sd", sd, partial(detector_noise, sd=sd), by_rows=True) for sd in (0.01, 0.03)),
    *(
        RandomChange("quantum noise, quanta a pixel", n, partial(quantum_noise, quanta=n), by_rows=True)
        for n in (1000, 250)
    ),
    PixelChange("unsharp mask of 2 px, amount", 0.5, partial(unsharp_mask, amount=0.5, sd=2.0)),
    PixelChange("Gaussian blur, px", 1, partial(gaussian_blur, sd=1.0)),
    PixelChange("brighter by", 0.02, partial(brightness, shift=0.02), by_rows=True),
    PixelChange("darker by", 0.02, partial(brightness, shift=-0.02), by_rows=True),
    PixelChange("more contrast, factor", 1.02, partial(contrast, factor=1.02), by_rows=True),
    *(PixelChange("larger gamma", g, partial(gamma, exponent=g), by_rows=True) for g in (1.02, 1.05)),
    PixelChange("wider window, share", 0.02, partial(window_width, share=0.02), _no_window, by_rows=True),
    PixelChange("higher window, share", 0.01, partial(window_center, share=0.01), _no_window, by_rows=True),
    PixelChange("exposure slope", 0.02, partial(exposure_slope, share=0.02), by_rows=True),
    PixelChange("shift, px", 1, partial(shift, columns=1), by_rows=True),
    PixelChange("rotation, degrees", 0.1, partial(rotation, degrees=0.1)),
    ResizeKernel("bilinear resize kernel", None),
)
"""The list of the ledger, a family from the mildest to the strongest."""


def change_named(label: str, changes: Sequence[Change] = NAMED) -> Change:
    """The change with this name and value.

    Args:
        label: such as "JPEG quality 75".
        changes: to choose from.

    Raises:
        InputRefused: if it is none of them.
    """
    by_label = {change.label: change for change in changes}
    if label not in by_label:
        raise InputRefused(f"there is no change {label!r} of the image; the changes are {sorted(by_label)}.")
    return by_label[label]
