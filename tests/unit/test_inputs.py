"""Which files of a folder are taken for films, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import Dataset, FileMetaDataset

from monai_robustinterp.run.inputs import find_images
from tests.support.dicom_factory import make_dx

NO_FILM = "DICOM objects without a film (reports, presentation states, masks)"
CLASSES = (
    uid.BasicTextSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.EncapsulatedPDFStorage,
    uid.SegmentationStorage,
    uid.TwelveLeadECGWaveformStorage,
    uid.RTStructureSetStorage,
)


def without_film(path: Path, sop_class: uid.UID) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid.generate_uid()
    dataset.save_as(path, enforce_file_format=True)
    return path


def study(folder: Path) -> list[Path]:
    """A study as a CD holds it; gives its films."""
    (folder / "IMAGES").mkdir()
    films = [make_dx(folder / "IMAGES" / "I0001", seed=1), make_dx(folder / "IMAGES" / "I0002.dcm", seed=2)]
    bare = dcmread(films[0])
    bare.file_meta, bare.preamble = FileMetaDataset(), None
    dcmwrite(folder / "IMAGES" / "I0003", bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    without_film(folder / "DICOMDIR", uid.MediaStorageDirectoryStorage)
    for number, sop_class in enumerate(CLASSES):
        without_film(folder / f"R{number}.dcm", sop_class)
    (folder / "AUTORUN.INF").write_text("[autorun]")
    (folder / "VIEWER.EXE").write_bytes(b"MZ" + bytes(200))
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / "logo.png")
    return [*films, folder / "IMAGES" / "I0003"]


def coded(code: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", meaning
    return item


def test_a_study_folder_with_a_directory_and_reports(tmp_path: Path) -> None:
    films = study(tmp_path)
    found = find_images([tmp_path])
    assert list(found.images) == films and found.refused == ()
    assert found.passed_over == {
        "DICOMDIR": 1,
        NO_FILM: len(CLASSES),
        "no images by name and content": 2,
        "pictures that are no DICOM beside a DICOMDIR": 1,
    }


def test_of_a_study_the_views_from_the_front_or_back_are_taken(tmp_path: Path) -> None:
    lateral = coded("399067008", "lateral")
    views = {
        "pa": {"ViewPosition": "PA"},
        "unknown": {"ViewPosition": "", "PatientOrientation": None},
        "front": {"PatientOrientation": ["L", "F"], "ViewPosition": ""},
        "left": {"ViewPosition": "LL"},
        "coded": {"ViewPosition": "", "ViewCodeSequence": [lateral]},
        "side": {"ViewPosition": "", "ViewCodeSequence": None, "PatientOrientation": ["A", "F"]},
    }
    (study_folder := tmp_path / "study").mkdir()
    for name, elements in views.items():
        make_dx(study_folder / f"{name}.dcm", cr=True, elements={"StudyInstanceUID": "1.2.3", **elements})
    found = find_images([study_folder])
    assert sorted(path.stem for path in found.images) == ["front", "pa", "unknown"]
    assert found.passed_over == {"films whose view is not from the front or the back": 3}
    left_out = "left out (LL (lateral) by ViewPosition), 1 left out (lateral by PatientOrientation), "
    left_out += "1 left out (lateral by ViewCodeSequence)"
    from_the_front, unknown = "from the front or the back by PatientOrientation", "not stated"
    assert {path.stem: said for path, said in found.views.items()} == {
        "pa": f"chosen, view PA by ViewPosition; others of its study: 1 chosen ({from_the_front}), "
        f"1 chosen ({unknown}), 1 {left_out}",
        "front": f"chosen, view {from_the_front}; others of its study: 1 chosen (PA by ViewPosition), "
        f"1 chosen ({unknown}), 1 {left_out}",
        "unknown": f"chosen, view {unknown}; others of its study: 1 chosen (PA by ViewPosition), "
        f"1 chosen ({from_the_front}), 1 {left_out}",
    }
    # One film of another study has no choice beside it.
    (tmp_path / "alone").mkdir()
    make_dx(tmp_path / "alone" / "film.dcm", cr=True, elements={"StudyInstanceUID": "1.2.4"})
    assert not find_images([tmp_path / "alone"]).views
    assert find_images([study_folder / "left.dcm"]).images == (study_folder / "left.dcm",)
    for path in found.images:
        path.unlink()
    ((_, reason),) = find_images([study_folder]).refused
    assert "from the front or the back" in reason and "name a file itself" in reason


def test_pictures_are_films_where_there_is_no_directory(tmp_path: Path) -> None:
    study(tmp_path)
    (tmp_path / "DICOMDIR").unlink()
    assert tmp_path / "logo.png" in find_images([tmp_path]).images


def test_what_is_named_is_taken_whatever_it_is(tmp_path: Path) -> None:
    report = without_film(tmp_path / "report.dcm", uid.BasicTextSRStorage)
    assert find_images([report]).images == (report,)


def test_a_damaged_file_is_not_passed_over(tmp_path: Path) -> None:
    for name, content in (("cut", bytes(128) + b"DICM"), ("torn.dcm", bytes(128) + b"DICM\2\0\2\0UI\xff\xff1.2")):
        (tmp_path / name).write_bytes(content)
    assert len(find_images([tmp_path]).images) == 2


@pytest.mark.parametrize("names", [("DICOMDIR",), ("notes.txt",)])
def test_a_folder_without_any_film_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        without_film(tmp_path / name, uid.MediaStorageDirectoryStorage)
    found = find_images([tmp_path])
    assert found.images == () and len(found.refused) == 1 and "holds no" in found.refused[0][1]
