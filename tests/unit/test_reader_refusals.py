"""What the reader refuses, in which words, and that no host library reads such a file after all."""

from __future__ import annotations

import logging
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.transforms.compose import Compose
from monai.transforms.io.array import LoadImage
from monai.transforms.io.dictionary import LoadImaged
from PIL import Image, ImageFile
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.reader import ChestXRayReader
from tests.support.cases import collected
from tests.support.dicom_factory import chest_like, make_dx
from tests.support.shared import shared_data

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader", "ignore:.*nvImageCodec")

GRAY = chest_like(100, 90, bits=8).astype(np.uint8)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SECRET = "Doe^Jane"


@pytest.fixture(scope="module")
def load() -> LoadImage:
    return LoadImage(reader=ChestXRayReader())


def with_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    return with_bytes(path, content[: int(len(content) * share)])


def raster(path: Path, kind: str, pixels: Any, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, format=kind, **options)
    return path


def png(path: Path, pixels: Any, **options: Any) -> Path:
    return raster(path, "PNG", pixels, **options)


def png_header(path: Path, width: int, height: int, depth: int = 8, color: int = 0) -> Path:
    """A PNG whose header states a size, with next to no data: a decompression bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return with_bytes(path, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def nifti(path: Path, data: Any) -> Path:
    nib.Nifti1Image(data, LPS).to_filename(path)  # type: ignore[no-untyped-call]
    return path


def dicom(path: Path, change: Callable[[Dataset], None] | None = None, **options: Any) -> Path:
    make_dx(path, rows=100, cols=90, cr=True, **options)
    if change is not None:
        dataset = dcmread(path)
        change(dataset)
        dataset.save_as(path)
    return path


def multi_frame(dataset: Dataset) -> None:
    dataset.NumberOfFrames, dataset.PixelData = 2, dataset.PixelData * 2


def color(dataset: Dataset) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = color_photo().tobytes()


def palette(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "PALETTE COLOR"


def half_a_frame(dataset: Dataset) -> None:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]])


def float_pixels(dataset: Dataset) -> None:
    del dataset.PixelData
    dataset.FloatPixelData = np.ones(dataset.Rows * dataset.Columns, "<f4").tobytes()


def short_lut(dataset: Dataset) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", b"\0" * 100)
    dataset.VOILUTSequence = [item]


def all_padding(dataset: Dataset) -> None:
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.add_new("PixelPaddingRangeLimit", "US", 4095)


def constant_beside_padding(dataset: Dataset) -> None:
    stored = np.full((100, 90), 7, "<u2")
    stored[:20] = 0
    dataset.PixelData = stored.tobytes()
    dataset.add_new("PixelPaddingValue", "US", 0)


def without_pixels(path: Path, sop_class: uid.UID) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid.generate_uid()
    dataset.PatientName = SECRET
    dataset.save_as(path, enforce_file_format=True)
    return path


def nan_nifti(path: Path) -> Path:
    data = GRAY.T.astype(np.float32)
    data[3, 4], data[5, 6] = np.nan, np.inf
    return nifti(path, data)


def animated(path: Path) -> Path:
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    frames[0].save(path, format="PNG", save_all=True, append_images=frames[1:])
    return path


def private_syntax(path: Path) -> Path:
    content = dicom(path).read_bytes()
    return with_bytes(path, content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0", 1))


def color_photo() -> Any:
    photo = np.stack([GRAY] * 3, axis=-1)
    photo[40, 40] = (200, 10, 10)
    return photo


def see_through() -> Any:
    return np.dstack([GRAY, GRAY, GRAY, np.full_like(GRAY, 254)])


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "0 bytes": (lambda p: with_bytes(p, b""), "0 bytes"),
    "text": (lambda p: with_bytes(p, b"no image " * 100), "no known image format"),
    "gzip of text": (lambda p: with_bytes(p, zlib.compress(b"text", wbits=31)), "no known image format"),
    "broken gzip": (lambda p: with_bytes(p, b"\x1f\x8b" + b"\xff" * 50), "no known image format"),
    "TIFF": (lambda p: raster(p, "TIFF", GRAY), "no known image format"),
    "folder": (lambda p: p.parent, "one readable file"),
    "no such file": (lambda p: p, "FileNotFoundError"),
    "report": (lambda p: without_pixels(p, uid.BasicTextSRStorage), "no integer Pixel Data"),
    "DICOMDIR": (lambda p: without_pixels(p, uid.MediaStorageDirectoryStorage), "no integer Pixel Data"),
    "float pixels": (lambda p: dicom(p, float_pixels), "no integer Pixel Data"),
    "native cut in the pixels": (lambda p: cut(dicom(p), 0.6), "the pixel data has [0-9]+ bytes; 100 rows of 90"),
    "native cut in the header": (lambda p: cut(dicom(p), 0.03), "no integer Pixel Data|could not be parsed"),
    "RLE cut": (
        lambda p: cut(dicom(p, transfer_syntax=uid.RLELossless), 0.6),
        "no integer Pixel Data|could not be parsed",
    ),
    "deflated cut": (
        lambda p: cut(dicom(p, transfer_syntax=uid.DeflatedExplicitVRLittleEndian), 0.6),
        "could not be parsed",
    ),
    "half an RLE frame": (lambda p: dicom(p, half_a_frame, transfer_syntax=uid.RLELossless), "RLE Lossless"),
    "half a JPEG-LS frame": (lambda p: dicom(p, half_a_frame, transfer_syntax=uid.JPEGLSLossless), "JPEG-LS"),
    "multi-frame": (lambda p: dicom(p, multi_frame), "NumberOfFrames is 2"),
    "color DICOM": (lambda p: dicom(p, color), "image is in color"),
    "palette": (lambda p: dicom(p, palette), "not plain grayscale"),
    "high bit": (lambda p: dicom(p, elements={"HighBit": 3}), "HighBit 3"),
    "32 bits": (lambda p: dicom(p, elements={"BitsAllocated": 32}), "BitsAllocated is 32"),
    "bits missing": (lambda p: dicom(p, elements={"BitsStored": None}), "BitsStored None"),
    "rows missing": (lambda p: dicom(p, elements={"Rows": None}), "Rows or Columns is missing"),
    "slope no number": (lambda p: dicom(p, elements={"RescaleSlope": "abc"}), "RescaleSlope is no number"),
    "short table": (lambda p: dicom(p, short_lut), "lookup table"),
    "private syntax": (private_syntax, "transfer syntax is private"),
    "small DICOM": (lambda p: make_dx(p, rows=63, cols=200), "63 rows and 200 columns"),
    "huge DICOM": (lambda p: dicom(p, elements={"Rows": 20000}), "20000 rows and 90 columns"),
    "constant DICOM": (lambda p: dicom(p, pixels=np.full((100, 90), 7)), "same value"),
    "constant by rescale": (lambda p: dicom(p, elements={"RescaleSlope": 0, "RescaleIntercept": 0}), "same value"),
    "constant beside padding": (lambda p: dicom(p, constant_beside_padding), "same value"),
    "all padding": (lambda p: dicom(p, all_padding), "same value"),
    "overflow": (lambda p: dicom(p, elements={"RescaleSlope": 1e300, "RescaleIntercept": 0}), "NaN or infinite"),
    "constant PNG": (lambda p: png(p, np.zeros((100, 90), np.uint8)), "same value"),
    "small PNG": (lambda p: png(p, GRAY[:, :40]), "100 rows and 40 columns"),
    "huge PNG": (lambda p: png_header(p, 60000, 60000), "60000 rows and 60000 columns"),
    "16-bit color PNG": (lambda p: png_header(p, 100, 100, 16, 2), "mode RGB with 16 bits"),
    "bilevel PNG": (lambda p: png(p, GRAY > 128), "mode 1 with 1 bits"),
    "cut PNG": (lambda p: cut(png(p, GRAY), 0.6), "could not be decoded"),
    "animated PNG": (animated, "2 frames"),
    "color photo": (lambda p: png(p, color_photo()), "in color"),
    "transparent": (lambda p: png(p, see_through()), "partly transparent"),
    "transparent gray level": (lambda p: png(p, GRAY, transparency=int(GRAY[50, 50])), "partly transparent"),
    "cut JPEG": (lambda p: cut(raster(p, "JPEG", GRAY), 0.6), "could not be decoded"),
    "volume": (lambda p: nifti(p.with_suffix(".nii"), np.stack([GRAY.T] * 3, axis=-1)), r"shape \(90, 100, 3\)"),
    "four axes": (lambda p: nifti(p.with_suffix(".nii"), GRAY.T[:, None, None, :]), r"shape \(90, 1, 1, 100\)"),
    "color NIfTI": (
        lambda p: nifti(p.with_suffix(".nii"), GRAY.T.astype([("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "data type",
    ),
    "NaN NIfTI": (lambda p: nan_nifti(p.with_suffix(".nii")), "2 of 9000 pixels are NaN or infinite"),
    "constant NIfTI": (lambda p: nifti(p.with_suffix(".nii"), np.ones((100, 90), np.uint8)), "same value"),
    "small NIfTI": (lambda p: nifti(p.with_suffix(".nii"), GRAY[:30].T), "30 rows and 90 columns"),
    "cut NIfTI": (lambda p: cut(nifti(p.with_suffix(".nii"), GRAY.T), 0.6), "could not be read"),
    "cut NIfTI.gz": (lambda p: cut(nifti(p.with_suffix(".nii.gz"), GRAY.T), 0.6), "could not be read"),
}


@pytest.mark.filterwarnings("error")
def test_refused_with_found_rule_and_remedy(tmp_path_factory: pytest.TempPathFactory, load: LoadImage) -> None:
    with collected() as case:
        for name in REFUSED:
            with case(name):
                tmp_path = tmp_path_factory.mktemp("case")
                make, found = REFUSED[name]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what the making of the file has to say
                    path = make(tmp_path / "file")
                with pytest.raises(InputRefused, match=f"(?i){found}") as refusal:
                    load(path)
                message = str(refusal.value)
                assert re.search(r"; .*\. [A-Z].*\.$|: .*\.$", message), "found; rule. What to do."
                assert refusal.value.path == str(path)
                assert str(tmp_path) not in message
                assert SECRET not in message


def test_read_never_raises_so_that_no_other_reader_is_tried(tmp_path: Path) -> None:
    color_png = png(tmp_path / "photo.png", color_photo())
    assert LoadImage()(color_png).shape == (90, 100, 3), "MONAI's own reader takes it"
    reader = ChestXRayReader()
    for path in (color_png, tmp_path / "absent", tmp_path):
        assert reader.read(path) == path


def test_refusal_is_the_cause_inside_a_pipeline(tmp_path: Path) -> None:
    pipeline = Compose([LoadImaged(keys="image", reader=ChestXRayReader())])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError) as failure:
        pipeline({"image": with_bytes(tmp_path / "empty.dcm", b"")})
    assert isinstance(failure.value.__cause__, InputRefused)


def test_several_files_for_one_image_are_refused(tmp_path: Path, load: LoadImage) -> None:
    paths = [make_dx(tmp_path / f"{i}.dcm", seed=i) for i in range(2)]
    with pytest.raises(InputRefused, match="2 files"):
        load(paths)


@pytest.mark.parametrize(
    "elements", [{"Modality": "CT"}, {"BodyPartExamined": "ANKLE"}, {"PresentationIntentType": "FOR PROCESSING"}]
)
def test_strict_refuses_what_is_otherwise_warned_about(tmp_path: Path, elements: dict[str, str]) -> None:
    path = make_dx(tmp_path / "image.dcm", elements=elements)
    with pytest.raises(InputRefused, match=next(iter(elements.values())).split()[0]):
        ChestXRayReader(strict=True).get_data(path)


def test_no_text_value_reaches_warnings_log_or_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    odd = dict.fromkeys(
        (
            "Modality",
            "BodyPartExamined",
            "ViewPosition",
            "WindowCenter",
            "WindowWidth",
            "PixelSpacing",
            "VOILUTFunction",
        ),
        SECRET,
    )
    odd |= {"SeriesInstanceUID": SECRET, "PatientName": SECRET, "PatientOrientation": SECRET * 5}
    path = make_dx(tmp_path / "image.dcm", elements=odd | {"AnatomicRegionSequence": None})
    with caplog.at_level(logging.DEBUG):
        _, meta = ChestXRayReader().get_data(path)
        with pytest.raises(InputRefused) as refusal:
            ChestXRayReader(strict=True).get_data(path)
    assert meta["warnings"].count("not a term") == 2
    assert meta["body_part"] == meta["view_position"] == ""
    said = [str(w.message) for w in recwarn] + [r.getMessage() for r in caplog.records]
    said += [str(refusal.value), meta["warnings"], meta["intensity_path"], meta["display_source"]]
    assert not [text for text in said if "Doe" in text]


def test_truncated_files_are_refused_even_if_pillow_is_told_to_load_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: LoadImage
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    dataset = dcmread(shared_data("dicom/RSNA_jpegbaseline_CR.dcm"))
    half_a_frame(dataset)
    dataset.save_as(tmp_path / "cut.dcm")
    cut_jpeg, cut_png = cut(raster(tmp_path / "a", "JPEG", GRAY), 0.6), cut(png(tmp_path / "b", GRAY), 0.6)
    with_thumbnail_end = cut(raster(tmp_path / "c", "JPEG", GRAY, comment=b"\xff\xd9"), 0.6)
    for path in (cut_jpeg, cut_png, with_thumbnail_end, tmp_path / "cut.dcm"):
        with pytest.raises(InputRefused):
            load(path)
