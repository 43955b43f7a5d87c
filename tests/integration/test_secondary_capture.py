"""Secondary captures from synthetic and real files: valid for dciodvfy, pixel-exact, the same bytes each time."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.uid import UID

from monai_robustinterp.io.derived.derivation import FORBIDDEN
from monai_robustinterp.io.write.secondary_capture import (
    TRANSFER_SYNTAXES,
    anonymous_source,
    reference_source,
    secondary_capture,
    write_dicom_atomically,
)
from monai_robustinterp.visualize.overlay import render_overlay
from tests.support.cases import collected
from tests.support.dicom_factory import CORNERS, chest_like, make_dx, marker_corner
from tests.support.shared import require_tool, shared_data

REAL_FILES = ("NIH_google_DX", "RG1_UNCR", "RG1_J2KI", "CR-MONO1-10-chest", "RSNA_jpegbaseline_CR")
STRIP = 30
TEXTS = {
    "series_description": "Certified saliency - not for diagnosis",
    "derivation_description": "Top-k votes of noisy copies",
    "identity": "configuration 1",
    "software_version": "0.1.0",
}


def picture(rows: int, cols: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, cols, 3), dtype=np.uint8)


def capture(source: Dataset, pixels: npt.NDArray[np.uint8] | None = None, **options: Any) -> SCImage:
    if pixels is None:
        pixels = picture(source.Rows + STRIP, source.Columns)
    return secondary_capture(pixels, source, **(TEXTS | options))


def read_quietly(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def errors_of(dataset: Dataset, folder: Path) -> list[str]:
    """What dciodvfy calls an error; its exit status says less."""
    path = write_dicom_atomically(dataset, folder / "checked.dcm", overwrite=True)
    run = subprocess.run([require_tool("dciodvfy"), str(path)], capture_output=True, check=False)
    lines = run.stderr.decode(errors="replace").splitlines()
    assert "SCImage" in lines, "dciodvfy did not come to the IOD"
    return [line for line in lines if line.startswith("Error")]


@pytest.fixture
def source(tmp_path: Path) -> Dataset:
    return pydicom.dcmread(make_dx(tmp_path / "source.dcm", rows=101, cols=77))


def check_invariants(image: Dataset, source: Dataset) -> None:
    keywords = {element.keyword for element in image.iterall()}
    assert keywords.isdisjoint(FORBIDDEN)
    assert (image.Modality, image.ConversionType, image.BurnedInAnnotation) == ("OT", "WSD", "YES")
    assert image.StudyInstanceUID == source.StudyInstanceUID
    assert image.SeriesInstanceUID != source.SeriesInstanceUID
    assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert image.PatientName == source.PatientName
    assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID


@pytest.mark.parametrize("name", REAL_FILES)
def test_capture_of_a_real_file_is_valid(name: str, tmp_path: Path) -> None:
    path = shared_data(f"dicom/{name}.dcm")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    source = read_quietly(path)
    image = capture(source, np.zeros((source.Rows + STRIP, source.Columns, 3), np.uint8))
    check_invariants(image, source)
    assert errors_of(image, tmp_path) == []
    assert image.get("PixelSpacing") != [0, 0]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_capture_of_a_synthetic_file_is_valid(tmp_path_factory: pytest.TempPathFactory) -> None:
    every_options = [
        {},
        {"cr": True},
        {"mono1": True},
        {"cr": True, "elements": {"BodyPartExamined": "THORAX"}},
        {"cr": True, "elements": {"BodyPartExamined": "LUNG", "Laterality": "L"}},
        {"cr": True, "elements": {"Laterality": "L"}},
        {"elements": {"ImageLaterality": "L", "BodyPartExamined": "RIB"}},
        {"elements": {"PatientName": "山田^太郎=やまだ^たろう"}},
        {"elements": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"}},
        {"elements": {"SpecificCharacterSet": None, "PatientName": "Müller^Jörg"}},
        {"elements": {"PixelSpacing": [0.19, 0.24], "PixelSpacingCalibrationType": "GEOMETRY"}},
        {"elements": {"LossyImageCompression": "01", "LossyImageCompressionRatio": [10, 2]}},
        {"elements": {"PatientIdentityRemoved": "YES", "ResponsiblePerson": "Doe^Jane"}},
    ]
    with collected() as case:
        for options in every_options:
            with case(options):
                tmp_path = tmp_path_factory.mktemp("case")
                source = read_quietly(make_dx(tmp_path / "source.dcm", rows=100, cols=80, **options))
                image = capture(source)
                check_invariants(image, source)
                assert errors_of(image, tmp_path) == []


def test_invalid_source_gives_a_valid_capture_without_a_word_about_it(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    every_elements = [
        {"StudyInstanceUID": None},
        {"StudyInstanceUID": "1.2.not a uid"},
        {"SeriesInstanceUID": None},
        {"SOPInstanceUID": "secret"},
        {"PatientID": "secret" * 20, "PatientName": "secret" * 20, "PatientSex": "secret"},
        {"StudyDate": "1999.12.31", "StudyTime": "noon", "PatientBirthDate": "secret", "PatientAge": "81"},
        {"PatientOrientation": ["secret", "secret"], "ImageLaterality": "secret", "ViewPosition": "secret view"},
        {"StudyID": "secret" * 20, "AccessionNumber": "secret\\more", "ReferringPhysicianName": "\x07"},
        {"InstanceNumber": None, "Manufacturer": "secret" * 20, "ImagerPixelSpacing": [0, 0]},
        {"SpecificCharacterSet": "secret", "PatientOrientation": None},
    ]
    with collected() as case:
        for elements in every_elements:
            with case(elements):
                tmp_path = tmp_path_factory.mktemp("case")
                path = make_dx(tmp_path / "source.dcm", rows=100, cols=80)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    source = pydicom.dcmread(path)
                    with pydicom.config.disable_value_validation():
                        for keyword, value in elements.items():
                            delattr(source, keyword) if value is None else setattr(source, keyword, value)
                caplog.set_level(logging.DEBUG)
                caplog.clear()
                image = capture(source)
                assert errors_of(image, tmp_path) == []
                assert UID(image.StudyInstanceUID).is_valid
                assert b"secret" not in (tmp_path / "checked.dcm").read_bytes()
                assert "secret" not in caplog.text


@pytest.mark.parametrize("name", TRANSFER_SYNTAXES)
def test_every_transfer_syntax_is_lossless_and_valid(name: str, source: Dataset, tmp_path: Path) -> None:
    pixels = picture(source.Rows + STRIP, source.Columns)
    assert pixels.size % 2, "an odd number of bytes needs padding"
    image = capture(source, pixels, transfer_syntax=name)
    assert errors_of(image, tmp_path) == []
    back = pydicom.dcmread(tmp_path / "checked.dcm")
    assert back.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[name]
    np.testing.assert_array_equal(back.pixel_array, pixels)


@pytest.mark.parametrize("name", sorted(set(TRANSFER_SYNTAXES) - {"explicit"}))
def test_another_decoder_reads_the_same_pixels(name: str, source: Dataset, tmp_path: Path) -> None:
    pixels = picture(source.Rows, source.Columns)
    packed, plain = tmp_path / "packed.dcm", tmp_path / "plain.dcm"
    write_dicom_atomically(capture(source, pixels, transfer_syntax=name), packed)
    subprocess.run([require_tool("gdcmconv"), "--raw", str(packed), str(plain)], check=True, capture_output=True)
    np.testing.assert_array_equal(pydicom.dcmread(plain).pixel_array, pixels)


def test_dcmtk_shows_the_colors_as_they_are(source: Dataset, tmp_path: Path) -> None:
    """A window or rescale left over from the source would change them, or show black."""
    pixels = picture(source.Rows, source.Columns)
    path = write_dicom_atomically(capture(source, pixels), tmp_path / "capture.dcm")
    shown = subprocess.run([require_tool("dcmj2pnm"), "+op", str(path)], check=True, capture_output=True).stdout
    np.testing.assert_array_equal(np.frombuffer(shown[-pixels.size :], np.uint8).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("corner", CORNERS)
def test_marker_stays_in_its_corner_through_overlay_and_file(corner: str, tmp_path: Path) -> None:
    source = pydicom.dcmread(make_dx(tmp_path / "source.dcm", rows=140, cols=100, marker=corner))
    gray = chest_like(140, 100, marker=corner) / 4095
    share, mask = np.full(gray.shape, 0.1), np.zeros(gray.shape, dtype=bool)
    overlay = render_overlay(gray, share, mask, ["Pneumonia"], top_k=1)
    path = write_dicom_atomically(capture(source, overlay), tmp_path / "capture.dcm")
    back = pydicom.dcmread(path)
    np.testing.assert_array_equal(back.pixel_array, overlay)
    assert marker_corner(back.pixel_array[:140].mean(axis=-1)) == corner
    assert (back.Columns, back.PatientOrientation, back.PixelSpacing) == (100, ["L", "F"], [0.2, 0.203])


def test_equal_inputs_give_equal_bytes(source: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_dicom_atomically(capture(source), tmp_path / "1.dcm").read_bytes()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    second = write_dicom_atomically(capture(source), tmp_path / "2.dcm").read_bytes()
    assert first == second
    today = time.strftime("%Y%m%d").encode()
    assert today not in first.replace(source.StudyDate.encode(), b"")


def test_uids_follow_from_source_identity_and_version(source: Dataset, tmp_path: Path) -> None:
    other_image = pydicom.dcmread(make_dx(tmp_path / "other.dcm", rows=101, cols=77))
    other_image.SOPInstanceUID = "1.2.3"
    base = capture(source)
    assert capture(source).SOPInstanceUID == base.SOPInstanceUID
    others = [
        capture(source, identity="configuration 2"),
        capture(source, software_version="0.1.1"),
        capture(source, identity="configuration", software_version="1 0.1.0"),
    ]
    series = {image.SeriesInstanceUID for image in (base, *others)}
    instances = {image.SOPInstanceUID for image in (base, *others, capture(other_image))}
    assert (len(series), len(instances)) == (4, 5)
    assert capture(other_image).SeriesInstanceUID == base.SeriesInstanceUID
    for uid in series | instances:
        assert uid.startswith("2.25.")
        assert UID(uid).is_valid
        assert int(uid.removeprefix("2.25.")) < 2**128


def test_transfer_syntax_does_not_change_the_identity(source: Dataset) -> None:
    assert capture(source, transfer_syntax="rle").SOPInstanceUID == capture(source).SOPInstanceUID


def test_source_header_without_pixels_is_enough_and_stays_as_it_is(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "source.dcm", rows=100, cols=80)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    before = header.to_json()
    capture(header)
    assert header.to_json() == before


def test_anonymous_capture_is_valid_and_refers_to_no_image(tmp_path: Path) -> None:
    own = anonymous_source(rows=90, cols=70, spacing_mm=(0.2, 0.3), entropy="hash of the pixels")
    image = capture(own)
    assert errors_of(image, tmp_path) == []
    assert image.PatientName == "ANONYMOUS"
    assert image.PixelSpacing == [0.2, 0.3]
    assert "SourceImageSequence" not in image
    assert UID(image.StudyInstanceUID).is_valid
    assert [item.Manufacturer for item in image.ContributingEquipmentSequence] == ["monai_robustinterp"]


def test_anonymous_source_follows_from_its_entropy() -> None:
    def make(entropy: str, spacing_mm: tuple[float, float] | None = None) -> Dataset:
        return anonymous_source(rows=90, cols=70, spacing_mm=spacing_mm, entropy=entropy)

    assert make("a") == make("a")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID"):
        assert make("a")[keyword].value != make("b")[keyword].value
    assert "PixelSpacing" not in make("a")


def test_reference_gives_patient_and_study_but_not_its_image(tmp_path: Path) -> None:
    elements = {"PatientName": "山田^太郎", "ViewPosition": "LL", "PatientSex": "secret"}
    reference = read_quietly(make_dx(tmp_path / "reference.dcm", elements=elements))
    own = anonymous_source(rows=90, cols=70, spacing_mm=None, entropy="hash of the pixels")
    joined = reference_source(reference, own)
    image = capture(joined)
    assert errors_of(image, tmp_path) == []
    back = pydicom.dcmread(tmp_path / "checked.dcm")
    assert str(back.PatientName) == "山田^太郎"
    assert back.PatientID == reference.PatientID
    assert back.StudyInstanceUID == reference.StudyInstanceUID
    assert not {"SourceImageSequence", "PixelSpacing", "ViewPosition"} & {element.keyword for element in back}
    assert not back.PatientSex
    assert not back.PatientOrientation


def test_the_same_pixels_in_two_studies_have_two_uids(source: Dataset) -> None:
    own = anonymous_source(rows=90, cols=70, spacing_mm=None, entropy="hash of the pixels")
    first = capture(reference_source(source, own))
    source.StudyInstanceUID = "1.2.3"
    second = capture(reference_source(source, own))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert len({image[keyword].value for image in (capture(own), first, second)}) == 3


def test_reference_without_a_study_is_refused() -> None:
    own = anonymous_source(rows=90, cols=70, spacing_mm=None, entropy="e")
    with pytest.raises(ValueError, match="no valid StudyInstanceUID"):
        reference_source(Dataset(), own)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda pixels: pixels.astype(np.uint16), "uint8"),
        (lambda pixels: pixels[..., 0], "RGB"),
        (lambda pixels: pixels[..., :2], "RGB"),
        (lambda pixels: pixels[:50], "source's grid"),
        (lambda pixels: pixels[:, 1:], "source's grid"),
    ],
)
def test_pixels_off_the_source_grid_are_refused(
    spoil: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]], message: str, source: Dataset
) -> None:
    with pytest.raises(ValueError, match=message):
        capture(source, spoil(picture(source.Rows, source.Columns)))


def test_lossy_transfer_syntax_is_refused(source: Dataset) -> None:
    with pytest.raises(ValueError, match="must be one of explicit, jpeg2000, jpegls, rle"):
        capture(source, transfer_syntax="jpeg")


def test_messages_hold_no_patient_data(source: Dataset) -> None:
    patient = (str(source.PatientName), str(source.PatientID), str(source.SOPInstanceUID))
    for options in ({"series_description": ""}, {"transfer_syntax": "x"}, {"pixels": picture(5, 5)}):
        with pytest.raises(ValueError, match=r"must be|must have") as caught:
            capture(source, **options)
        assert not any(value in str(caught.value) for value in patient)


def test_source_file_is_never_overwritten(source: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "source.dcm"
    before = path.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="kept"):
            write_dicom_atomically(capture(source), path, overwrite=overwrite)
    assert path.read_bytes() == before


def test_capture_that_is_itself_the_source_is_never_overwritten(source: Dataset, tmp_path: Path) -> None:
    path = write_dicom_atomically(capture(source), tmp_path / "capture.dcm")
    again = capture(pydicom.dcmread(path))
    with pytest.raises(FileExistsError):
        write_dicom_atomically(again, path, overwrite=True)


@pytest.mark.parametrize("content", [b"", b"a PNG, say", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_foreign_file_is_never_overwritten(content: bytes, source: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(FileExistsError):
        write_dicom_atomically(capture(source), path, overwrite=True)
    assert path.read_bytes() == content


def test_earlier_result_is_overwritten_on_request_only(source: Dataset, tmp_path: Path) -> None:
    path = write_dicom_atomically(capture(source), tmp_path / "capture.dcm")
    other = capture(source, identity="configuration 2")
    with pytest.raises(FileExistsError):
        write_dicom_atomically(other, path)
    write_dicom_atomically(other, path, overwrite=True)
    assert pydicom.dcmread(path).SOPInstanceUID == other.SOPInstanceUID


def test_failing_write_leaves_no_file(source: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_and_fail(file: Any, *args: Any, **kwargs: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("monai_robustinterp.io.write.secondary_capture.dcmwrite", write_and_fail)
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="disk full"):
        write_dicom_atomically(capture(source), tmp_path / "out" / "capture.dcm")
    assert not list((tmp_path / "out").iterdir())
