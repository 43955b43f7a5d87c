"""Radii in stored pixels: the scale bounds every change through the shipped preprocessing; no other chain has one."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import (
    CastToTyped,
    CenterSpatialCropd,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    OneOf,
    RandGaussianNoised,
    Resized,
    ScaleIntensityd,
    ScaleIntensityRangePercentilesd,
    ToDeviced,
)
from PIL import Image

from monai_robustinterp.certificates.native import NATIVE_UNIT, NativeScale, native_record
from monai_robustinterp.certificates.resize import area_resize_matrix
from monai_robustinterp.geometry.native import native_scale
from monai_robustinterp.io import ChestXRayReader
from monai_robustinterp.transforms import CropCenterSquare, CropCenterSquared, ScaleDisplayRanged
from tests.support.cases import collected
from tests.support.dicom_factory import make_dx

torch.set_num_threads(1)

Pixels = npt.NDArray[Any]
# Of classifiers: a denoiser reads no files.
CONFIGS = [
    path
    for path in sorted(Path(__file__).parents[2].glob("bundles/*/configs/inference.json"))
    if '"preprocessing"' in path.read_text()
]
SHAPE = (128, 128)


@functools.cache  # MONAI takes a second to build LoadImaged
def shipped(config: Path = CONFIGS[0]) -> Compose:
    """The bundle's own steps."""
    parser = ConfigParser(json.loads(config.read_text()) | {"device": "cpu"})
    preprocessing = parser.get_parsed_content("preprocessing")
    assert isinstance(preprocessing, Compose)
    return preprocessing


def network_input(preprocessing: Compose, path: Path) -> tuple[npt.NDArray[np.float64], NativeScale]:
    image = preprocessing({"image": str(path)})["image"]
    return image.double().numpy()[0], native_scale(preprocessing, image.meta, tuple(image.shape[1:]))


