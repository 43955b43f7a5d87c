"""Changes that happen to X-rays, by name and with fixed values: of the source's pixels, before any preprocessing.

A change takes display values and gives display values back (:data:`~monai_robustinterp.geometry.source.Pixels`). It
acts on the shown picture, which is cut off at black and white, except for those of the window.
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data import MetaTensor
from monai.transforms import Compose, Resized
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from monai_robustinterp.certificates.ledger import LEDGER_PROTOCOL, change_label
from monai_robustinterp.errors import InputRefused
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
    """

    name: str
    value: float | None

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
        apply: makes changed pixels of the source's, which it leaves as they are, in the same shape.
        why_not: see :meth:`Change.reason`.
    """

    apply: Callable[[Pixels], Pixels]
    why_not: Callable[[Source], str] = always

    def reason(self, source: Source) -> str:
        """See :meth:`Change.reason`."""
        return self.why_not(source)

    def inputs(self, source: Source, seed: int) -> Iterator[npt.NDArray[np.float32]]:
        """See :meth:`Change.inputs`."""
        yield source.preprocess(_checked(self.apply(source.pixels), source.pixels))


@dataclass(frozen=True)
class RandomChange(Change):
    """A change that is drawn, ``N_DRAWS`` times.

    Attributes:
        draw: makes changed pixels of the source's and of standard normals of the same shape.
    """

    draw: Callable[[Pixels, Pixels], Pixels]

    def reason(self, source: Source) -> str:
        """See :meth:`Change.reason`."""
        return ""

    def inputs(self, source: Source, seed: int) -> Iterator[npt.NDArray[np.float32]]:
        """See :meth:`Change.inputs`; the draws follow from label, seed, number and the pixels' hash alone."""
        pixels = source.pixels
        for number in range(N_DRAWS):
            identity = f"{LEDGER_PROTOCOL}|{self.label}|{seed}|{number}|{source.values.meta['pixel_sha256']}"
            key = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:16], "little")
            normals = np.random.Generator(np.random.Philox(key=key)).standard_normal(pixels.shape, dtype=np.float32)
            yield source.preprocess(_checked(self.draw(pixels, normals), pixels))


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


def shown(pixels: Pixels) -> Pixels:
    """The picture, cut off at black and white."""
    picture: Pixels = np.clip(pixels, 0, 1)
    return picture


def eight_bits(pixels: Pixels) -> Pixels:
    """Rounds to 256 gray levels."""
    levels: Pixels = np.rint(shown(pixels) * np.float32(255))
    return levels / np.float32(255)


