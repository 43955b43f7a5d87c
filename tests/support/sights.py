"""What a reader must see of a result in a viewer: film, capture, segmentation and map, each where it belongs.

usage: python -m tests.support.sights

It certifies a film of sample_data, opens its study in OHIF before Orthanc, and writes docs/images/viewer.jpg.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image

import monai_robustinterp as ri
from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.files import atomic_write
from monai_robustinterp.io.write.options import OutputOptions
from monai_robustinterp.io.write.outputs import CAPTURE_NAME, save_outputs
from monai_robustinterp.visualize.outlined import LUNGS_LINE_COLOR, TOP_K_COLOR
from tests.support.browser import chromium
from tests.support.objects import OBJECTS
from tests.support.orthanc import orthanc, stored_by_web
from tests.support.viewer import Viewer, ohif

Window = npt.NDArray[np.uint8]

ROOT = Path(__file__).resolve().parents[2]
FILM = ROOT / "sample_data/kermany_person1951_bacteria_4882_dx.dcm"
PICTURE = ROOT / "docs/images/viewer.jpg"


def sights(viewer: Viewer, picture: Picture, capture: Window) -> list[Window]:
    """Looks at an open study, and waits until each is seen; fails if one never is.

    Args:
        viewer: with the study.
        picture: the map on the source's pixels, with lungs.
        capture: pixels of the Secondary Capture.

    Returns:
        The window with film, capture, segmentation and map, in this order.
    """
    film, lungs = picture.share.shape, picture.lungs
    assert lungs is not None

    def film_is_shown(now: Window) -> bool:
        """In the gray values that the network sees, but for resampling."""
        return bool(np.abs(viewer.on_film(now, film).mean(axis=-1) / 255 - picture.gray).mean() < 0.01)

    def capture_is_shown(now: Window) -> bool:
        """Its letters are reduced."""
        return bool(np.abs(viewer.on_film(now, capture.shape[:2]) / 255 - capture / 255).mean() < 0.05)

    def segments_are_shown(now: Window) -> bool:
        painted = viewer.on_film(now, film)
        only_lungs = _agreement(_tinted(painted, plain, LUNGS_LINE_COLOR), lungs & ~picture.top_k_mask)
        return min(only_lungs, _agreement(_tinted(painted, plain, TOP_K_COLOR), picture.top_k_mask)) > 0.97

    def votes_are_shown(now: Window) -> bool:
        """The viewer's table of colors is gray and clear at 0, and in full color from a share of 0.2."""
        return _agreement(np.ptp(viewer.on_film(now, film), axis=-1) > 50, picture.share > 0.17) > 0.95

    of_film = viewer.until(film_is_shown)
    plain = viewer.on_film(of_film, film)
    viewer.show("Top-k region")
    viewer.press("Yes")
    of_segments = viewer.until(segments_are_shown)
    # Before the map, whose window OHIF would keep for it; it brings a player for films, which covers a bit of the next.
    viewer.show("Certified saliency: ")
    of_capture = viewer.until(capture_is_shown)
    viewer.show("Vote shares")
    return [of_film, of_capture, of_segments, viewer.until(votes_are_shown)]


def _agreement(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Pixels of both over pixels of either."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def _tinted(painted: Window, plain: Window, color: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Where paint of one color lies over the film."""
    change = painted.astype(float) - plain.astype(float)
    hue = np.array(color) - np.mean(color)
    return (change - change.mean(axis=-1, keepdims=True)) @ hue / np.linalg.norm(hue) > 10


def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = ri.certify_image(FILM, ri.load_bundle())
        assert result.picture is not None
        save_outputs(result.picture, result.record, OutputOptions(outputs=("sc", *OBJECTS)), at=folder.joinpath)
        capture = pydicom.dcmread(folder / CAPTURE_NAME).pixel_array
        study = pydicom.dcmread(FILM, stop_before_pixels=True).StudyInstanceUID
        with orthanc(folder) as archive:
            stored_by_web(archive, [FILM, *sorted(folder.glob("*.dcm"))])
            with chromium(folder) as page, ohif(page, archive) as viewer:
                viewer.open(study, series=2 + len(OBJECTS))
                windows = sights(viewer, result.picture, capture)
    rows = [np.concatenate(windows[first : first + 2], axis=1) for first in (0, 2)]
    image = Image.fromarray(np.concatenate(rows)).resize((2000, 1250), Image.Resampling.LANCZOS)
    atomic_write(PICTURE, lambda stream: image.save(stream, "JPEG", quality=85), overwrite=True)


if __name__ == "__main__":
    main()
