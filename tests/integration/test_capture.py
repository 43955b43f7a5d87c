"""The capture as a file: geometry, code, validity, and the choice between a canvas and the source grid."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage
from PIL import Image

from monai_robustinterp import OutputOptions, SaliencyBundle, SecondaryCaptureWriter, certify_image, load_bundle, save
from monai_robustinterp.certificates import CertifiedResult
from monai_robustinterp.cli.main import main
from monai_robustinterp.io.write.result import result_meta
from tests.support.bundles import CERTIFY, OPACITY
from tests.support.dciodvfy import dciodvfy_errors
from tests.support.dicom_factory import make_dx
from tests.support.networks import TinyClassifier

pytestmark = pytest.mark.filterwarnings("ignore:the pixels are")

SPACING = [0.2, 0.4]


@pytest.fixture(scope="module")
def bundle() -> SaliencyBundle:
    bundle = load_bundle(
        OPACITY, {"n_samples": 64, "device": "$torch.device('cpu')", "input_statistics": "", "lungs": "off"}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle.network = TinyClassifier(classes=2).eval()
    return bundle


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 300 x 200 pixels that are twice as wide as high: 60 x 80 mm."""
    elements = {"PixelSpacing": SPACING, "ImagerPixelSpacing": [0.22, 0.44], "PixelSpacingCalibrationType": "GEOMETRY"}
    return make_dx(tmp_path_factory.mktemp("source") / "source.dcm", rows=300, cols=200, elements=elements)


@pytest.fixture(scope="module")
def result(bundle, source) -> CertifiedResult:
    return certify_image(source, bundle, changes=())


def written(result: CertifiedResult, folder: Path, **options: str) -> pydicom.Dataset:
    save(result, folder, OutputOptions(**options))
    assert dciodvfy_errors(folder / "overlay.dcm") == []
    capture = pydicom.dcmread(folder / "overlay.dcm")
    with Image.open(folder / "overlay.png") as png:
        assert np.array_equal(np.asarray(png), capture.pixel_array)
    return capture


def test_the_canvas_has_square_pixels_and_the_films_size_in_mm(result, tmp_path) -> None:
    capture = written(result, tmp_path / "out")
    film = result.picture.gray
    # 60 x 80 mm on a longer side of 1,024 pixels.
    height, width = 768, 1024
    assert capture.Columns == 2 * width + 16 and capture.Rows > height
    spacing = [float(value) for value in capture.PixelSpacing]
    assert spacing == pytest.approx([60 / height, 80 / width]) and spacing[0] == pytest.approx(spacing[1])
    nominal = [float(value) for value in capture.NominalScannedPixelSpacing]
    assert nominal == pytest.approx([1.1 * value for value in spacing])
    # What lies at a place in mm on the source lies there on the canvas.
    rows, columns = (np.array([0.1, 0.35, 0.8]) * size for size in (60, 80))
    on_source = film[(rows / 0.2).astype(int)][:, (columns / 0.4).astype(int)]
    on_canvas = capture.pixel_array[(rows / spacing[0]).astype(int)][:, (columns / spacing[1]).astype(int), 0]
    assert np.abs(on_canvas / 255 - on_source).max() < 0.05


def test_the_source_grid_is_an_option_with_the_sources_spacing_and_all_claims(result, tmp_path) -> None:
    source = written(result, tmp_path / "source", capture="source")
    assert source.Columns == 200 and list(source.PixelSpacing) == SPACING
    canvas = written(result, tmp_path / "canvas", capture="canvas")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription"):
        assert source[keyword].value != canvas[keyword].value
    assert source.StudyInstanceUID == canvas.StudyInstanceUID


@pytest.mark.parametrize("ratio", [["2", "1"], ["1", "2"]])
def test_a_film_with_an_aspect_ratio_alone_gets_square_pixels_too(bundle, tmp_path, ratio) -> None:
    absent = {"PixelSpacing": None, "ImagerPixelSpacing": None}
    path = make_dx(tmp_path / "f.dcm", rows=300, cols=300, cr=True, elements={**absent, "PixelAspectRatio": ratio})
    capture = written(certify_image(path, bundle, changes=()), tmp_path / "out")
    assert capture.Columns == max(2 * (512 if ratio[0] == "2" else 1024) + 16, 1440)
    assert "PixelAspectRatio" not in capture and "PixelSpacing" not in capture


def test_picture_record_and_description_share_a_code(result, tmp_path) -> None:
    capture = written(result, tmp_path / "out")
    record = json.loads((tmp_path / "out/certificate.json").read_text())
    assert capture.DerivationDescription.startswith(f"Record {record['content_sha256'][:8]}. ")


def test_the_command_and_the_writer_of_monai_take_the_option(result, source, tmp_path) -> None:
    output = tmp_path / "command"
    arguments = [*CERTIFY, str(source), "--output", str(output), "--samples", "16", "--lungs", "off", "--quiet"]
    assert main([*arguments, "--capture", "source"]) == 0
    assert pydicom.dcmread(next(output.rglob("overlay.dcm"))).Columns == 200
    assert main(arguments) == 1
    assert "another picture than canvas" in (output / "summary.json").read_text()

    picture = result.picture
    channels = torch.from_numpy(np.stack([picture.share, picture.top_k_mask.astype(np.float32)]))
    maps = MetaTensor(channels, meta={**picture.meta, **result_meta(result)})
    for capture, columns in (("source", 200), ("canvas", 2064)):
        folder = tmp_path / capture
        writer = partial(SecondaryCaptureWriter, options=OutputOptions(capture=capture))
        SaveImage(output_dir=folder, output_ext=".dcm", writer=writer, print_log=False)(maps)
        (path,) = folder.rglob("*.dcm")
        assert pydicom.dcmread(path).Columns == columns and dciodvfy_errors(path) == []
