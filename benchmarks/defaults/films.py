"""The validation films of the study: those with boxes by radiologists, and the images whose decisions are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.films import SAMPLES, shared_folder
from benchmarks.places import OPACITY
from monai_robustinterp.bundle import shipped_bundle
from monai_robustinterp.run.inputs import find_images
from monai_robustinterp.training import read_boxes
from monai_robustinterp.training.tables import LabeledImage, chest_xray14, kermany

_FRAME = 1024
# Names of which one selects and the other reports (plan.selects).
_OF_HALVES = ("a", "c")


@dataclass(frozen=True, kw_only=True)
class BoxedFilm:
    """A film with boxes around what is seen.

    Attributes:
        path: of the film, square.
        patient: its number.
        boxes: left, top, width and height of each, in shares of the side.
    """

    path: Path
    patient: str
    boxes: tuple[tuple[float, float, float, float], ...]

    def cells(self, side: int) -> npt.NDArray[np.float64]:
        """Share of each of side x side cells that lies in a box, [side, side]."""
        fine = 32
        edges = (np.arange(side * fine) + 0.5) / (side * fine)
        inside = np.zeros((side * fine, side * fine), dtype=bool)
        for left, top, width, height in self.boxes:
            inside |= ((top <= edges) & (edges < top + height))[:, None] & ((left <= edges) & (edges < left + width))
        return inside.reshape(side, fine, side, fine).mean(axis=(1, 3))


def validation_items(kermany_folder: Path, chest_xray14_folder: Path) -> list[LabeledImage]:
    """The validation images of both sources."""
    items = kermany(kermany_folder, shipped_bundle(OPACITY) / "data" / "kermany_split.csv")
    return [
        *(item for item in items if item["split"] == "validation"),
        *chest_xray14_validation(chest_xray14_folder),
    ]


def chest_xray14_validation(folder: Path) -> list[LabeledImage]:
    """Those of ChestX-ray14."""
    items = chest_xray14(folder, shipped_bundle(OPACITY) / "data" / "chest_xray14_split.csv")
    return [item for item in items if item["split"] == "validation"]


def boxed_films(items: Sequence[LabeledImage]) -> list[BoxedFilm]:
    """Those of the items that have boxes, in the order of their names."""
    boxes = read_boxes(shared_folder() / "nih_boxes.csv", frame=_FRAME)
    found = {Path(item["image"]).stem: item for item in items}
    return [
        BoxedFilm(path=Path(found[name]["image"]), patient=found[name]["patient"], boxes=tuple(boxes[name]))
        for name in sorted(found)
        if name in boxes
    ]


def large_films(count: int) -> list[Path]:
    """Films of 1,024 px, for the ledger, in the order of their names."""
    return sorted((shared_folder() / "nih1024").glob("*.png"))[:count]


def sample_items() -> list[LabeledImage]:
    """The sample JPEG images, for the quick form; their names tell their labels, and both halves get both labels."""
    paths = [path for path in find_images([SAMPLES]).images if path.suffix == ".jpeg"]
    normal = [path for path in paths if "NORMAL" in path.name]
    return [
        {
            "image": str(path),
            "source": "samples",
            "patient": _OF_HALVES[(normal if path in normal else paths).index(path) % 2],
            "age": None,
            "opacity": int(path not in normal),
            "findings": None,
            "split": "validation",
        }
        for path in paths
    ]


def sample_films() -> list[BoxedFilm]:
    """The same with one made-up box each."""
    return [
        BoxedFilm(path=Path(item["image"]), patient=item["patient"], boxes=((0.2, 0.3, 0.3, 0.4),))
        for item in sample_items()
    ]