def jpeg(pixels: Pixels, *, quality: int) -> Pixels:
    """Writes an 8-bit JPEG with Pillow and reads it again."""
    file = io.BytesIO()
    Image.fromarray(np.rint(shown(pixels) * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image, dtype=np.float32) / np.float32(255)


def detector_noise(pixels: Pixels, normals: Pixels, *, sd: float) -> Pixels:
    """Adds white noise of one standard deviation."""
    return shown(shown(pixels) + np.float32(sd) * normals)


def quantum_noise(pixels: Pixels, normals: Pixels, *, quanta: float) -> Pixels:
    """Adds noise of variance (display value)/quanta: Poisson counts in their normal limit, white is ``quanta`` counts.

    A model of its size, not of a dose: how display values follow from counts is not known.
    """
    picture = shown(pixels)
    return shown(picture + np.sqrt(picture / np.float32(quanta)) * normals)


def unsharp_mask(pixels: Pixels, *, amount: float, sd: float) -> Pixels:
    """Adds ``amount`` times what a Gaussian blur takes away."""
    picture = shown(pixels)
    return shown(picture + np.float32(amount) * (picture - ndimage.gaussian_filter(picture, sd, mode="nearest")))


def gaussian_blur(pixels: Pixels, *, sd: float) -> Pixels:
    """Blurs by a Gaussian of this standard deviation in pixels of the source."""
    blurred: Pixels = ndimage.gaussian_filter(shown(pixels), sd, mode="nearest")
    return blurred


def brightness(pixels: Pixels, *, shift: float) -> Pixels:
    """Adds a constant to the picture."""
    return shown(shown(pixels) + np.float32(shift))


def contrast(pixels: Pixels, *, factor: float) -> Pixels:
    """Stretches the picture about middle gray."""
    return shown((shown(pixels) - np.float32(0.5)) * np.float32(factor) + np.float32(0.5))


def gamma(pixels: Pixels, *, exponent: float) -> Pixels:
    """Raises the picture to a power."""
    power: Pixels = np.power(shown(pixels), np.float32(exponent))
    return power


def window_width(pixels: Pixels, *, share: float) -> Pixels:
    """Widens the window by this share of itself about its center; brings gray to what was black or white."""
    return shown((pixels - np.float32(0.5)) / np.float32(1 + share) + np.float32(0.5))


def window_center(pixels: Pixels, *, share: float) -> Pixels:
    """Moves the window up by this share of its width."""
    return shown(pixels - np.float32(share))


def exposure_slope(pixels: Pixels, *, share: float) -> Pixels:
    """Adds a ramp along the columns that rises by ``share`` from edge to edge and has mean 0."""
    ramp = np.linspace(-share / 2, share / 2, pixels.shape[1], dtype=np.float32)
    return shown(shown(pixels) + ramp)


def shift(pixels: Pixels, *, columns: int) -> Pixels:
    """Moves the picture to the right; the edge column is repeated."""
    moved: Pixels = np.pad(shown(pixels), ((0, 0), (columns, 0)), mode="edge")[:, : pixels.shape[1]]
    return moved


def rotation(pixels: Pixels, *, degrees: float) -> Pixels:
    """Turns the picture about its middle, with linear interpolation; edges are repeated."""
    turned: Pixels = ndimage.rotate(shown(pixels), degrees, reshape=False, order=1, mode="nearest")
    return turned


def _fits_in_8_bits(source: Source) -> str:
    few = len(np.unique(source.pixels)) <= 256
    return "the image has no more than 256 gray values, which 8 bits hold." if few else ""


def _is_jpeg(source: Source) -> str:
    return "the file is a JPEG already." if source.values.meta.get("lossy_compression") == "JPEG" else ""


def _no_window(source: Source) -> str:
    display = str(source.values.meta.get("display_source", ""))
    curved = "SIGMOID" in display or display.startswith("VOI LUT")
    return "the file is shown by a curve or a table, and not by a linear window." if curved else ""


NAMED: tuple[Change, ...] = (
    PixelChange("8-bit rounding", None, eight_bits, _fits_in_8_bits),
    *(PixelChange("JPEG quality", q, partial(jpeg, quality=q), _is_jpeg) for q in (95, 75, 50)),
    *(RandomChange("detector noise, sd", sd, partial(detector_noise, sd=sd)) for sd in (0.01, 0.03)),
    *(RandomChange("quantum noise, quanta a pixel", n, partial(quantum_noise, quanta=n)) for n in (1000, 250)),
    PixelChange("unsharp mask of 2 px, amount", 0.5, partial(unsharp_mask, amount=0.5, sd=2.0)),
    PixelChange("Gaussian blur, px", 1, partial(gaussian_blur, sd=1.0)),
    PixelChange("brighter by", 0.02, partial(brightness, shift=0.02)),
    PixelChange("darker by", 0.02, partial(brightness, shift=-0.02)),
    PixelChange("more contrast, factor", 1.02, partial(contrast, factor=1.02)),
    *(PixelChange("larger gamma", g, partial(gamma, exponent=g), always) for g in (1.02, 1.05)),
    PixelChange("wider window, share", 0.02, partial(window_width, share=0.02), _no_window),
    PixelChange("higher window, share", 0.01, partial(window_center, share=0.01), _no_window),
    PixelChange("exposure slope", 0.02, partial(exposure_slope, share=0.02)),
    PixelChange("shift, px", 1, partial(shift, columns=1)),
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
