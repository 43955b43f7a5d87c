"""What the named changes do to the pixels of a film: functions of display values [H, W], which they leave as they are.

They act on the shown picture, which is cut off at black and white, except for those of the window.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from monai_robustinterp.geometry.source import Pixels


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
