"""What the reader gives for good files: geometry, gray values, display range, metadata, and life inside MONAI."""

from __future__ import annotations

import itertools
import math
import struct
import warnings
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import Dataset
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import decollate_batch
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import CenterSpatialCropd
from monai.transforms.io.array import LoadImage
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.post.dictionary import Invertd
from monai.transforms.spatial.dictionary import Resized
from monai.transforms.utility.array import EnsureChannelFirst
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset as DicomDataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from monai_robustinterp.io.read.header_text import HeaderText
from monai_robustinterp.io.read.reader import ChestXRayReader
from tests.support.cases import collected
from tests.support.dicom_factory import CORNERS, chest_like, make_dx, marker_corner

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader", "ignore:.*nvImageCodec")

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def get(path: Path, *, strict: bool = False) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    reader = ChestXRayReader(strict=strict)
    return reader.get_data(reader.read(path))


def save_png(path: Path, pixels: npt.NDArray[Any], mode: str = "") -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def save_nifti(path: Path, data: npt.NDArray[Any], affine: Any = LPS, version: int = 1, **header: Any) -> Path:
    image_class: Any = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = image_class(data, affine)
    for field, value in header.items():
        image.header[field] = value
    image.to_filename(path)
    return path


def lut_item(table: npt.NDArray[Any], first: int, bits: int) -> DicomDataset:
    item = DicomDataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [table.size % 65536, first, bits])
    item.add_new("LUTData", "OW", table.tobytes())
    return item


# Geometry -------------------------------------------------------------------------------------------------------------


def test_dicom_keeps_rows_columns_and_corner(tmp_path_factory: pytest.TempPathFactory) -> None:
    every_kind = ["dx", "dx mono1", "cr", "cr mono1", "signed", "implicit", "deflated", "rle", "jls"]
    with collected() as case:
        for corner, kind in itertools.product(CORNERS, every_kind):
            with case(corner, kind):
                tmp_path = tmp_path_factory.mktemp("case")
                syntaxes = {
                    "implicit": uid.ImplicitVRLittleEndian,
                    "deflated": uid.DeflatedExplicitVRLittleEndian,
                    "rle": uid.RLELossless,
                    "jls": uid.JPEGLSLossless,
                }
                path = make_dx(
                    tmp_path / "image",
                    rows=120,
                    cols=90,
                    marker=corner,
                    mono1="mono1" in kind,
                    cr=kind.startswith("cr") or kind == "signed",
                    signed=kind == "signed",
                    transfer_syntax=syntaxes.get(kind, uid.ExplicitVRLittleEndian),
                )
                array, meta = get(path)
                assert array.shape == (1, 120, 90)
                assert array.dtype == np.float32
                assert marker_corner(array[0]) == corner
                np.testing.assert_array_equal(array[0], chest_like(120, 90, marker=corner))
                assert list(meta["spatial_shape"]) == [120, 90]


def test_other_formats_keep_rows_columns_and_corner(tmp_path_factory: pytest.TempPathFactory) -> None:
    with collected() as case:
        for corner, suffix in itertools.product(CORNERS, [".png", ".jpg", ".nii", ".nii.gz"]):
            with case(corner, suffix):
                tmp_path = tmp_path_factory.mktemp("case")
                shown = chest_like(120, 90, bits=8, marker=corner).astype(np.uint8)
                path = tmp_path / f"image{suffix}"
                if "nii" in suffix:
                    save_nifti(path, shown.T)
                else:
                    save_png(path, shown)
                array, _ = get(path)
                assert array.shape == (1, 120, 90)
                assert marker_corner(array[0]) == corner
                with Image.open(path) if suffix == ".jpg" else Image.fromarray(shown) as image:
                    np.testing.assert_array_equal(array[0], np.asarray(image))


@pytest.mark.parametrize(("flip_columns", "flip_rows"), [(False, False), (True, False), (False, True), (True, True)])
def test_nifti_affine_signs_flip_the_axes(tmp_path: Path, flip_columns: bool, flip_rows: bool) -> None:
    shown = chest_like(120, 90, bits=8).astype(np.uint8)
    stored = shown[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1].T
    affine = np.diag([1.0 if flip_columns else -1.0, 1.0 if flip_rows else -1.0, 1.0, 1.0])
    array, _ = get(save_nifti(tmp_path / "image.nii", stored, affine))
    np.testing.assert_array_equal(array[0], shown)


