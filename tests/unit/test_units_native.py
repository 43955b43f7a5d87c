"""Native detector units: the resize that is used, its exact norms, and that the native radius really protects."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from torch.nn.functional import interpolate

from monai_robustinterp.certificates.resize import area_resize_matrix, resize_norms
from monai_robustinterp.certificates.units import intensity_slope, native_radius, window_slope
from monai_robustinterp.io import ChestXRayReader
from tests.dicom_factory import chest_like, make_dx

Array = npt.NDArray[np.float64]
SIZES = [(256, 128), (300, 128), (131, 128), (128, 128), (50, 128), (1, 5), (7, 1), (1, 1), (5, 7), (97, 32)]
INFERENCE = Path(__file__).parents[2] / "bundles/chest_xray_certified_saliency/configs/inference.json"


def resized(image: Array, size: tuple[int, int]) -> Array:
    """Torch's own."""
    return interpolate(torch.from_numpy(image)[None, None], size=size, mode="area")[0, 0].numpy()


def top_singular_vector(rows: Array, columns: Array) -> Array:
    """Unit perturbation of the native image that the resize magnifies most, shape [h, w]."""
    return np.outer(np.linalg.svd(rows)[2][0], np.linalg.svd(columns)[2][0])


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_the_matrix_is_the_resize_of_torch(size_in: int, size_out: int) -> None:
    rng = np.random.default_rng(size_in)
    image = rng.normal(size=(size_in, size_in + 3))
    rows, columns = area_resize_matrix(size_in, size_out), area_resize_matrix(size_in + 3, size_out + 1)
    assert np.allclose(rows @ image @ columns.T, resized(image, (size_out, size_out + 1)), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
def test_norms_bound_every_perturbation_and_are_reached(size_in: int, size_out: int) -> None:
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


def preprocessing() -> Compose:
    """The bundle's own steps after loading."""
    config = ConfigParser(json.loads(INFERENCE.read_text()) | {"device": "cpu"})
    steps = config.get_parsed_content("preprocessing").transforms[1:]
    names = [type(step).__name__ for step in steps]
    assert names == ["ScaleDisplayRanged", "CropCenterSquared", "Resized", "EnsureTyped"]
    assert steps[2].resizer.mode == "area"
    return Compose(steps)


@pytest.mark.parametrize("shape", [(300, 262), (128, 200), (90, 131)])
def test_the_native_radius_protects_the_network_input(shape: tuple[int, int]) -> None:
    """Random and worst-case stored perturbations of the native norms, through the bundle's own preprocessing."""
    low, high, rescale, l2 = -100.0, 1900.0, 0.5, 0.3
    rng, steps = np.random.default_rng(1), preprocessing()
    stored = rng.uniform(1000, 3000, size=shape)
    meta = {"display_min": low, "display_max": high}

    def network_input(pixels: Array) -> Array:
        values = torch.from_numpy(pixels * rescale - 100)[None]
        return steps({"image": MetaTensor(values, meta=dict(meta))})["image"].double().numpy()[0]

    slope = intensity_slope(
        **meta,
        display_source="window 1 of 1 (LINEAR)",
        intensity_path=f"stored values; rescale slope {rescale:g} intercept -100; window 1 of 1 (LINEAR) recorded, "
        "not applied",
    ).value
    axis = area_resize_matrix(min(shape), 128)
    radius = native_radius(l2, rows=axis, columns=axis, slope=slope)
    clean = network_input(stored)
    top = (shape[0] // 2 - min(shape) // 2, shape[1] // 2 - min(shape) // 2)
    worst = np.zeros(shape)
    worst[top[0] :, top[1] :][: min(shape), : min(shape)] = top_singular_vector(axis, axis)
    moved = [np.linalg.norm(network_input(stored + radius.l2 * worst) - clean)]
    assert moved[0] == pytest.approx(l2, rel=2e-5)
    # So strong that display clipping cuts it.
    moved.append(np.linalg.norm(network_input(stored + 50 * radius.l2 * worst) - clean) / 50)
    for _ in range(5):
        delta = rng.normal(size=shape)
        moved.append(np.linalg.norm(network_input(stored + radius.l2 * delta / np.linalg.norm(delta)) - clean))
        moved.append(np.linalg.norm(network_input(stored + radius.l_inf * np.sign(delta)) - clean))
    uniform = np.linalg.norm(network_input(stored + radius.l_inf) - clean)
    assert uniform == pytest.approx(l2, rel=2e-5)
    # The bundle computes in float32.
    assert max([*moved, uniform]) <= l2 * (1 + 1e-5)


def test_a_chain_by_hand() -> None:
    """Half-size averages (norm 1/2), slope 2 / 1000: L = 0.1 is 100 stored units, and 0.1 / (sqrt(4) * 0.002) = 25."""
    axis = area_resize_matrix(4, 2)
    slope = window_slope(1000, function="LINEAR_EXACT", rescale_slope=-2)
    radius = native_radius(0.1, rows=axis, columns=axis, slope=slope)
    assert radius.l2 == pytest.approx(100, rel=1e-9) and radius.l2 <= 100
    assert radius.l_inf == pytest.approx(25, rel=1e-9) and radius.l_inf <= 25
    nothing = native_radius(0, rows=axis, columns=axis, slope=slope)
    assert nothing.l2 == nothing.l_inf == 0


@pytest.mark.parametrize(("l2", "slope"), [(-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0), (1.0, float("nan"))])
def test_no_native_radius_without_radius_or_slope(l2: float, slope: float) -> None:
    axis = area_resize_matrix(4, 2)
    with pytest.raises(ValueError, match="report the reason"):
        native_radius(l2, rows=axis, columns=axis, slope=slope)


def displayed(path: Path) -> tuple[Array, dict[str, object]]:
    """Network-range values of a file, unclipped, and its metadata."""
    array, meta = ChestXRayReader().get_data(str(path))
    return (array[0].astype(np.float64) - meta["display_min"]) / (meta["display_max"] - meta["display_min"]), meta


def slope_of(meta: dict[str, object]):
    keys = ("display_min", "display_max", "display_source", "intensity_path")
    return intensity_slope(**{key: meta[key] for key in keys})


AFFINE = [
    {},
    {"mono1": True},
    {"signed": True},
    {"elements": {"WindowWidth": 1200, "WindowCenter": 2000}},
    {"elements": {"WindowWidth": 1200, "WindowCenter": 2000, "VOILUTFunction": "LINEAR_EXACT"}},
    {"elements": {"WindowWidth": None, "WindowCenter": None}},
    {"elements": {"RescaleSlope": "0.123456789", "RescaleIntercept": "-7", "WindowWidth": 300}},
    {"elements": {"RescaleSlope": "-3", "RescaleIntercept": "4", "WindowWidth": None, "WindowCenter": None}},
]


@pytest.mark.parametrize("options", AFFINE, ids=str)
def test_the_slope_from_the_readers_metadata_is_that_of_the_pixels(tmp_path: Path, options: dict) -> None:
    pixels = chest_like(64, 80)
    moved = pixels.copy()
    moved[10:30, 20:40] += 100
    before, meta = displayed(make_dx(tmp_path / "a.dcm", pixels=pixels, **options))
    after, _ = displayed(make_dx(tmp_path / "b.dcm", pixels=moved, **options))
    observed = np.abs(after - before).max() / 100
    slope = slope_of(meta).value
    assert slope == pytest.approx(observed, rel=1.2e-5)
    # float32 in the reader; the slope itself is rounded up.
    assert observed <= slope * (1 + 1e-5)


def test_a_rescale_slope_that_the_reader_prints_too_small_is_rounded_up(tmp_path: Path) -> None:
    options = {"RescaleSlope": "0.1234564999", "RescaleIntercept": "0", "WindowWidth": 301}
    meta = displayed(make_dx(tmp_path / "a.dcm", elements=options))[1]
    assert "rescale slope 0.123456 " in meta["intensity_path"]
    assert slope_of(meta).value >= 0.1234564999 / 300


LUT = {"WindowWidth": None, "WindowCenter": None}


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"VOILUTFunction": "SIGMOID"}, "sigmoid"),
        ({"PixelPaddingValue": 4095}, "padding"),
        ({"SmallestImagePixelValue": 0, "LargestImagePixelValue": 4095} | LUT, "content"),
    ],
)
def test_no_slope_where_the_path_is_not_affine(tmp_path: Path, elements: dict, word: str) -> None:
    slope = slope_of(displayed(make_dx(tmp_path / "a.dcm", elements=elements))[1])
    assert slope.value is None
    assert word in slope.reason and slope.reason.endswith(".")


