"""A study in a viewer: OHIF in headless Chromium reads film and objects from Orthanc, and lays them over each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from monai_robustinterp.io.write.outputs import save_outputs
from monai_robustinterp.visualize.outlined import LUNGS_LINE_COLOR, TOP_K_COLOR
from tests.integration.test_archive import stored_by_web
from tests.support.browser import chromium
from tests.support.dicom_factory import make_dx
from tests.support.objects import OBJECTS, picture_of_file, record_with_lungs
from tests.support.orthanc import orthanc
from tests.support.viewer import ohif

LISTED = {
    # Description: modality, and whether the viewer says that it cannot show it.
    "": ("DX", False),
    "Certified saliency - not for diagnosis": ("OT", False),
    "Top-k region - research, not for diagnosis": ("SEG", False),
    "Vote shares - research, not for diagnosis": ("PMAP", False),
    "Certified saliency report - research, not for diagnosis": ("SR", False),
    "Contours - research, not for diagnosis": ("PR", True),
    "Vote colors - research, not for diagnosis": ("PR", True),
}


def agreement(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Pixels of both over pixels of either."""
    return float((one & other).sum() / (one | other).sum())


def close(shown: npt.NDArray[np.uint8], gray: npt.NDArray[np.floating]) -> bool:
    """Whether the film is shown in these gray values, but for its resampling."""
    return bool(np.abs(shown.mean(axis=-1) / 255 - gray).mean() < 0.01)


def tinted(
    painted: npt.NDArray[np.uint8], plain: npt.NDArray[np.uint8], color: tuple[int, int, int]
) -> npt.NDArray[np.bool_]:
    """Where paint of one color lies over the film."""
    change = painted.astype(float) - plain.astype(float)
    hue = np.array(color) - np.mean(color)
    return (change - change.mean(axis=-1, keepdims=True)) @ hue / np.linalg.norm(hue) > 10


@pytest.mark.slow
def test_a_viewer_shows_the_film_with_what_was_found_on_it(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "film.dcm", rows=404, cols=308)
    picture = picture_of_file(path)
    save_outputs(picture, record_with_lungs(), ("sc", *OBJECTS), at=tmp_path.joinpath)
    shape, shares, study = picture.share.shape, picture.share, pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID
    assert picture.lungs is not None
    with orthanc(tmp_path) as archive:
        stored_by_web(archive, sorted(tmp_path.glob("*.dcm")))
        with chromium(tmp_path) as page, ohif(page, archive) as viewer:
            viewer.open(study, series=len(LISTED))
            assert viewer.listed() == LISTED
            # The gray values that the network sees.
            film = viewer.on_film(viewer.until(lambda now: close(viewer.on_film(now, shape), picture.gray)), shape)

            def segments_lie_on_the_film(now: npt.NDArray[np.uint8]) -> bool:
                painted, only_lungs = viewer.on_film(now, shape), picture.lungs & ~picture.top_k_mask
                lungs = agreement(tinted(painted, film, LUNGS_LINE_COLOR), only_lungs)
                return min(lungs, agreement(tinted(painted, film, TOP_K_COLOR), picture.top_k_mask)) > 0.97

            viewer.show("Top-k region")
            viewer.press("Yes")
            viewer.until(segments_lie_on_the_film)
            viewer.show("Vote shares")
            # Its table of colors grows opaque up to that share.
            viewer.until(lambda now: agreement(np.ptp(viewer.on_film(now, shape), axis=-1) > 50, shares > 0.17) > 0.97)
