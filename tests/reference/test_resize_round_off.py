"""Round-off between stored pixels and the network's input, against float64 and exact sums.

The bounds are L11 and L12 of docs/theory/numerics.md, for float32 and any order of summation. The images are random,
constant, and made so that every addition of torch's own order rounds up by almost half a unit.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Resize

from monai_robustinterp.certificates.resize import (
    area_resize_matrix,
    display_round_off,
    resize_round_off,
    sum_round_off,
)
from monai_robustinterp.transforms import ScaleDisplayRange

torch.set_num_threads(1)

Array = npt.NDArray[np.float64]
Shape = tuple[int, int]

U = 2.0**-24
TO = (128, 128)
FROM: list[Shape] = [(1024, 1024), (1955, 1841), (440, 440), (131, 300), (64, 64)]
RANGES = [(0.0, 1.0), (0.0, 4095.0), (-1000.3, 3071.7), (1e4 + 0.1, 1.01e4)]


def shown_within(low: float, high: float, *, intercept: float = 0.0) -> float:
    return display_round_off(max(abs(low), abs(high), abs(intercept)) / (high - low))


def area_mean(image: Array, shape: Shape) -> Array:
    rows, columns = (area_resize_matrix(*sizes) for sizes in zip(image.shape, shape))
    mean: Array = rows @ image @ columns.T
    return mean


def resized(image: npt.NDArray[np.float32], shape: Shape) -> Array:
    """MONAI's own, as the bundles call it."""
    return Resize(spatial_size=shape, mode="area")(torch.from_numpy(image)[None])[0].double().numpy()


def rounding_up(length: int) -> npt.NDArray[np.float32]:
    """Values near 1; each makes the float32 sum of those before it round up by nearly half a unit."""
    values, total = [np.float32(1 - U)], np.float32(1 - U)
    for _ in range(length - 1):
        unit = Fraction(float(np.spacing(np.float32(float(total) + 0.9))))
        wanted = (unit / 2 + Fraction(U) - Fraction(float(total))) % unit
        steps = (1 - Fraction(U) - wanted) // unit
        values.append(np.float32(float(wanted + steps * unit)))
        total = np.float32(total + values[-1])
    return np.array(values, dtype=np.float32)


def images(shape: Shape, to: Shape) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(shape[0])
    pool = [np.float32(value) for value in rng.uniform(0.9, 1, 24)]
    worst = max(pool, key=lambda value: np.linalg.norm(resized(np.full(shape, value), to) - np.float64(value)))
    found = {
        "uniform": rng.random(shape, dtype=np.float32),
        "bright": 1 - rng.random(shape, dtype=np.float32) / 50,
        "constant": np.full(shape, worst, dtype=np.float32),
        "dark": rng.random(shape, dtype=np.float32) * np.float32(1e-30),
    }
    if shape[0] % to[0] == shape[1] % to[1] == 0 and shape != to:
        rows, columns = shape[0] // to[0], shape[1] // to[1]
        found["each sum rounds up"] = np.tile(rounding_up(rows * columns).reshape(rows, columns), to)
    return found


@pytest.mark.parametrize("shape", FROM)
def test_no_image_exceeds_the_bound_of_the_resize(shape: Shape) -> None:
    bound = resize_round_off(shape, TO, display=0)
    for name, image in images(shape, TO).items():
        seen = np.linalg.norm(resized(image, TO) - area_mean(image.astype(np.float64), TO))
        assert seen <= bound, name


def test_the_bound_of_the_resize_is_nearly_reached() -> None:
    """Within 20 %: a bound half as large would be false, for torch's own order."""
    shape = (1024, 1024)
    image = images(shape, TO)["each sum rounds up"]
    seen = np.linalg.norm(resized(image, TO) - area_mean(image.astype(np.float64), TO))
    assert seen >= 0.8 * resize_round_off(shape, TO, display=0)


@pytest.mark.parametrize("shape", [(1024, 1024), (440, 440), (131, 300)])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_no_image_exceeds_the_bound_of_the_whole_chain(shape: Shape, low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    width, display = high - low, shown_within(low, high)
    chosen = {
        "within": low + width * rng.random(shape),
        "beyond": low + width * (3 * rng.random(shape) - 1),
        "the ends": np.where(rng.random(shape) < 0.5, low, high),
        "bright": high - width * rng.random(shape) / 50,
    }
    for name, values in chosen.items():
        image = MetaTensor(values.astype(np.float32)[None], meta={"display_min": low, "display_max": high})
        shown = ScaleDisplayRange()(image)[0].numpy()
        exact = np.clip((values - low) / width, 0, 1)
        assert np.abs(shown - exact).max() <= display, name
        seen = np.linalg.norm(resized(shown, TO) - area_mean(exact, TO))
        assert seen <= resize_round_off(shape, TO, display=display), name


def test_scaling_in_float32_stays_within_its_part() -> None:
    """A NIfTI's slope and intercept are rounded to float32, and so are their product and sum with the stored values."""
    stored = np.arange(-32768, 32768, dtype=np.int16)
    for slope, intercept in ((0.1, 0.3), (1 / 3, -7000.1), (0.01, 123.456)):
        exact = stored * slope + intercept
        low, high = exact.min() + 1 / 7, exact.max() - 1 / 7
        values = stored * np.float32(slope) + np.float32(intercept)
        assert values.dtype == np.float32
        image = MetaTensor(values[None], meta={"display_min": low, "display_max": high})
        shown = ScaleDisplayRange()(image)[0].double().numpy()
        seen = np.abs(shown - np.clip((exact - low) / (high - low), 0, 1)).max()
        assert seen <= shown_within(low, high, intercept=intercept)


def test_any_tree_of_additions_stays_within_its_bound() -> None:
    """Random trees and chains against exact sums; the closed form of F(w) is its definition."""
    rng = np.random.default_rng(2)
    for length in (1, 2, 3, 5, 8, 9, 31, 64, 65):
        assert sum_round_off(length) == sum(2 ** (j - 1).bit_length() for j in range(2, length + 1))
        for draw in range(60):
            values = rounding_up(length) if draw == 0 else (1 - rng.random(length, np.float32) / 9)
            parts = list(values)
            while len(parts) > 1:
                # The first two are a chain, any two a random tree.
                i, j = (0, 1) if draw % 2 == 0 else sorted(rng.choice(len(parts), 2, replace=False))
                parts[i] = np.float32(parts[i] + parts.pop(j))
            error = abs(Fraction(float(parts[0])) - sum(Fraction(float(value)) for value in values))
            assert error <= sum_round_off(length) * Fraction(U) / 2


def test_the_bound_of_common_films_is_small() -> None:
    """So much of a radius is lost twice: figures of docs/theory/numerics.md."""
    display = shown_within(0, 4095)
    bounds = [
        resize_round_off(shape, TO, display=display) for shape in ((440, 440), (1024, 1024), (1841, 1841), (3000, 3000))
    ]
    assert bounds == pytest.approx([1.92e-4, 2.86e-4, 7.73e-4, 1.89e-3], rel=0.01)
