"""A study in a viewer: OHIF in headless Chromium reads film and objects from Orthanc, and lays them over each other."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from monai_robustinterp.io.write.options import OutputOptions
from monai_robustinterp.io.write.outputs import CAPTURE_NAME, save_outputs
from tests.support.browser import chromium
from tests.support.dicom_factory import make_dx
from tests.support.objects import OBJECTS, picture_of_file, record_with_lungs
from tests.support.orthanc import orthanc, stored_by_web
from tests.support.sights import sights
from tests.support.viewer import ohif

LISTED = {
    # Description: modality, and whether the viewer says that it cannot show it.
    "": ("DX", False),
    "Certified saliency: x - not for diagnosis": ("OT", False),
    "Top-k region: x - not for diagnosis": ("SEG", False),
    "Vote shares: x - not for diagnosis": ("PMAP", False),
    "Certified saliency report: x - not for diagnosis": ("SR", False),
    "Contours: x - not for diagnosis": ("PR", True),
    "Vote colors: x - not for diagnosis": ("PR", True),
}


@pytest.mark.slow
def test_a_viewer_shows_the_film_with_what_was_found_on_it(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "film.dcm", rows=404, cols=308)
    picture = picture_of_file(path)
    save_outputs(picture, record_with_lungs(), OutputOptions(outputs=("sc", *OBJECTS)), at=tmp_path.joinpath)
    study = pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID
    with orthanc(tmp_path) as archive:
        stored_by_web(archive, sorted(tmp_path.glob("*.dcm")))
        with chromium(tmp_path) as page, ohif(page, archive) as viewer:
            viewer.open(study, series=len(LISTED))
            assert viewer.listed() == LISTED
            sights(viewer, picture, pydicom.dcmread(tmp_path / CAPTURE_NAME).pixel_array)
