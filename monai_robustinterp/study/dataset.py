"""The films of a table, as a CSV file names them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.marks import Polygon
from monai_robustinterp.geometry.regions import Box

COLUMNS = ("image", "patient", "present", "target", "boxes", "polygons", "lungs")
_PRESENT = {"": None, "0": False, "1": True}
_CORNER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?,-?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class Film:
    """One row of a dataset.

    Attributes:
        path: of the image file.
        patient: whose film it is; intervals resample patients. The path where the column is empty.
        present: whether the finding is there; None where nobody says so.
        target: the explained finding, a name or an index; None takes the bundle's.
        boxes: marked around the finding, in pixels of the image as it is read.
        polygons: the same.
        lungs: file of a mask of the lungs; None takes the bundle's segmenter.
    """

    path: Path
    patient: str
    present: bool | None = None
    target: str | int | None = None
    boxes: tuple[Box, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    lungs: Path | None = None


def read_dataset(table: str | Path) -> tuple[Film, ...]:
    """Films of a CSV file with a header line.

    Columns: ``image`` (path, from the folder of the CSV), and where wanted ``patient``, ``present`` (0 or 1),
    ``target``, ``boxes`` (``LEFT,TOP,RIGHT,BOTTOM;...``, whole pixels, right and bottom exclusive), ``polygons``
    (``X,Y X,Y X,Y;...``) and ``lungs`` (path of a mask).

    Raises:
        InputRefused: if there is no such file or no film in it, a column is unknown or missing, a film is named twice,
            or a value is none of its column; it names the line and the column, and quotes no value.
    """
    folder = Path(table).parent
    try:
        with Path(table).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            _check_columns(reader.fieldnames or ())
            films = tuple(_film(row, folder, reader.line_num) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(
            f"the dataset cannot be read ({type(error).__name__}); it must be a CSV file in UTF-8. Check the path."
        ) from error
    if not films:
        raise InputRefused("the dataset has no film; it must have a line for each below its header.")
    if len({film.path for film in films}) < len(films):
        raise InputRefused("the dataset names a film twice; each has one line. Put all its marks into that line.")
    return films


def _check_columns(found: Sequence[str]) -> None:
    # A file without a header has a film and a patient in its first line: no name of a column is repeated.
    unknown = [str(number) for number, name in enumerate(found, 1) if name not in COLUMNS]
    missing, twice = "image" not in found, len(set(found)) < len(found)
    if unknown or missing or twice:
        faults = [f"column {', '.join(unknown)} is unknown"] if unknown else []
        faults += ["'image' is missing"] if missing else []
        faults += ["a column stands there twice"] if twice else []
        raise InputRefused(
            f"the dataset's first line is no header: {'; '.join(faults)}. It must have 'image', may have "
            f"{', '.join(COLUMNS[1:])}, each once, separated by commas, and no other. Rename or remove the others."
        )


def _film(row: Mapping[str, str | None], folder: Path, line: int) -> Film:
    if "" in row or None in row.values():
        raise InputRefused(f"line {line} of the dataset has more or fewer values than the header has columns.")
    value = {name: (text or "").strip() for name, text in row.items()}
    path, target = value["image"], value.get("target", "")
    if not path:
        raise _refused(line, "image", "a path")
    if value.get("present", "") not in _PRESENT:
        raise _refused(line, "present", "0, 1 or empty")
    return Film(
        path=folder / path,
        patient=value.get("patient") or path,
        present=_PRESENT[value.get("present", "")],
        target=int(target) if target.isdecimal() else target or None,
        boxes=tuple(_box(text, line) for text in _parts(value.get("boxes", ""))),
        polygons=tuple(_polygon(text, line) for text in _parts(value.get("polygons", ""))),
        lungs=folder / value["lungs"] if value.get("lungs") else None,
    )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _box(text: str, line: int) -> Box:
    edges = text.split(",")
    if len(edges) == 4 and all(edge.strip().isdecimal() for edge in edges):
        left, top, right, bottom = map(int, edges)
        if left < right and top < bottom:
            return Box(left, top, right, bottom)
    raise _refused(line, "boxes", "LEFT,TOP,RIGHT,BOTTOM;... in whole pixels, with LEFT < RIGHT and TOP < BOTTOM")


def _polygon(text: str, line: int) -> Polygon:
    corners = text.split()
    if len(corners) < 3 or not all(_CORNER.fullmatch(corner) for corner in corners):
        raise _refused(line, "polygons", "X,Y X,Y X,Y;... with three corners at least")
    return tuple((float(x), float(y)) for x, _, y in (corner.partition(",") for corner in corners))


def _refused(line: int, column: str, rule: str) -> InputRefused:
    return InputRefused(f"line {line} of the dataset: column {column!r} must be {rule}. Correct that value.")
