"""DICOM files of nobody: nothing of patient or study is left, and what belonged together still does."""

from __future__ import annotations

import dataclasses
import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage

import monai_robustinterp as ri
from monai_robustinterp.cli.main import main
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.write.options import OutputOptions
from monai_robustinterp.io.write.outputs import save_outputs
from monai_robustinterp.io.write.result import result_meta
from monai_robustinterp.run.cohort import certify_cohort
from tests.support.dciodvfy import dciodvfy_errors
from tests.support.dicom_factory import make_dx
from tests.support.objects import OBJECTS, picture_of_file, record_with_lungs, small_bundle

KEY = bytes(range(32))
NAMED = {
    **{"PatientName": "Secret^Person", "PatientID": "SECRET1", "PatientBirthDate": "19480211", "PatientSex": "F"},
    **{"AccessionNumber": "SECRET2", "StudyID": "SECRET3", "ReferringPhysicianName": "Secret^Doctor"},
    **{"StudyDescription": "SECRET study", "SeriesDescription": "SECRET series", "InstitutionName": "SECRET hospital"},
    **{"StationName": "SECRET", "DeviceSerialNumber": "SECRET4", "PatientAge": "077Y", "PatientComments": "SECRET"},
    **{"StudyDate": "20310405", "ContentDate": "20310405", "AcquisitionDate": "20310405", "StudyTime": "112233"},
    **{"ContentTime": "112233", "AcquisitionTime": "112233", "OtherPatientNames": "Secret^Other"},
    **{"Manufacturer": "SECRET maker", "OperatorsName": "Secret^Operator", "ImageComments": "SECRET"},
    "WindowCenterWidthExplanation": "SECRET",
}


def film(folder: Path, **elements: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return make_dx(folder / "film.dcm", rows=101, cols=77, elements=NAMED | elements)


def written(
    folder: Path, source: Path, key: bytes = KEY, outputs: tuple[str, ...] = ("seg", "gsps")
) -> dict[str, pydicom.Dataset]:
    folder.mkdir()
    options = OutputOptions(outputs=outputs, deidentify_key=key)
    save_outputs(picture_of_file(source), record_with_lungs(), options, at=folder.joinpath)
    return {path.name: pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))}


def test_nothing_of_patient_and_study_is_left(tmp_path: Path) -> None:
    source = film(tmp_path / "in")
    made, original = written(tmp_path / "out", source, outputs=("sc", *OBJECTS)), pydicom.dcmread(source)
    gone = ["secret", "2031", "112233", "19480211", "077y"]
    gone += [original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID]
    assert len(made) == 6
    for name, dataset in made.items():
        for pixels in ("PixelData", "FloatPixelData", "ICCProfile"):
            dataset.pop(pixels, None)
        text = dataset.to_json().lower()
        assert [part for part in gone if part in text] == [], name
        assert (dataset.PatientName, dataset.PatientIdentityRemoved) == ("ANONYMOUS", "YES")
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert dciodvfy_errors(tmp_path / "out" / name) == [], name


def test_a_pipeline_of_monai_writes_the_same_files(tmp_path: Path) -> None:
    """With the lungs as a third channel, of a patient and of nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = ri.certify_image(film(tmp_path / "in"), small_bundle(lungs="off"))
    assert result.picture is not None
    lungs = picture_of_file(tmp_path / "in" / "film.dcm").lungs
    picture = dataclasses.replace(result.picture, lungs=lungs)
    result = dataclasses.replace(result, picture=picture)
    channels = torch.from_numpy(np.stack([picture.share, picture.top_k_mask, lungs]).astype(np.float32))
    for key in (None, KEY):
        options = OutputOptions(outputs=("sc", *OBJECTS, "nii"), deidentify_key=key)
        expected, found = tmp_path / f"save {key is None}", tmp_path / f"monai {key is None}"
        ri.save(result, expected, options)
        writer = partial(ri.SecondaryCaptureWriter, options=options)
        maps = MetaTensor(channels, meta={**picture.meta, **result_meta(result)})
        SaveImage(output_dir=found, output_ext=".dcm", writer=writer, print_log=False, separate_folder=False)(maps)
        (capture,) = (path for path in found.iterdir() if len(path.suffixes) == 1)
        assert capture.read_bytes() == (expected / "overlay.dcm").read_bytes()
        for path in expected.iterdir():
            if path.name not in ("overlay.dcm", "overlay.png"):
                beside = capture.with_name(f"{capture.stem}.{path.name}")
                assert beside.read_bytes() == path.read_bytes(), (path.name, key is None)


def test_what_belonged_together_still_does_and_only_the_key_tells_to_what(tmp_path: Path) -> None:
    first = written(tmp_path / "first", film(tmp_path / "a"))
    second = written(tmp_path / "second", film(tmp_path / "b", SOPInstanceUID="1.2.3.4"))
    other_key = written(tmp_path / "third", film(tmp_path / "c"), KEY[::-1])
    for made in (first, second, other_key):
        assert len({(one.StudyInstanceUID, one.PatientID) for one in made.values()}) == 1
        of_film = {
            element.value
            for one in made.values()
            for element in one.iterall()
            if element.keyword == "ReferencedSOPInstanceUID"
        }
        assert len(of_film) == 1 and all(uid.startswith("2.25.") for uid in of_film)
    some = "segmentation.dcm"
    assert first[some].StudyInstanceUID == second[some].StudyInstanceUID != other_key[some].StudyInstanceUID
    assert first[some].PatientID == second[some].PatientID != other_key[some].PatientID
    assert len({made[some].SOPInstanceUID for made in (first, second, other_key)}) == 3
    # The same key, the same bytes.
    written(tmp_path / "again", tmp_path / "a" / "film.dcm")
    assert (tmp_path / "again" / some).read_bytes() == (tmp_path / "first" / some).read_bytes()


def test_a_result_of_somebody_is_not_kept_as_one_of_nobody(tmp_path: Path) -> None:
    bundle, source = small_bundle(), film(tmp_path / "in")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings: dict[str, Any] = {"bundle": bundle, "show_progress": False}
        somebody = OutputOptions(outputs=("sc", "sr"))
        nobody = dataclasses.replace(somebody, deidentify_key=KEY)
        certify_cohort([source], tmp_path / "out", **settings, options=somebody)
        (refused,) = certify_cohort([source], tmp_path / "out", **settings, options=nobody).results
        assert "the capture joins another study; report.dcm is of another result" in refused.reason
        certify_cohort([source], tmp_path / "out", **settings, options=nobody, overwrite=True)
        assert certify_cohort([source], tmp_path / "out", **settings, options=nobody).kept == 1
    with pytest.raises(InputRefused, match="choose one"):
        dataclasses.replace(nobody, reference=pydicom.Dataset())
    assert str(KEY) not in repr(nobody)
    assert "SECRET" not in json.dumps((tmp_path / "out" / "summary.json").read_text())


def test_a_key_that_is_no_secret_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short").write_bytes(b"password")
    for name, reason in (("short", "8 bytes; it must have at least 32"), ("none", "cannot be read")):
        options = ["--output", str(tmp_path / "out"), "--deidentify", str(tmp_path / name)]
        assert main(["certify", "film.dcm", *options]) == 1
        assert reason in capsys.readouterr().err
