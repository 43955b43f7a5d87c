"""All objects of a result go into an archive and come back as they were: by C-STORE, and by DICOMweb."""

from __future__ import annotations

import email
import email.policy
import io
import subprocess
import urllib.request
from pathlib import Path

import pydicom

from monai_robustinterp.io.write.options import OutputOptions
from monai_robustinterp.io.write.outputs import save_outputs
from tests.support.dicom_factory import make_dx
from tests.support.objects import OBJECTS, picture_of_file, record_with_lungs
from tests.support.orthanc import Archive, orthanc, stored_by_web
from tests.support.shared import require_tool


def retrieved(archive: Archive, study: str) -> dict[str, pydicom.Dataset]:
    """WADO-RS of a study, by instance."""
    kind = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    request = urllib.request.Request(f"{archive.web}/studies/{study}", headers={"Accept": kind})
    with urllib.request.urlopen(request) as answer:
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + answer.read(), policy=email.policy.HTTP)
    found = [pydicom.dcmread(io.BytesIO(part.get_payload(decode=True))) for part in message.iter_parts()]
    return {dataset.SOPInstanceUID: dataset for dataset in found}


def test_objects_come_back_from_an_archive_as_they_were(tmp_path: Path) -> None:
    film = make_dx(tmp_path / "film.dcm", rows=101, cols=77)
    options = OutputOptions(outputs=("sc", *OBJECTS))
    save_outputs(picture_of_file(film), record_with_lungs(), options, at=tmp_path.joinpath)
    paths = sorted(tmp_path.glob("*.dcm"))
    assert len(paths) == 7
    sent = {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, paths)}
    (study,) = {dataset.StudyInstanceUID for dataset in sent.values()}
    for way in ("C-STORE", "STOW-RS"):
        folder = tmp_path / way
        folder.mkdir()
        with orthanc(folder) as archive:
            if way == "C-STORE":
                command = [require_tool("storescu"), "-R", "127.0.0.1", str(archive.dicom_port), *map(str, paths)]
                subprocess.run(command, check=True, capture_output=True)
            else:
                stored_by_web(archive, paths)
            back = retrieved(archive, study)
        assert back.keys() == sent.keys(), way
        for uid, dataset in sent.items():
            assert back[uid] == dataset, (way, dataset.SOPClassUID.name)
