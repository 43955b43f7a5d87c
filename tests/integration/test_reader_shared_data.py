"""The reader on real files: every DICOM file of the shared data, the NIfTI, and the PNG it was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.transforms.io.array import LoadImage
from PIL import Image
from pydicom import dcmread
from pydicom.pixels.processing import apply_voi_lut

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.reader import ChestXRayReader
from monai_robustinterp.transforms.windowing import ScaleDisplayRange
from tests.support.dicom_factory import make_dx
from tests.support.shared import require_tool, shared_data

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader", "ignore:.*nvImageCodec")

JPEG_12_BITS = "RG3_JPLY_extremity.dcm"  # pydicom's plugins do not decode it
# file, display range, spacing source, body part of the meta dictionary, all read off the headers
DICOM_FILES = {
    "CR-MONO1-10-chest.dcm": (38, 1061, "none", "CHEST"),
    "NIH_google_DX.dcm": (0, 255, "none", ""),
    "RG1_J2KI.dcm": (0, 29999, "none", "CHEST"),
    "RG1_UNCR.dcm": (0, 29999, "none", "CHEST"),
    "RG3_RLE_extremity.dcm": (38, 1061, "none", "EXTREMITY"),
    "RSNA_jpegbaseline_CR.dcm": (0, 255, "PixelSpacing", "CHEST"),
    "derived_CR-MONO1-10-chest_J2KLossless.dcm": (38, 1061, "none", "CHEST"),
    "derived_CR-MONO1-10-chest_RLE.dcm": (38, 1061, "none", "CHEST"),
    "highdicom_dog_thorax_DX.dcm": (0, 255, "PixelSpacing", "CHEST"),
}


def get(path: Path) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    return ChestXRayReader().get_data(path)


def test_every_shared_dicom_file_is_expected_here() -> None:
    found = {path.name for path in shared_data("dicom").iterdir()}
    assert found == {*DICOM_FILES, JPEG_12_BITS}


@pytest.mark.filterwarnings("ignore:BodyPartExamined is EXTREMITY", "ignore:PatientOrientation says")
@pytest.mark.parametrize("name", DICOM_FILES)
def test_dicom_equals_pydicom_windowed_and_inverted(name: str) -> None:
    path = shared_data(f"dicom/{name}")
    image = LoadImage(reader=ChestXRayReader())(path)
    dataset = dcmread(path)
    shown = apply_voi_lut(dataset.pixel_array, dataset).astype(np.float64)
    shown /= 2**dataset.BitsStored - 1
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    assert image.shape == (1, dataset.Rows, dataset.Columns)
    np.testing.assert_allclose(ScaleDisplayRange()(image)[0].numpy(), shown, atol=1e-3)
    keys = ("display_min", "display_max", "spacing_source", "body_part")
    assert tuple(image.meta[key] for key in keys) == DICOM_FILES[name]
    assert image.meta["transfer_syntax_uid"] == dataset.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("transcode", ["J2KLossless", "RLE"])
def test_lossless_transcodes_equal_the_original(transcode: str) -> None:
    original, meta = get(shared_data("dicom/CR-MONO1-10-chest.dcm"))
    array, transcoded = get(shared_data(f"dicom/derived_CR-MONO1-10-chest_{transcode}.dcm"))
    np.testing.assert_array_equal(array, original)
    assert transcoded["pixel_sha256"] == meta["pixel_sha256"]


def test_lossy_jpeg_2000_is_close_to_the_original() -> None:
    original, _ = get(shared_data("dicom/RG1_UNCR.dcm"))
    lossy, _ = get(shared_data("dicom/RG1_J2KI.dcm"))
    difference = np.abs(original - lossy)
    assert 0 < difference.mean() < 0.01 * (original.max() - original.min())
    assert difference.max() < 0.05 * (original.max() - original.min())
    assert np.corrcoef(original.ravel(), lossy.ravel())[0, 1] > 0.999


def test_air_is_dark_in_a_monochrome1_chest() -> None:
    array, meta = get(shared_data("dicom/RG1_UNCR.dcm"))
    height, width = array.shape[1:]
    spine = array[0, height // 3 : 2 * height // 3, width // 2 - 40 : width // 2 + 40]
    lung = array[0, height // 3 : height // 2, width // 5 : width // 3]
    assert spine.mean() > lung.mean() + 0.05 * (meta["display_max"] - meta["display_min"])


@pytest.mark.filterwarnings("ignore:BodyPartExamined is EXTREMITY", "ignore:PatientOrientation says")
def test_12_bit_jpeg_equals_dcmtk_but_for_values_beyond_the_stored_bits(tmp_path: Path) -> None:
    path, decoded = shared_data(f"dicom/{JPEG_12_BITS}"), tmp_path / "decoded.dcm"
    subprocess.run([require_tool("dcmdjpeg"), str(path), str(decoded)], check=True)
    dataset = dcmread(decoded)
    overshooting = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    assert overshooting.max() == 1024  # of 10 bits stored: taken modulo 1024 it would be black
    expected = (38 + 1061) - np.minimum(overshooting, 1023).astype(np.float32)
    array, meta = get(path)
    np.testing.assert_array_equal(array[0], expected)
    original, _ = get(shared_data("dicom/RG3_RLE_extremity.dcm"))
    assert np.abs(array - original).max() < 50 and np.abs(array - original).mean() < 2
    assert meta["transfer_syntax_uid"] == "1.2.840.10008.1.2.4.51"


@pytest.mark.filterwarnings("ignore:PatientOrientation says")
def test_an_ankle_is_read_with_a_warning_and_refused_when_strict() -> None:
    path = shared_data("dicom/RG3_RLE_extremity.dcm")
    with pytest.warns(UserWarning, match="BodyPartExamined is EXTREMITY"):
        get(path)
    with pytest.raises(InputRefused, match="BodyPartExamined is EXTREMITY"):
        ChestXRayReader(strict=True).get_data(path)


def test_nifti_equals_the_png_it_was_made_from() -> None:
    from_nifti, nifti_meta = get(shared_data("nifti/00002578_000.nii.gz"))
    from_png, png_meta = get(shared_data("nih1024/00002578_000.png"))
    np.testing.assert_array_equal(from_nifti, from_png)
    with Image.open(shared_data("nih1024/00002578_000.png")) as image:
        np.testing.assert_array_equal(from_png[0], np.asarray(image)[..., 0])
    assert nifti_meta["pixel_sha256"] == png_meta["pixel_sha256"]
    assert not np.array_equal(from_png[0], from_png[0].T)


@pytest.mark.parametrize("mono1", [False, True])
@pytest.mark.parametrize("cr", [False, True])
def test_synthetic_files_are_valid_dicom(tmp_path: Path, cr: bool, mono1: bool) -> None:
    path = make_dx(tmp_path / "image.dcm", cr=cr, mono1=mono1)
    result = subprocess.run([require_tool("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    assert not [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("Error")]
