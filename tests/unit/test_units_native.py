"""The resize between detector and network: its matrix, its exact norms, and the radius in stored units."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn.functional import interpolate

from monai_robustinterp.certificates.resize import ResizeNorms, area_resize_matrix, resize_norms
from monai_robustinterp.certificates.units import native_radius
from tests.support.cases import collected

Array = npt.NDArray[np.float64]
SIZES = [(256, 128), (300, 128), (131, 128), (128, 128), (50, 128), (1, 5), (7, 1), (1, 1), (5, 7), (97, 32)]


def resized(image: Array, size: tuple[int, int]) -> Array:
    """Torch's own."""
    return interpolate(torch.from_numpy(image)[None, None], size=size, mode="area")[0, 0].numpy()


def top_singular_vector(rows: Array, columns: Array) -> Array:
    """Unit perturbation of the native image that the resize magnifies most, shape [h, w]."""
    return np.outer(np.linalg.svd(rows)[2][0], np.linalg.svd(columns)[2][0])


def test_the_matrix_is_the_resize_of_torch() -> None:
    with collected() as case:
        for size_in, size_out in SIZES:
            with case(size_in, size_out):
                rng = np.random.default_rng(size_in)
                image = rng.normal(size=(size_in, size_in + 3))
                rows, columns = area_resize_matrix(size_in, size_out), area_resize_matrix(size_in + 3, size_out + 1)
                assert np.allclose(
                    rows @ image @ columns.T, resized(image, (size_out, size_out + 1)), rtol=0, atol=1e-13
                )


def test_norms_bound_every_perturbation_and_are_reached() -> None:
    with collected() as case:
        for size_in, size_out in SIZES:
            with case(size_in, size_out):
                other_in, other_out = 2 * size_in + 1, size_out
                rows, columns = area_resize_matrix(size_in, size_out), area_resize_matrix(other_in, other_out)
                norms = resize_norms(rows, columns)
                rng = np.random.default_rng(0)
                for _ in range(20):
                    delta = rng.normal(size=(size_in, other_in)) + rng.normal()
                    image = resized(delta, (size_out, other_out))
                    assert np.linalg.norm(image) <= norms.l2 * np.linalg.norm(delta)
                    assert np.abs(image).max() <= norms.l_inf * np.abs(delta).max()
                worst = resized(top_singular_vector(rows, columns), (size_out, other_out))
                assert np.linalg.norm(worst) <= norms.l2
                assert np.linalg.norm(worst) == pytest.approx(norms.l2, rel=1e-9)
                assert norms.l_inf == pytest.approx(1, rel=1e-9) and norms.l_inf >= 1


def test_power_iteration_on_torch_finds_the_norm() -> None:
    """It knows nothing of matrices: only torch's resize and its gradient."""
    delta = torch.rand(1, 1, 75, 61, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(300):
        delta = (delta / delta.norm()).requires_grad_()
        interpolate(delta, size=(32, 32), mode="area").square().sum().mul(0.5).backward()
        delta = delta.grad
    found = float(delta.norm().sqrt())
    norms = resize_norms(area_resize_matrix(75, 32), area_resize_matrix(61, 32))
    assert found <= norms.l2 and found == pytest.approx(norms.l2, rel=1e-6)


def test_a_divisible_reduction_has_the_norm_of_an_average() -> None:
    """Averages of f x f pixels: ||R||_2 = 1 / f; enlarging f-fold repeats pixels: ||R||_2 = f."""
    for rows, expected in ((area_resize_matrix(96, 32), 1 / 3), (area_resize_matrix(32, 96), 3)):
        assert resize_norms(rows, rows).l2 == pytest.approx(expected, rel=1e-10)


def test_norms_are_those_of_signed_kernels_too() -> None:
    rows, columns = np.array([[1.5, -0.5], [0.25, 0.5]]), np.array([[-2.0]])
    norms = resize_norms(rows, columns)
    assert norms.l2 == pytest.approx(np.linalg.norm(np.kron(rows, columns), 2))
    assert norms.l_inf == pytest.approx(4)


def test_no_size_below_one() -> None:
    with pytest.raises(ValueError, match="0 and 5"):
        area_resize_matrix(0, 5)


def is_above_the_norm(norm: float, size_in: int, size_out: int) -> bool:
    """Whether norm**2 I - R R' is positive definite, in exact rational arithmetic, for a reduction.

    R R' is tridiagonal then: only neighboring windows overlap, in one pixel at most.
    """
    windows = [(i * size_in // size_out, -(-(i + 1) * size_in // size_out)) for i in range(size_out)]
    pivot = Fraction(1)
    for i, (start, end) in enumerate(windows):
        shared = max(windows[i - 1][1] - start, 0) if i else 0
        coupling = Fraction(shared, (end - start) * (windows[i - 1][1] - windows[i - 1][0]))
        pivot = Fraction(norm) ** 2 - Fraction(1, end - start) - coupling**2 / pivot
        if pivot <= 0:
            return False
    return True


@pytest.mark.parametrize("size_in", [128, 131, 200, 300, 1000])
def test_the_norm_is_rounded_up_and_hardly(size_in: int) -> None:
    norm = resize_norms(area_resize_matrix(size_in, 128), np.ones((1, 1))).l2
    assert is_above_the_norm(norm, size_in, 128)
    assert not is_above_the_norm(norm * (1 - 1e-8), size_in, 128)


def test_the_norm_of_the_largest_image_agrees_with_the_singular_values() -> None:
    matrix = area_resize_matrix(10_000, 128)
    norm, exact = resize_norms(matrix, np.ones((1, 1))).l2, np.linalg.norm(matrix, 2)
    assert exact <= norm <= exact * (1 + 1e-8)


def test_a_chain_by_hand() -> None:
    """Half-size averages (norm 1/2), slope 2 / 1000. Of L = 0.1002 each image loses 1e-4: 100 stored units.

    In every pixel it is 0.1 / (sqrt(4) * 0.002) = 25.
    """
    axis = area_resize_matrix(4, 2)
    norms = resize_norms(axis, axis)
    radius = native_radius(0.1002, norms=norms, slope=0.002, n_pixels=4, round_off=0.0001)
    assert radius.l2 == pytest.approx(100, rel=1e-9) and radius.l2 <= 100
    assert radius.l_inf == pytest.approx(25, rel=1e-9) and radius.l_inf <= 25
    nothing = native_radius(0, norms=norms, slope=0.002, n_pixels=4, round_off=0.0001)
    assert nothing.l2 == nothing.l_inf == 0


@pytest.mark.parametrize(("l2", "slope"), [(-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0), (1.0, float("nan"))])
def test_no_native_radius_without_radius_or_slope(l2: float, slope: float) -> None:
    with pytest.raises(ValueError, match="report the reason"):
        native_radius(l2, norms=ResizeNorms(1, 1), slope=slope, n_pixels=4, round_off=0.0)