@pytest.mark.parametrize(
    ("source", "path", "word"),
    [
        ("image minimum and maximum", "stored values", "minimum and maximum"),
        ("unit range of float values", "stored values", "unit range"),
        ("1st to 99th percentile", "stored values", "not known"),
        ("VOI LUT table 1 of 2", "stored values; VOI LUT table 1 of 2", "lookup table"),
        ("full output range of the modality LUT", "stored values; modality LUT", "lookup table"),
        ("window 1 of 1 (LINEAR)", "stored values; modality LUT", "lookup table"),
        ("window 1 of 1 (LINEAR)", "stored values; histogram equalized", "not known"),
        ("window 1 of 1 (LINEAR)", "stored values; rescale slope 0 intercept 1", "rescale"),
        ("full 8-bit range", "stored values; equal channels of P read as gray", "not known"),
    ],
)
def test_what_depends_on_the_content_has_no_slope(source: str, path: str, word: str) -> None:
    slope = intensity_slope(display_min=0, display_max=1, display_source=source, intensity_path=path)
    assert slope.value is None and word in slope.reason


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        ("full 8-bit range", "stored values; equal channels of RGBA read as gray", 1 / 200),
        (
            "header: cal_min, cal_max",
            "stored values; scl_slope 4 scl_inter 0.5; rows from axis 1 (P), columns x",
            1 / 50,
        ),
        ("full 16-bit range, rescaled", "stored values; rescale slope -2 intercept 0; inverted (MONOCHROME1)", 1 / 100),
    ],
)
def test_affine_paths_by_hand(source: str, path: str, expected: float) -> None:
    slope = intensity_slope(display_min=-50, display_max=150, display_source=source, intensity_path=path).value
    assert slope >= expected and slope == pytest.approx(expected, rel=1.1e-5)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_no_range_no_slope(low: float, high: float) -> None:
    slope = intensity_slope(
        display_min=low, display_max=high, display_source="full 8-bit range", intensity_path="stored values"
    )
    assert slope.value is None and "no range" in slope.reason


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_slopes_are_the_steepest_of_the_standards_formulas(function: str) -> None:
    center, width, rescale = 2047.0, 300.0, 0.25
    stored = np.linspace(0, 16380, 2_000_001)
    x = rescale * stored
    shown = {
        "LINEAR": np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1),
        "LINEAR_EXACT": np.clip((x - center) / width + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - center) / width)),
    }[function]
    steepest = np.abs(np.diff(shown) / np.diff(stored)).max()
    slope = window_slope(width, function=function, rescale_slope=rescale)
    assert slope == pytest.approx(steepest, rel=1e-7)
    exact = rescale / (width - 1 if function == "LINEAR" else width)
    assert exact <= slope <= exact * (1 + 1e-11)


@pytest.mark.parametrize(("width", "function"), [(1.0, "LINEAR"), (0.0, "SIGMOID"), (math.inf, "LINEAR_EXACT")])
def test_no_slope_of_an_empty_window(width: float, function: str) -> None:
    with pytest.raises(ValueError, match="width"):
        window_slope(width, function=function)