def test_nifti_planes_and_axis_orders(tmp_path: Path) -> None:
    shown = chest_like(120, 90, bits=8).astype(np.uint8)
    coronal = np.array([[-2.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, -2.03, 7], [0, 0, 0, 1]])  # axes L, A, I
    array, meta = get(save_nifti(tmp_path / "coronal.nii", shown.T[:, None, :], coronal))
    np.testing.assert_array_equal(array[0], shown)
    np.testing.assert_allclose(meta["spacing_mm"], [2.03, 2])
    swapped = np.array([[0, -2.0, 0, 0], [-2.03, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # axis 0 to P, axis 1 to L
    array, meta = get(save_nifti(tmp_path / "swapped.nii", shown[..., None], swapped))
    np.testing.assert_array_equal(array[0], shown)
    np.testing.assert_allclose(np.diag(meta["affine"]), [2.03, 2, 1, 1])
    upright = np.diag([-1.0, 1.0, 1.0, 1.0])  # rows stored from the feet upwards
    upright[1:3, 1:3] = [[0, 1], [1, 0]]
    array, _ = get(save_nifti(tmp_path / "upright.nii", shown[::-1].T, upright))
    np.testing.assert_array_equal(array[0], shown)


def test_nifti_without_orientation_is_columns_then_rows(tmp_path: Path) -> None:
    shown = chest_like(120, 90, bits=8).astype(np.uint8)
    path = save_nifti(tmp_path / "image.nii", shown.T, None)
    array, meta = get(path)
    np.testing.assert_array_equal(array[0], shown)
    assert "no orientation stated" in meta["intensity_path"]


def test_nifti_2_and_wrong_suffixes_are_found_by_content(tmp_path: Path) -> None:
    shown = chest_like(120, 90, bits=8).astype(np.uint8)
    array, meta = get(save_nifti(tmp_path / "two.nii", shown.T, version=2))
    np.testing.assert_array_equal(array[0], shown)
    assert meta["file_format"] == "NIfTI"
    png = save_png(tmp_path / "image.png", shown).rename(tmp_path / "image.dcm")
    assert get(png)[1]["file_format"] == "image"
    dicom = make_dx(tmp_path / "image.nii.gz", rows=90, cols=80)
    assert get(dicom)[1]["file_format"] == "DICOM"
    assert ChestXRayReader().verify_suffix([png, dicom])
    assert not ChestXRayReader().verify_suffix(tmp_path)


# Gray values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cr", [False, True])
def test_monochrome_pair_gives_the_same_tensor(tmp_path: Path, cr: bool) -> None:
    pair = [get(make_dx(tmp_path / f"{mono1}.dcm", mono1=mono1, cr=cr)) for mono1 in (False, True)]
    np.testing.assert_array_equal(pair[0][0], pair[1][0])
    for key in ("display_min", "display_max", "display_source"):
        assert pair[0][1][key] == pair[1][1][key]
    assert "inverted (MONOCHROME1)" in pair[1][1]["intensity_path"]
    assert "inverted" not in pair[0][1]["intensity_path"]


@pytest.mark.parametrize(
    ("mono1", "shape", "inverted"),
    [(True, "INVERSE", True), (True, None, True), (False, "INVERSE", True), (False, "IDENTITY", False)],
)
def test_inversion_happens_once(tmp_path: Path, mono1: bool, shape: str | None, inverted: bool) -> None:
    path = make_dx(tmp_path / "image.dcm", mono1=mono1, elements={"PresentationLUTShape": shape})
    stored = dcmread(path).pixel_array
    np.testing.assert_array_equal(get(path)[0][0], 4095 - stored if inverted else stored)


def test_signed_and_unsigned_pair_give_the_same_tensor(tmp_path: Path) -> None:
    unsigned, signed = (make_dx(tmp_path / f"{s}.dcm", cr=True, signed=s) for s in (False, True))
    assert dcmread(signed).pixel_array.min() < 0
    np.testing.assert_array_equal(get(unsigned)[0], get(signed)[0])


def test_bit_depths(tmp_path_factory: pytest.TempPathFactory) -> None:
    with collected() as case:
        for (allocated, stored), signed in itertools.product(
            [(8, 8), (16, 8), (16, 10), (16, 15), (16, 16)], [False, True]
        ):
            with case(allocated, stored, signed):
                tmp_path = tmp_path_factory.mktemp("case")
                path = make_dx(
                    tmp_path / "image.dcm", cr=True, bits_allocated=allocated, bits_stored=stored, signed=signed
                )
                array, meta = get(path)
                np.testing.assert_array_equal(array[0], chest_like(bits=stored))
                assert (meta["display_min"], meta["display_max"]) == (0, 2**stored - 1)


def test_bits_above_bits_stored_are_ignored(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "image.dcm", cr=True)
    dataset = dcmread(path)
    dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") | 0xA000).astype("<u2").tobytes()
    dataset.save_as(path)
    np.testing.assert_array_equal(get(path)[0][0], chest_like())


def test_rescale_is_applied_to_values_and_fallback_range(tmp_path: Path) -> None:
    no_window = {"WindowCenter": None, "WindowWidth": None}
    path = make_dx(tmp_path / "a.dcm", cr=True, elements={"RescaleSlope": 2, "RescaleIntercept": -100} | no_window)
    array, meta = get(path)
    np.testing.assert_array_equal(array[0], 2.0 * chest_like() - 100)
    assert (meta["display_min"], meta["display_max"]) == (-100, 2 * 4095 - 100)
    assert meta["display_source"] == "full 12-bit range, rescaled"
    assert "rescale slope 2 intercept -100" in meta["intensity_path"]
    falling = make_dx(tmp_path / "b.dcm", cr=True, elements={"RescaleSlope": -1, "RescaleIntercept": 4095} | no_window)
    array, meta = get(falling)
    np.testing.assert_array_equal(array[0], 4095 - chest_like())
    assert (meta["display_min"], meta["display_max"]) == (0, 4095)


def test_modality_lut_equals_pydicom(tmp_path: Path) -> None:
    table = (np.sqrt(np.arange(4096) / 4095) * 65535).astype("<u2")
    path = make_dx(tmp_path / "image.dcm", cr=True, elements={"WindowCenter": None, "WindowWidth": None})
    dataset = dcmread(path)
    dataset.ModalityLUTSequence = [lut_item(table, 0, 16)]
    dataset.save_as(path)
    array, meta = get(path)
    np.testing.assert_array_equal(array[0], apply_modality_lut(dataset.pixel_array, dcmread(path)))
    assert (meta["display_min"], meta["display_max"]) == (0, 65535)
    assert meta["intensity_path"] == "stored values; modality LUT"


@pytest.mark.parametrize(("first", "size", "bits"), [(0, 4096, 16), (500, 3000, 12), (0, 65536, 16)])
def test_voi_lut_table_equals_pydicom_and_wins_over_the_window(
    tmp_path: Path, first: int, size: int, bits: int
) -> None:
    table = (np.linspace(0, 1, size) ** 2 * (2**bits - 1)).astype("<u2")
    path = make_dx(tmp_path / "image.dcm", cr=True, bits_stored=16 if size == 65536 else 12)
    dataset = dcmread(path)
    dataset.VOILUTSequence = [lut_item(table, first, bits), lut_item(table[::-1], first, bits)]
    dataset.save_as(path)
    array, meta = get(path)
    np.testing.assert_array_equal(array[0], apply_voi_lut(dataset.pixel_array, dcmread(path)))
    assert (meta["display_min"], meta["display_max"]) == (0, 2**bits - 1)
    assert meta["display_source"] == "VOI LUT table 1 of 2"


@pytest.mark.parametrize("packed", [False, True])
def test_voi_lut_table_of_8_bit_entries(tmp_path: Path, packed: bool) -> None:
    table = (np.arange(4096) // 16).astype(np.uint8)
    path = make_dx(tmp_path / "image.dcm", cr=True)
    dataset = dcmread(path)
    dataset.VOILUTSequence = [lut_item(table if packed else table.astype("<u2"), 0, 8)]
    dataset.save_as(path)
    array, meta = get(path)
    np.testing.assert_array_equal(array[0], chest_like() // 16)
    assert meta["display_max"] == 255


@pytest.mark.parametrize("written_as_us", [False, True])
def test_voi_lut_table_with_a_negative_first_value(tmp_path: Path, written_as_us: bool) -> None:
    table = np.arange(4096).astype("<u2")[::-1]
    path = make_dx(tmp_path / "image.dcm", cr=True, signed=True, elements={"RescaleIntercept": 0})
    dataset = dcmread(path)
    item = lut_item(table, -2048, 12)
    if written_as_us:
        item.add_new("LUTDescriptor", "US", [4096, 65536 - 2048, 12])
    dataset.VOILUTSequence = [item]
    dataset.save_as(path)
    np.testing.assert_array_equal(get(path)[0][0], 4095 - chest_like())


@pytest.mark.parametrize("mono1", [False, True])
def test_voi_lut_table_is_inverted_after_the_lookup(tmp_path: Path, mono1: bool) -> None:
    table = (np.linspace(0, 1, 4096) ** 2 * 65535).astype("<u2")
    path = make_dx(tmp_path / "image.dcm", cr=True, mono1=mono1)
    dataset = dcmread(path)
    dataset.VOILUTSequence = [lut_item(table, 0, 16)]
    dataset.save_as(path)
    looked_up = table[dataset.pixel_array].astype(np.float32)
    np.testing.assert_array_equal(get(path)[0][0], 65535 - looked_up if mono1 else looked_up)


def test_sigmoid_window_equals_pydicom(tmp_path: Path) -> None:
    voi = {"VOILUTFunction": "SIGMOID", "WindowCenter": 1800, "WindowWidth": 900}
    path = make_dx(tmp_path / "image.dcm", cr=True, elements=voi)
    array, meta = get(path)
    expected = apply_voi_lut(dcmread(path).pixel_array, dcmread(path)) / 4095
    np.testing.assert_allclose(array[0], expected, atol=1e-6)
    assert (meta["display_min"], meta["display_max"]) == (0, 1)


@pytest.mark.parametrize(
    ("function", "low", "high"), [(None, 501.0, 1500.0), ("LINEAR", 501.0, 1500.0), ("LINEAR_EXACT", 501.0, 1501.0)]
)
def test_linear_windows_are_recorded_not_applied(tmp_path: Path, function: str | None, low: float, high: float) -> None:
    elements = {"VOILUTFunction": function, "WindowCenter": [1001, 9], "WindowWidth": [1000, 7]}
    array, meta = get(make_dx(tmp_path / "image.dcm", cr=True, elements=elements))
    np.testing.assert_array_equal(array[0], chest_like())
    assert (meta["display_min"], meta["display_max"]) == (low, high)
    assert "window 1 of 2" in meta["intensity_path"]
    assert "not applied" in meta["intensity_path"]


def test_invalid_windows_are_ignored_with_a_warning(tmp_path_factory: pytest.TempPathFactory) -> None:
    every_elements = [
        {"WindowWidth": 1},
        {"WindowWidth": 0.5},
        {"WindowWidth": -20},
        {"WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
        {"VOILUTFunction": "CUBIC"},
        {"WindowWidth": None},
        {"WindowCenter": "n/a"},
    ]
    with collected() as case:
        for elements in every_elements:
            with case(elements):
                tmp_path = tmp_path_factory.mktemp("case")
                path = make_dx(tmp_path / "image.dcm", cr=True, elements=elements)
                with pytest.warns(UserWarning, match="the window is ignored"):
                    array, meta = get(path)
                np.testing.assert_array_equal(array[0], chest_like())
                assert (meta["display_min"], meta["display_max"]) == (0, 4095)
                assert meta["display_source"] == "full 12-bit range"
                assert "the window is ignored" in meta["warnings"]


@pytest.mark.parametrize(
    ("smallest", "largest", "used"), [(20, 4095, True), (20, 4000, False), (1000, 4095, False), (None, 4095, False)]
)
def test_smallest_and_largest_are_used_only_if_they_hold(
    tmp_path: Path, smallest: int | None, largest: int, used: bool
) -> None:
    assert 20 <= chest_like().min() < 1000
    elements = {
        "WindowCenter": None,
        "WindowWidth": None,
        "SmallestImagePixelValue": smallest,
        "LargestImagePixelValue": largest,
    }
    _, meta = get(make_dx(tmp_path / "image.dcm", cr=True, elements=elements))
    assert (meta["display_min"], meta["display_max"]) == ((20, 4095) if used else (0, 4095))
    assert meta["display_source"].startswith("header" if used else "full 12-bit range")


@pytest.mark.parametrize("mono1", [False, True])
@pytest.mark.parametrize("limit", [None, 2])
def test_padding_becomes_black(tmp_path: Path, mono1: bool, limit: int | None) -> None:
    shown = np.minimum(chest_like(), 4000)
    shown[-30:] = 4095 if mono1 else 0  # stored as 0, every second column as 2
    shown[-30:, ::2] = 4093 if mono1 else 2
    path = make_dx(
        tmp_path / "image.dcm",
        pixels=shown,
        mono1=mono1,
        elements={"PixelPaddingValue": 0, "PixelPaddingRangeLimit": limit},
    )
    array, meta = get(path)
    assert (array[0, -30:, 1::2] == meta["display_min"]).all()
    assert (array[0, -30:, ::2] == meta["display_min"]).all() == (limit is not None)
    np.testing.assert_array_equal(array[0, :-30], shown[:-30])


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("padding", [-2048, 65536 - 2048])
def test_padding_of_signed_pixels_in_either_encoding(tmp_path: Path, padding: int, syntax: uid.UID) -> None:
    shown = chest_like()
    shown[:, :10] = 0
    path = make_dx(tmp_path / "image.dcm", pixels=shown, cr=True, signed=True, transfer_syntax=syntax)
    dataset = dcmread(path)
    dataset.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
    dataset.WindowCenter = 1000  # so that black is not the value of the padding by chance
    dataset.save_as(path)
    array, meta = get(path)
    assert meta["display_min"] == 1000 - 2048
    assert (array[0, :, :10] == meta["display_min"]).all()


def test_smallest_pixel_value_need_not_contain_the_padding(tmp_path: Path) -> None:
    shown = chest_like()
    shown[:, :10] = 0
    elements = {
        "WindowCenter": None,
        "WindowWidth": None,
        "SmallestImagePixelValue": 20,
        "LargestImagePixelValue": 4095,
        "PixelPaddingValue": 0,
    }
    array, meta = get(make_dx(tmp_path / "image.dcm", pixels=shown, elements=elements))
    assert (meta["display_min"], meta["display_max"]) == (20, 4095)
    assert (array[0, :, :10] == 20).all()


@pytest.mark.parametrize(
    ("pixel", "imager", "expected", "source"),
    [
        ([0.2, 0.203], None, [0.2, 0.203], "PixelSpacing"),
        ([0.2, 0.203], [0.4, 0.405], [0.2, 0.203], "PixelSpacing"),
        (None, [0.4, 0.405], [0.4, 0.405], "ImagerPixelSpacing"),
        ([0, 0], [0.4, 0.405], [0.4, 0.405], "ImagerPixelSpacing"),
        (["0.000", "0.000"], None, [math.nan, math.nan], "none"),
        (None, None, [math.nan, math.nan], "none"),
    ],
)
def test_spacing(tmp_path: Path, pixel: Any, imager: Any, expected: list[float], source: str) -> None:
    _, meta = get(make_dx(tmp_path / "a.dcm", elements={"PixelSpacing": pixel, "ImagerPixelSpacing": imager}))
    np.testing.assert_array_equal(meta["spacing_mm"], expected)
    assert meta["spacing_source"] == source
    np.testing.assert_array_equal(np.diag(meta["affine"]), [*np.nan_to_num(expected, nan=1.0), 1, 1])
    np.testing.assert_array_equal(meta["affine"], meta["original_affine"])


# PNG, JPEG and NIfTI values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_gray_color_files_are_read_as_gray(tmp_path: Path, mode: str) -> None:
    shown = chest_like(bits=8).astype(np.uint8)
    array, meta = get(save_png(tmp_path / "image.png", shown, mode))
    np.testing.assert_array_equal(array[0], shown)
    assert f"equal channels of {mode}" in meta["intensity_path"]
    assert meta["pixel_sha256"] == get(save_png(tmp_path / "gray.png", shown))[1]["pixel_sha256"]


def test_image_ranges(tmp_path: Path) -> None:
    array, meta = get(save_png(tmp_path / "16.png", chest_like(bits=16)))
    np.testing.assert_array_equal(array[0], chest_like(bits=16))
    assert (meta["display_min"], meta["display_max"], meta["display_source"]) == (0, 65535, "full 16-bit range")
    Image.fromarray(chest_like(bits=8).astype(np.uint8)).convert("RGB").save(tmp_path / "8.jpg", quality=95)
    _, meta = get(tmp_path / "8.jpg")
    assert (meta["display_min"], meta["display_max"], meta["display_source"]) == (0, 255, "full 8-bit range")


def test_exif_rotation_is_reported_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(chest_like(120, 90, bits=8).astype(np.uint8)).save(tmp_path / "image.jpg", exif=exif)
    with pytest.warns(UserWarning, match="EXIF"):
        array, _ = get(tmp_path / "image.jpg")
    assert marker_corner(array[0]) == "top-left"


@pytest.mark.parametrize(
    ("scale", "dtype", "header", "expected", "source"),
    [
        (255, np.uint8, {}, (0, 255), "full 8-bit range"),
        (255, np.uint8, {"cal_min": 10, "cal_max": 200}, (10, 200), "header: cal_min, cal_max"),
        (4095, np.int16, {"cal_min": -5, "cal_max": 4000}, (-5, 4000), "header: cal_min, cal_max"),
        (4095, np.int16, {}, None, "image minimum and maximum"),
        (0.5, np.float32, {}, (0, 1), "unit range of float values"),
        (3.0, np.float32, {}, None, "image minimum and maximum"),
    ],
)
def test_nifti_display_ranges(
    tmp_path: Path, scale: float, dtype: type, header: dict[str, Any], expected: Any, source: str
) -> None:
    data: npt.NDArray[Any] = (chest_like(bits=12).T / 4095 * scale).astype(dtype)
    path = save_nifti(tmp_path / "image.nii", data, **header)
    with pytest.warns(UserWarning, match="states no display range") if expected is None else nullcontext():
        array, meta = get(path)
    assert ("cal_min" in meta["warnings"]) == (expected is None)
    assert (meta["display_min"], meta["display_max"]) == (expected or (array.min(), array.max()))
    assert meta["display_source"] == source


def test_nifti_scaling_and_units(tmp_path: Path) -> None:
    stored = chest_like(bits=8).astype(np.uint8).T
    image: Any = nib.Nifti1Image(stored, np.diag([-0.0002, -0.000203, 1, 1]))  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(2.0, -10.0)
    image.header.set_data_dtype(np.uint8)
    path = tmp_path / "image.nii"
    image.to_filename(path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([2.0, -10.0], "<f4").tobytes()  # nibabel rescales on saving: state it on the file instead
    raw[352:] = stored.tobytes(order="F")
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match="states no display range"):
        array, meta = get(path)
    np.testing.assert_array_equal(array[0], 2.0 * stored.T - 10)
    assert "scl_slope 2 scl_inter -10" in meta["intensity_path"]
    np.testing.assert_allclose(meta["spacing_mm"], [0.203, 0.2], rtol=1e-6)


# The slope from stored pixels to display values -----------------------------------------------------------------------

NO_WINDOW = {"WindowWidth": None, "WindowCenter": None}
RESCALED = {"RescaleSlope": "-0.123456789", "RescaleIntercept": "7"}
SLOPES = [
    ({}, 1 / 4095),
    ({"mono1": True}, 1 / 4095),
    ({"signed": True}, 1 / 4095),
    ({"bits_allocated": 8, "bits_stored": 8, "elements": NO_WINDOW}, 1 / 255),
    ({"elements": NO_WINDOW}, 1 / 4095),
    ({"elements": NO_WINDOW | RESCALED}, 1 / 4095),
    ({"elements": {"WindowWidth": 301, "WindowCenter": -200} | RESCALED}, 0.123456789 / 300),
    ({"elements": {"WindowWidth": 1200, "WindowCenter": 2000, "VOILUTFunction": "LINEAR_EXACT"}}, 1 / 1200),
    ({"elements": {"WindowWidth": 900, "WindowCenter": 1800, "VOILUTFunction": "SIGMOID"}}, 1 / 900),
    ({"elements": {"WindowWidth": 90, "WindowCenter": -300, "VOILUTFunction": "SIGMOID"} | RESCALED}, 0.123456789 / 90),
    ({"elements": {"SmallestImagePixelValue": 0, "LargestImagePixelValue": 4095, "WindowWidth": 1001}}, 1 / 1000),
    (
        {"elements": {"PixelPaddingValue": 4095, "WindowWidth": 1001}, "pixels": np.minimum(chest_like(), 4000)},
        1 / 1000,
    ),
]


def display_values(path: Path) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    """Unclipped display values and the metadata."""
    array, meta = get(path)
    return (array[0].astype(np.float64) - meta["display_min"]) / (meta["display_max"] - meta["display_min"]), meta


def test_the_slope_is_the_steepest_change_of_a_display_value(tmp_path_factory: pytest.TempPathFactory) -> None:
    with collected() as case:
        for options, expected in SLOPES:
            with case(expected):
                tmp_path = tmp_path_factory.mktemp("case")
                before, meta = display_values(make_dx(tmp_path / "a.dcm", **options))
                moved = options.get("pixels", chest_like(bits=options.get("bits_stored", 12))).copy()
                moved[moved < 100] += 4
                moved[moved >= 100] -= 4
                after, _ = display_values(make_dx(tmp_path / "b.dcm", **(options | {"pixels": moved})))
                observed = np.abs(after - before).max() / 4
                assert expected <= meta["display_slope"] <= expected * (1 + 2e-6)
                assert meta["display_slope_reason"] == ""
                assert observed == pytest.approx(expected, rel=1e-3)
                assert observed <= meta["display_slope"] * (1 + 1e-4)  # float32 values, steps of 4


def with_lut(path: Path, keyword: str, **elements: Any) -> Path:
    dataset = dcmread(make_dx(path, cr=True, elements=elements))
    setattr(dataset, keyword, [lut_item(np.arange(4096).astype("<u2"), 0, 12)])
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"PixelPaddingValue": 4095}, "padding"),
        ({"PixelPaddingValue": 4095, "VOILUTFunction": "SIGMOID"}, "padding"),
        ({"SmallestImagePixelValue": 0, "LargestImagePixelValue": 4095} | NO_WINDOW, "smallest and largest"),
        # One pixel less at 4095 and this range would be the one in use.
        ({"SmallestImagePixelValue": 0, "LargestImagePixelValue": 4094} | NO_WINDOW | RESCALED, "smallest and largest"),
        ({"RescaleIntercept": 1e6, "WindowCenter": 1e6}, "float32"),
        ({"WindowCenter": 2000, "WindowWidth": 15}, "does not fit"),
    ],
)
@pytest.mark.filterwarnings("ignore:window 1 of 1 .* does not fit")
def test_no_slope_in_dicom_without_a_fixed_affine_path(tmp_path: Path, elements: dict[str, Any], word: str) -> None:
    check_no_slope(get(make_dx(tmp_path / "a.dcm", elements=elements))[1], word)


def check_no_slope(meta: dict[str, Any], word: str) -> None:
    assert math.isnan(meta["display_slope"])
    assert word in meta["display_slope_reason"] and meta["display_slope_reason"].endswith(".")


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
def test_no_slope_after_a_lookup_table(tmp_path: Path, keyword: str, function: str) -> None:
    check_no_slope(get(with_lut(tmp_path / "a.dcm", keyword, VOILUTFunction=function))[1], "lookup table")


def steepest_of_nifti(
    path: Path, dtype: type, scale: float, scaling: tuple[float, float] | None, header: dict[str, Any]
) -> tuple[float, dict[str, Any]]:
    """The steepest change of a display value in a picture of two versions, and the metadata."""
    metas, values = [], []
    picture = (chest_like(bits=12).T / 4095 * scale).astype(dtype)
    step = scale / 10
    for data in (picture, np.where(picture > scale / 2, picture - dtype(step), picture)):
        save_nifti(path, data, **header)
        if scaling:  # nibabel rescales on saving: state it on the file instead
            raw = bytearray(path.read_bytes())
            raw[112:120] = np.array(scaling, "<f4").tobytes()
            path.write_bytes(raw)
        shown, meta = display_values(path)
        metas.append(meta)
        values.append(shown)
    return np.abs(values[1] - values[0]).max() / float(dtype(step)), metas[0]


@pytest.mark.filterwarnings("ignore:the file states no display range")
def test_nifti_slopes(tmp_path: Path) -> None:
    cases = [
        (np.uint8, 255, None, {}, 1 / 255),
        (np.int16, 4095, None, {"cal_min": -5, "cal_max": 4000}, 1 / 4005),
        (np.float32, 0.5, None, {"cal_min": 0, "cal_max": 2}, 1 / 2),
        (np.uint8, 255, (-2.5, 10.0), {"cal_min": -600, "cal_max": 400}, 2.5 / 1000),
    ]
    with collected() as case:
        for dtype, scale, scaling, header, expected in cases:
            with case(dtype, scale, scaling, header):
                observed, meta = steepest_of_nifti(tmp_path / "image.nii", dtype, scale, scaling, header)
                assert expected <= meta["display_slope"] <= expected * (1 + 2e-6)
                assert observed == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:the file states no display range")
def test_no_nifti_slope_without_a_range_of_the_file(tmp_path: Path) -> None:
    cases = [
        (np.uint8, 255, (2.0, 0.0), "minimum and maximum"),
        (np.int16, 4095, None, "minimum and maximum"),
        (np.float32, 0.5, None, "unit range"),
    ]
    with collected() as case:
        for dtype, scale, scaling, word in cases:
            with case(dtype, scale, scaling):
                check_no_slope(steepest_of_nifti(tmp_path / "image.nii", dtype, scale, scaling, {})[1], word)


def small_samples_png(path: Path, bits: int) -> Path:
    """A PNG of 64 x 64 samples of fewer than 8 bits, which Pillow does not write."""
    content = b"\x89PNG\r\n\x1a\n"
    rows = zlib.compress(b"".join(b"\0" + bytes(range(8 * bits)) for _ in range(64)))
    for name, data in ((b"IHDR", struct.pack(">IIBBBBB", 64, 64, bits, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)
    return path


def test_raster_slopes(tmp_path: Path) -> None:
    shown = chest_like(bits=8).astype(np.uint8)
    paths = [save_png(tmp_path / f"{mode}.png", shown, mode) for mode in ("L", "LA", "RGB", "RGBA")]
    paths.append(save_png(tmp_path / "8.jpg", shown))
    for path in paths:
        assert 1 / 255 <= get(path)[1]["display_slope"] <= (1 + 2e-6) / 255
    deep = get(save_png(tmp_path / "16.png", chest_like(bits=16)))[1]
    assert deep["display_slope"] == pytest.approx(1 / 65535, rel=2e-6)
    check_no_slope(get(save_png(tmp_path / "P.png", shown, "P"))[1], "lookup table")
    for bits in (2, 4):  # the file's own samples, not those that Pillow spreads over 8 bits
        array, meta = get(small_samples_png(tmp_path / "small.png", bits))
        assert array.max() == 255
        assert meta["display_slope"] == pytest.approx(1 / (2**bits - 1), rel=2e-6)


# Metadata and admission -----------------------------------------------------------------------------------------------


def test_meta_is_plain_and_has_the_same_keys_in_every_format(tmp_path: Path) -> None:
    shown = chest_like(bits=8).astype(np.uint8)
    paths = [
        make_dx(tmp_path / "dx.dcm"),
        make_dx(tmp_path / "bare.dcm", cr=True, elements={"ViewPosition": None, "PatientOrientation": None}),
        save_nifti(tmp_path / "image.nii.gz", shown.T),
        save_png(tmp_path / "image.png", shown),
    ]
    metas = [get(path)[1] for path in paths]
    for meta in metas:
        assert meta.keys() == metas[0].keys()
        assert [type(v) for v in meta.values()] == [type(v) for v in metas[0].values()]
        assert {type(v) for v in meta.values()} == {str, HeaderText, int, float, np.ndarray}
    assert metas[2]["pixel_sha256"] == metas[3]["pixel_sha256"]
    assert metas[0]["filename_or_obj"] == str(paths[0])


def test_header_values_reach_the_meta(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "dx.dcm", elements={"Laterality": "R", "ImageLaterality": "L"})
    dataset, (_, meta) = dcmread(path), get(path)
    expected = {
        "modality": "DX",
        "body_part": "CHEST",
        "view_position": "PA",
        "laterality": "L",
        "patient_orientation": "L\\F",
        "photometric_interpretation": "MONOCHROME2",
        "sop_class_uid": dataset.SOPClassUID,
        "sop_instance_uid": dataset.SOPInstanceUID,
        "series_instance_uid": dataset.SeriesInstanceUID,
        "study_instance_uid": dataset.StudyInstanceUID,
        "transfer_syntax_uid": uid.ExplicitVRLittleEndian,
        "warnings": "",
    }
    assert {key: meta[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        ({"Modality": "CT"}, "Modality is CT"),
        ({"Modality": None}, "Modality is missing"),
        ({"Modality": "OT"}, "Modality is OT"),
        ({"BodyPartExamined": "EXTREMITY"}, "BodyPartExamined is EXTREMITY"),
        ({"BodyPartExamined": "Doe^Jane", "AnatomicRegionSequence": None}, "BodyPartExamined is not a term"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
    ],
)
def test_other_radiographs_are_read_with_a_warning(tmp_path: Path, elements: dict[str, Any], found: str) -> None:
    path = make_dx(tmp_path / "image.dcm", elements=elements)
    with pytest.warns(UserWarning, match=found):
        array, meta = get(path)
    assert found in meta["warnings"]
    np.testing.assert_array_equal(array[0], chest_like())


@pytest.mark.parametrize(
    "elements",
    [
        {"Modality": "RG"},
        {"BodyPartExamined": None},
        {"BodyPartExamined": "CHEST PA"},
        {"BodyPartExamined": "RIBS"},
        {"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "OT"},
    ],
)
def test_chest_radiographs_pass_the_strict_reader_in_silence(tmp_path: Path, elements: dict[str, Any]) -> None:
    path = make_dx(tmp_path / "image.dcm", elements=elements)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, meta = get(path, strict=True)
    assert meta["warnings"] == ""


# Inside MONAI ---------------------------------------------------------------------------------------------------------


def test_load_image_gives_a_2d_metatensor(tmp_path: Path) -> None:
    image = LoadImage(reader=ChestXRayReader())(make_dx(tmp_path / "dx.dcm", rows=120, cols=90))
    assert isinstance(image, MetaTensor)
    assert image.shape == (1, 120, 90)
    assert image.spatial_ndim == 2
    assert image.dtype == torch.float32
    again = EnsureChannelFirst()(image)
    assert torch.equal(again, image)
    assert isinstance(again, MetaTensor)
    assert again.meta["original_channel_dim"] == 0


def test_crop_and_resize_are_inverted_to_the_source_grid(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "dx.dcm", rows=240, cols=180, marker="bottom-right", mono1=True)
    forward = Compose(
        [
            LoadImaged(keys="image", reader=ChestXRayReader()),  # type: ignore[arg-type]
            CenterSpatialCropd(keys="image", roi_size=(160, 160)),
            Resized(keys="image", spatial_size=(80, 80), mode="nearest"),
        ]
    )
    data = forward({"image": str(path)})
    row, column = 10, 60
    source = chest_like(240, 180, marker="bottom-right")
    assert data["image"].shape == (1, 80, 80)
    assert data["image"][0, row, column] == source[40 + 2 * row, 10 + 2 * column]
    dot = torch.zeros_like(data["image"])
    dot[0, row, column] = 1
    inverted = Invertd(keys="dot", transform=forward, orig_keys="image", nearest_interp=True)({**data, "dot": dot})[
        "dot"
    ]
    assert inverted.shape == (1, 240, 180)
    rows, columns = np.nonzero(inverted[0].numpy())
    assert (rows.min(), rows.max()) == (40 + 2 * row, 41 + 2 * row)
    assert (columns.min(), columns.max()) == (10 + 2 * column, 11 + 2 * column)


def test_mixed_batch_in_worker_processes_decollates_to_each_meta(tmp_path: Path) -> None:
    shown = chest_like(128, 96, bits=8).astype(np.uint8)
    paths = [
        make_dx(tmp_path / "dx.dcm", rows=128, cols=96),
        save_png(tmp_path / "image.png", shown),
        save_nifti(tmp_path / "image.nii.gz", shown.T),
    ]
    load = LoadImaged(keys="image", reader="monai_robustinterp.io.read.reader.ChestXRayReader")
    loader = DataLoader(Dataset([{"image": str(p)} for p in paths], load), batch_size=3, num_workers=2)
    (batch,) = list(loader)
    assert batch["image"].shape == (3, 1, 128, 96)
    for path, item in zip(paths, decollate_batch(batch), strict=True):
        array, meta = get(path)
        np.testing.assert_array_equal(item["image"].numpy(), array)
        assert item["image"].meta.keys() == meta.keys()
        for key, value in meta.items():
            found = item["image"].meta[key]
            if isinstance(value, str):
                assert found == value, key
            else:
                np.testing.assert_array_equal(np.asarray(found), value, err_msg=key)


def test_reader_options_pass_through_the_dotted_name(tmp_path: Path) -> None:
    load = LoadImage(reader="monai_robustinterp.io.read.reader.ChestXRayReader", strict=True)
    with pytest.raises(ValueError, match="strict"):
        load(make_dx(tmp_path / "image.dcm", elements={"Modality": "CT"}))
