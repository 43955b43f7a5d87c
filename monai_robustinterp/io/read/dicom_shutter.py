"""The display shutter of a DICOM image (PS3.3 C.7.6.11): what a viewer does not show, the network does not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from monai_robustinterp.io.read.dicom_header import numbers, text

Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int]

_EDGES = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)

_FARTHEST = 2**16  # rows and columns are 16-bit numbers


@dataclass(frozen=True)
class Shutter:
    """Where the shutter is.

    Attributes:
        mask: the covered pixels, bool [H, W], with at least one pixel; None if there are none.
        warnings: sentences about what is ignored.
    """

    mask: Mask | None
    warnings: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """What was done to the pixels."""
        return () if self.mask is None else ("pixels under the display shutter set to black",)


def find_shutter(dataset: Dataset, shape: Shape) -> Shutter:
    """Pixels outside a rectangle, a circle or a polygon that the header states, and outside all of them if several.

    Their edges are seen. What is malformed, a bitmap, and a shutter that leaves nothing to see, are ignored.

    Args:
        dataset: the image's header.
        shape: rows and columns.
    """
    seen, warnings = np.ones(shape, dtype=bool), []
    for name in filter(None, text(dataset, "ShutterShape").split("\\")):
        inside = _INSIDE[name](dataset, shape) if name in _INSIDE else None
        if inside is None or not (seen & inside).any():
            why = (
                "leaves no pixel to see"
                if inside is not None
                else "has no whole set of edges within 65,536 pixels, or is no known shape"
            )
            warnings.append(f"a display shutter of the header {why}: it is ignored")
            continue
        seen &= inside
    return Shutter(None if seen.all() else ~seen, tuple(warnings))


def _places(dataset: Dataset, keyword: str) -> list[float]:
    """Numbers of rows and columns, or pixels; empty if one is none that an image can have."""
    values = numbers(dataset, keyword)
    return values if all(abs(value) <= _FARTHEST for value in values) else []


def _in_rectangle(dataset: Dataset, shape: Shape) -> Mask | None:
    edges = [_places(dataset, keyword) for keyword in _EDGES]
    if not all(len(edge) == 1 for edge in edges):
        return None
    (top,), (bottom,), (left,), (right,) = edges
    rows, columns = _numbered(shape)
    return (top <= rows) & (rows <= bottom) & (left <= columns) & (columns <= right)


def _in_circle(dataset: Dataset, shape: Shape) -> Mask | None:
    center, radius = _places(dataset, "CenterOfCircularShutter"), _places(dataset, "RadiusOfCircularShutter")
    if len(center) != 2 or len(radius) != 1:
        return None
    rows, columns = _numbered(shape)
    inside: Mask = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius[0] ** 2
    return inside


def _in_polygon(dataset: Dataset, shape: Shape) -> Mask | None:
    values = _places(dataset, "VerticesOfThePolygonalShutter")
    if len(values) < 6 or len(values) % 2:
        return None
    picture = Image.new("1", (shape[1], shape[0]))
    vertices = [(column - 1, row - 1) for row, column in zip(values[::2], values[1::2], strict=True)]
    ImageDraw.Draw(picture).polygon(vertices, fill=1)
    return np.asarray(picture)


def _numbered(shape: Shape) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers of rows, [H, 1], and of columns, [1, W]: in DICOM the first is 1."""
    return np.arange(1, shape[0] + 1)[:, None], np.arange(1, shape[1] + 1)[None]


_INSIDE: dict[str, Callable[[Dataset, Shape], Mask | None]] = {
    "RECTANGULAR": _in_rectangle,
    "CIRCULAR": _in_circle,
    "POLYGONAL": _in_polygon,
}
