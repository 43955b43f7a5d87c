"""What is computed once for each gray level is what it would be for each pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from monai_robustinterp.io.read.display_fit import range_fit, range_in_use
from monai_robustinterp.io.read.gray_levels import gray_levels, spread

TYPES = ("u1", "i1", "<u2", "<i2", ">u2", ">i2")


def pixels_of(kind: str) -> npt.NDArray[np.integer]:
    """200 rows, more than one block of them, with both ends of the type."""
    ends = np.iinfo(kind)
    pixels = np.random.default_rng(0).normal(ends.min / 2 + ends.max / 2, ends.max / 9, (200, 70)).astype(kind)
    pixels[0, :2] = ends.min, ends.max
    return pixels


@pytest.mark.parametrize("kind", TYPES)
def test_levels_are_the_values_that_occur_with_their_numbers(kind: str) -> None:
    pixels = pixels_of(kind)
    left_out = np.random.default_rng(1).random(pixels.shape) < 0.5
    left_out[0, :2] = True, False
    levels = gray_levels(pixels, left_out)
    order = np.argsort(levels.values)
    np.testing.assert_array_equal(levels.values[order], np.unique(pixels))
    values, counts = np.unique(pixels[~left_out], return_counts=True)
    np.testing.assert_array_equal(np.sort(levels.counted()), values)
    np.testing.assert_array_equal(levels.counts[order][levels.counts[order] > 0], counts)
    assert levels.counts[levels.values == pixels[0, 0]] == 0  # it occurs among pixels that are left out only
    assert gray_levels(pixels).counts.sum() == pixels.size


@pytest.mark.parametrize("kind", TYPES)
def test_each_pixel_gets_what_its_level_became(kind: str) -> None:
    pixels = pixels_of(kind)
    levels = gray_levels(pixels)
    image = spread(pixels, levels, 0.1 * levels.values.astype(np.float64) - 7)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, (0.1 * pixels.astype(np.float64) - 7).astype(np.float32))


@pytest.mark.parametrize("kind", TYPES)
def test_a_range_fits_levels_as_it_fits_the_pixels(kind: str) -> None:
    pixels = pixels_of(kind)
    levels, every = gray_levels(pixels), pixels.ravel().astype(np.float64)
    low, high = np.quantile(every, (0.1, 0.8))
    fit = range_fit(levels.values, levels.counts, low, high)
    shown = np.clip((every - low) / (high - low), 0, 1)
    assert fit.deviation == pytest.approx(shown.std(), rel=1e-12)
    assert fit.clipped == np.mean(np.minimum(shown, 1 - shown) <= 1 / 512)
    assert fit.margin == pytest.approx(range_fit(every, np.ones(every.size, dtype=np.int64), low, high).margin)
    bits, signed = 8 * pixels.itemsize + 3, kind[-2] == "i"
    used = range_in_use(levels.values, levels.counts, bits=bits, signed=signed)
    assert (used.low, used.high) == (np.iinfo(kind).min, np.iinfo(kind).max)