def top_singular_vector(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The change of the pixels that crop and resize magnify most, scaled to the largest value 1."""
    side = min(shape)
    direction = np.linalg.svd(area_resize_matrix(side, SHAPE[0]), full_matrices=False)[2][0]
    top, left = (size // 2 - side // 2 for size in shape)
    worst = np.zeros(shape)
    worst[top : top + side, left : left + side] = np.outer(direction, direction)
    return worst / np.abs(worst).max()


def check_the_bound(write: Callable[[Path, Pixels], Path], base: Pixels, room: int, folder: Path) -> None:
    """Changes of the stored pixels by up to ``room`` units, which does not clip, and by far more.

    Args:
        write: stores pixels in a file.
        base: pixels in the steepest part of the display range.
        room: the largest change that stays there.
        folder: for the files.
    """
    preprocessing, rng = shipped(), np.random.default_rng(0)
    clean, scale = network_input(preprocessing, write(folder / "clean", base))
    assert scale.reason == ""
    worst = np.rint(room * top_singular_vector(base.shape)).astype(int)
    uniform = np.full(base.shape, room)
    random = rng.integers(-room, room + 1, size=base.shape)
    single = np.zeros(base.shape, int)
    single[base.shape[0] // 2, base.shape[1] // 2] = room
    shares = []
    for change in (worst, uniform, -worst, random, np.sign(random) * room, single, 3 * random, 3 * worst):
        image = network_input(preprocessing, write(folder / "moved", (base + change).astype(base.dtype)))[0]
        l2 = np.linalg.norm(image - clean) / (scale.norm_l2 * scale.slope * np.linalg.norm(change))
        l_inf = np.abs(image - clean).max() / (scale.norm_l_inf * scale.slope * np.abs(change).max())
        shares.append((l2, l_inf))
    assert shares[0][0] == pytest.approx(1, abs=0.01)
    assert shares[1][1] == pytest.approx(1, abs=0.01)
    assert np.max(shares) <= 1 + 1e-5  # the network's input is float32


def stored_16_bit(shape: tuple[int, int], center: int, spread: int) -> Pixels:
    rng = np.random.default_rng(1)
    return rng.integers(center - spread, center + spread + 1, size=shape).astype(np.uint16)


VOI = {"WindowCenter": 30_000, "WindowWidth": 8001}
RESCALED = {"RescaleSlope": "-0.37", "RescaleIntercept": "1000", "WindowCenter": 1000 - 0.37 * 30_000}
KINDS: dict[str, dict[str, Any]] = {
    "linear": {"elements": VOI},
    "exact mono1": {"elements": VOI | {"VOILUTFunction": "LINEAR_EXACT", "WindowWidth": 8000}, "mono1": True},
    "rescaled": {"elements": VOI | RESCALED | {"WindowWidth": 3000}},
    # The sigmoid is nearly linear where pixels reach only its middle, which must not be too flat to be shown.
    "sigmoid": {"elements": VOI | {"VOILUTFunction": "SIGMOID", "WindowWidth": 60_000}},
    "sigmoid rescaled mono1": {
        "elements": VOI | RESCALED | {"VOILUTFunction": "SIGMOID", "WindowWidth": 22_000},
        "mono1": True,
    },
    "full range": {"elements": {"WindowCenter": None, "WindowWidth": None}},
}
SHAPES = [(300, 262), (200, 331), (129, 128), (90, 131), (256, 256)]


def written(path: Path, pixels: Pixels, **options: Any) -> Path:
    return make_dx(path, pixels=pixels, **options)


def test_no_change_of_a_dicom_file_moves_the_input_further(tmp_path_factory: pytest.TempPathFactory) -> None:
    cases = [*((kind, shape) for kind in KINDS for shape in SHAPES[:2]), *(("linear", shape) for shape in SHAPES[2:])]
    with collected() as case:
        for kind, shape in cases:
            with case(kind, shape):
                tmp_path = tmp_path_factory.mktemp("case")
                options = KINDS[kind]
                # MONOCHROME1 is stored as 65535 - shown: the stored pixels lie in the middle of the window.
                center = 65_535 - 30_000 if options.get("mono1") else 30_000
                spread, room = (2200, 300) if "sigmoid" in kind else (300, 2000)
                check_the_bound(
                    functools.partial(written, bits_stored=16, **options),
                    stored_16_bit(shape, center, spread),
                    room,
                    tmp_path,
                )


def test_no_radius_beyond_the_margin_of_the_display_range() -> None:
    scale = NativeScale(slope=0.001, norm_l2=0.5, norm_l_inf=1.0, rho=1.0, round_off=0.001, reason="")
    radius = native_record(0.102, scale, 128 * 128)
    assert radius["l2"] and radius["l_inf"] and radius["reason"] == ""
    for margins in ({"margin_l2": 0.99 * radius["l2"]}, {"margin_l_inf": 0.99 * radius["l_inf"]}):
        record = native_record(0.102, dataclasses.replace(scale, **margins), 128 * 128)
        assert record["l2"] is record["l_inf"] is record["slope"] is None
        assert "could have another one" in record["reason"]
    within = dataclasses.replace(scale, margin_l2=radius["l2"], margin_l_inf=radius["l_inf"])
    assert native_record(0.102, within, 128 * 128) == radius


def test_margins_and_pixels_that_are_not_square() -> None:
    margins = META | {"display_margin": 600.0}
    scale = native_scale(shipped(), margins, SHAPE)
    assert (scale.margin_l2, scale.margin_l_inf) == (600.0, pytest.approx(600 / math.sqrt(300 * 262)))
    assert "not square" in native_scale(shipped(), META | {"pixel_aspect": 0.5}, SHAPE).reason
    assert native_scale(in_order(0, 1, 3, 4)(), META | {"pixel_aspect": 0.5}, SHAPE).reason == ""


def test_no_change_of_a_png_moves_the_input_further(tmp_path: Path) -> None:
    def write(path: Path, pixels: Pixels) -> Path:
        Image.fromarray(pixels).save(path, format="PNG")
        return path

    check_the_bound(write, stored_16_bit((200, 150), 30_000, 300), 9000, tmp_path)
    check_the_bound(write, stored_16_bit((200, 150), 128, 5).astype(np.uint8), 40, tmp_path)


META = {"spatial_shape": np.array([300, 262]), "pixel_aspect": 1.0, "display_slope": 0.25, "display_rho": 1.0}
META |= {"display_margin": math.inf, "display_slope_reason": ""}
Chain = Callable[[], Compose]


def with_step(position: int, kind: Callable[..., Any], *args: Any, **options: Any) -> Chain:
    """The shipped chain and one more step; built later, since ``LoadImaged`` takes a second."""

    def chain() -> Compose:
        steps = list(shipped().transforms)
        steps.insert(position, kind(*args, **options))
        return Compose(steps)

    return chain


def instead(position: int, kind: Callable[..., Any], *args: Any, **options: Any) -> Chain:
    """The shipped chain with another step at that position."""

    def chain() -> Compose:
        steps = list(shipped().transforms)
        steps[position] = kind(*args, **options)
        return Compose(steps)

    return chain


def in_order(*positions: int) -> Chain:
    """These steps of the shipped chain."""
    return lambda: Compose([shipped().transforms[position] for position in positions])


def of_two_images() -> Compose:
    """A chain whose second image is resized otherwise."""
    keys = ("image", "prior")
    resized = Resized(keys, SHAPE, mode=("area", "bilinear"))
    return Compose([LoadImaged(keys, reader=READER), ScaleDisplayRanged(keys), CropCenterSquared(keys), resized])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.parents[1].name)
def test_every_shipped_bundle_has_a_scale(config: Path) -> None:
    scale = native_scale(shipped(config), META, SHAPE)
    assert (scale.slope, scale.reason) == (0.25, "")
    assert scale.norm_l2 == pytest.approx(np.linalg.norm(area_resize_matrix(262, 128), 2) ** 2, rel=1e-8)


@pytest.mark.parametrize(
    "chain",
    [
        in_order(0, 1, 3, 4),  # no crop
        in_order(0, 1, 2, 3),  # no cast
        with_step(1, EnsureChannelFirstd, "image"),
        with_step(2, EnsureTyped, "image", dtype=np.float32),
        with_step(5, ToDeviced, "image", device="cpu"),
    ],
)
def test_harmless_variants_have_a_scale(chain: Chain) -> None:
    preprocessing = chain()
    cropped = any(isinstance(step, CropCenterSquared) for step in preprocessing.transforms)
    scale = native_scale(preprocessing, META, SHAPE)
    norms = [np.linalg.norm(area_resize_matrix(side, 128), 2) for side in ((262, 262) if cropped else (300, 262))]
    assert scale.reason == ""
    assert scale.norm_l2 == pytest.approx(math.prod(norms), rel=1e-8)


class OwnReader(ChestXRayReader):
    pass


class OwnScale(ScaleDisplayRanged):
    pass


READER = ChestXRayReader()
AREA = {"keys": "image", "spatial_size": SHAPE}
CHAINS: dict[str, tuple[Chain, str]] = {
    "percentiles": (with_step(2, ScaleIntensityRangePercentilesd, "image", 1, 99, 0, 1), "ScaleIntensityRangePercent"),
    "own min and max": (with_step(4, ScaleIntensityd, "image"), "step ScaleIntensityd"),
    "own mean": (with_step(4, NormalizeIntensityd, "image"), "step NormalizeIntensityd"),
    "noise": (with_step(5, RandGaussianNoised, "image"), "step RandGaussianNoised"),
    "bytes at the end": (with_step(5, CastToTyped, "image", dtype=torch.uint8), "step CastToTyped"),
    "bytes at loading": (instead(0, LoadImaged, "image", reader=READER, dtype=np.uint8), "arguments .* LoadImaged"),
    "typed as bytes": (instead(4, EnsureTyped, "image", dtype=torch.uint8), "arguments .* EnsureTyped"),
    "half precision": (instead(4, EnsureTyped, "image", dtype=torch.float16), "arguments .* EnsureTyped"),
    "device and type": (with_step(5, ToDeviced, "image", device="cpu", dtype=torch.uint8), "arguments .* ToDeviced"),
    "another reader": (instead(0, LoadImaged, "image"), "arguments .* LoadImaged"),
    "a subclass of the reader": (instead(0, LoadImaged, "image", reader=OwnReader()), "arguments .* LoadImaged"),
    "a subclass of a step": (instead(1, OwnScale, "image"), "step OwnScale"),
    "not clipped": (instead(1, ScaleDisplayRanged, "image", clip=False), "arguments .* ScaleDisplayRanged"),
    "another crop": (instead(2, CenterSpatialCropd, "image", roi_size=SHAPE), "step CenterSpatialCropd"),
    "an array transform": (instead(2, CropCenterSquare), "step CropCenterSquare "),
    "a function": (with_step(2, lambda: lambda data: data), "step function"),
    "a nested chain": (lambda: Compose([shipped()]), "step Compose"),
    "bilinear": (instead(3, Resized, **AREA, mode="bilinear"), "arguments .* Resized"),
    "nearest": (instead(3, Resized, **AREA, mode="nearest"), "arguments .* Resized"),
    "anti-aliased": (instead(3, Resized, **AREA, anti_aliasing=True), "arguments .* Resized"),
    "bytes in the resize": (instead(3, Resized, **AREA, dtype=np.uint8), "arguments .* Resized"),
    "longest side": (instead(3, Resized, "image", 128, size_mode="longest"), "arguments .* Resized"),
    "open size": (instead(3, Resized, "image", (128, -1)), "arguments .* Resized"),
    "another size": (instead(3, Resized, "image", (128, 64)), "arguments .* Resized"),
    "aligned corners": (instead(3, Resized, **AREA, mode="area", align_corners=True), "arguments .* Resized"),
    "channel elsewhere": (
        with_step(1, EnsureChannelFirstd, "image", channel_dim=1),
        "arguments .* EnsureChannelFirstd",
    ),
    "two keys": (instead(3, Resized, ("image", "mask"), SHAPE), "arguments .* Resized"),
    "two keys throughout": (of_two_images, "arguments .* LoadImaged"),
    "another key": (instead(3, Resized, "mask", SHAPE), "arguments .* Resized"),
    "no display range": (in_order(0, 2, 3, 4), "LoadImaged, CropCenterSquared, Resized; known is"),
    "no resize": (in_order(0, 1, 2, 4), "in this order"),
    "resized twice": (with_step(3, Resized, **AREA), "in this order"),
    "scaled twice": (with_step(2, ScaleDisplayRanged, "image"), "in this order"),
    "scaled after the resize": (in_order(0, 2, 3, 1), "in this order"),
    "cropped after the resize": (in_order(0, 1, 3, 2), "in this order"),
    "loaded last": (in_order(1, 2, 3, 0), "in this order"),
    "nothing": (lambda: Compose([]), "is empty"),
    "one of": (lambda: OneOf(shipped().transforms), "no Compose but OneOf"),
    "lazy": (lambda: Compose(shipped().transforms, lazy=True), "lazy"),
    "lazy by step": (lambda: Compose(shipped().transforms, lazy=None), "lazy"),
}


def test_no_other_chain_has_a_scale() -> None:
    with collected() as case:
        for name in CHAINS:
            with case(name):
                chain, words = CHAINS[name]
                scale = native_scale(chain(), META, SHAPE)
                assert (scale.slope, scale.norm_l2, scale.norm_l_inf) == (None, None, None)
                assert re.search(words, scale.reason)
                assert scale.reason.startswith("no radius in stored units: ") and scale.reason.endswith(".")
                assert not any(digit in scale.reason for digit in "0123456789")
                assert native_scale(shipped(), META, SHAPE).reason == ""


def test_the_reason_of_the_reader_is_passed_on(tmp_path: Path) -> None:
    _, scale = network_input(shipped(), make_dx(tmp_path / "a.dcm", elements={"PixelPaddingValue": 4095}))
    assert scale.slope is scale.norm_l2 is scale.norm_l_inf is None
    assert scale.reason.startswith("no radius in stored units: pixels at the padding value")


@pytest.mark.parametrize("slope", [math.nan, 0.0, math.inf, None])
def test_no_scale_without_a_slope(slope: float | None) -> None:
    meta = {key: value for key, value in (META | {"display_slope": slope}).items() if value is not None}
    assert "state no slope" in native_scale(shipped(), meta, SHAPE).reason


def test_the_record_by_hand() -> None:
    """Slope 1/1000, halved by the average: 0.1 is 200 stored units; of one pixel 0.1 / 128 * 1000 = 0.78125."""
    scale = NativeScale(slope=0.001, norm_l2=0.5, norm_l_inf=1.0, rho=1.0, round_off=0.001, reason="")
    # The round-off is lost at both images.
    record = native_record(0.102, scale, 128 * 128)
    assert record["l2"] == pytest.approx(200, rel=1e-9) and record["l2"] <= 200
    assert record["l_inf"] == pytest.approx(0.78125, rel=1e-9) and record["l_inf"] <= 0.78125
    factors = {
        "norm_l2": 0.5,
        "norm_l_inf": 1.0,
        "slope": 0.001,
        "rho": 1.0,
        "round_off": 0.001,
        "unit": NATIVE_UNIT,
        "reason": "",
    }
    assert {key: record[key] for key in factors} == factors
    assert record.keys() == factors.keys() | {"l2", "l_inf"}
    for l2 in (0.0, 0.002):
        nothing = native_record(l2, scale, 128 * 128)
        assert (nothing["l2"], nothing["l_inf"], nothing["reason"]) == (0.0, 0.0, "")


def test_the_record_without_a_scale() -> None:
    for l2 in (0.1, 0.0):
        record = native_record(l2, NativeScale(None, None, None, None, None, "why."), 128 * 128)
        assert record.pop("reason") == "why." and record.pop("unit") == NATIVE_UNIT
        assert record == dict.fromkeys(("l2", "l_inf", "norm_l2", "norm_l_inf", "slope", "rho", "round_off"))


def test_the_largest_image_is_fast() -> None:
    preprocessing, start = shipped(), time.process_time()
    native_scale(preprocessing, META | {"spatial_shape": np.array([10_000, 10_000])}, SHAPE)
    assert time.process_time() - start < 1
