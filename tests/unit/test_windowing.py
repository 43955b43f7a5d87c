"""ScaleDisplayRange against pydicom's own windowing."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.io.array import LoadImage
from monai.transforms.io.dictionary import LoadImaged
from pydicom import dcmread
from pydicom.pixels.processing import apply_voi_lut

from monai_robustinterp.io.read.reader import ChestXRayReader
from monai_robustinterp.transforms.windowing import (
    ScaleDisplayRange,
    ScaleDisplayRangeD,
    ScaleDisplayRanged,
    ScaleDisplayRangeDict,
)
from tests.support.cases import collected
from tests.support.dicom_factory import make_dx

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader", "ignore:.*nvImageCodec")


def test_clipped_equals_pydicom_window(tmp_path_factory: pytest.TempPathFactory) -> None:
    with collected() as case:
        for function, (center, width), mono1 in itertools.product(
            ["LINEAR", "LINEAR_EXACT"], [(2048, 4096), (1500.5, 800), (2500, 700)], [False, True]
        ):
            with case(function, center, width, mono1):
                tmp_path = tmp_path_factory.mktemp("case")
                voi = {"VOILUTFunction": function, "WindowCenter": center, "WindowWidth": width}
                path = make_dx(tmp_path / "image.dcm", cr=True, mono1=mono1, elements=voi)
                scaled = ScaleDisplayRange()(LoadImage(reader=ChestXRayReader())(path))
                windowed = apply_voi_lut(dcmread(path).pixel_array, dcmread(path)) / 4095
                np.testing.assert_allclose(scaled[0].numpy(), 1 - windowed if mono1 else windowed, atol=1e-3)


@pytest.mark.parametrize("signed", [False, True])
def test_clipped_equals_pydicom_window_after_rescale(tmp_path: Path, signed: bool) -> None:
    voi = {"WindowCenter": 1700, "WindowWidth": 1200}
    path = make_dx(tmp_path / "image.dcm", cr=True, signed=signed, elements=voi)
    scaled = ScaleDisplayRange()(LoadImage(reader=ChestXRayReader())(path))
    dataset = dcmread(path)
    modality = dataset.pixel_array + float(dataset.get("RescaleIntercept", 0))
    np.testing.assert_allclose(scaled[0].numpy(), apply_voi_lut(modality, dataset) / 4095, atol=1e-3)


def image(low: Any = 10.0, high: Any = 30.0) -> MetaTensor:
    return MetaTensor(
        torch.tensor([[[0.0, 10.0, 20.0, 50.0]]]), meta={"display_min": low, "display_max": high, "x": "y"}
    )


def test_unclipped_values_keep_their_distance() -> None:
    assert ScaleDisplayRange(clip=False)(image()).tolist() == [[[-0.5, 0.0, 0.5, 2.0]]]
    assert ScaleDisplayRange()(image()).tolist() == [[[0.0, 0.0, 0.5, 1.0]]]


def test_meta_and_input_are_kept() -> None:
    before = image()
    after = ScaleDisplayRange()(before)
    assert isinstance(after, MetaTensor)
    assert after.dtype == torch.float32
    assert {k: after.meta[k] for k in ("display_min", "display_max", "x")} == {
        "display_min": 10.0,
        "display_max": 30.0,
        "x": "y",
    }
    assert before.max() == 50


@pytest.mark.parametrize("bad", [torch.zeros(1, 4, 4), MetaTensor(torch.zeros(1, 4, 4)), np.zeros((1, 4, 4))])
def test_missing_range_is_said_clearly(bad: Any) -> None:
    with pytest.raises(ValueError, match="no display_min and display_max"):
        ScaleDisplayRange()(bad)


@pytest.mark.parametrize(("low", "high"), [(5.0, 5.0), (9.0, 2.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_invalid_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="display_min < display_max"):
        ScaleDisplayRange()(image(low, high))


def test_dictionary_version(tmp_path: Path) -> None:
    assert ScaleDisplayRangeD is ScaleDisplayRangeDict is ScaleDisplayRanged
    load = LoadImaged(keys="image", reader=ChestXRayReader())  # type: ignore[arg-type]
    pipeline = Compose([load, ScaleDisplayRanged(keys="image")])
    data = pipeline({"image": str(make_dx(tmp_path / "image.dcm")), "label": 1})
    assert data["label"] == 1
    assert 0 <= data["image"].min() < data["image"].max() == 1
    assert data["image"].meta["display_source"].startswith("window 1 of 1")
    with pytest.raises(KeyError):
        ScaleDisplayRanged(keys="absent")({})
    assert ScaleDisplayRanged(keys="absent", allow_missing_keys=True)({}) == {}
    unclipped = ScaleDisplayRanged(keys="image", clip=False)({"image": image()})
    assert unclipped["image"].max() == 2
