"""Paediatric chest X-rays of Kermany et al., normal and pneumonia (Cell 172:1122, 2018; Mendeley rscbjbr9sj)."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from monai_robustinterp.training.tables.common import (
    LabeledImage,
    Labels,
    find_images,
    labeled_images,
    labels_by_key,
    one_of,
    read_table,
    split_named,
)

_NORMAL = re.compile(r"(NORMAL\d+-)?IM-(\d+)-\d+(?:-\d+)?")
_PNEUMONIA = re.compile(r"person(\d+)_(?:bacteria|virus)_\d+(?:_\d+)?")
_MENDELEY = re.compile(r"(NORMAL|BACTERIA|VIRUS)-(\d+)-\d+")
_LABELS: dict[str, int | None] = {"0": 0, "1": 1}
_LAYOUT = (
    "The folder must hold the images under their published names, in any sub-folders: IM-0115-0001.jpeg, "
    "NORMAL2-IM-0525-0001.jpeg, person1_virus_6.jpeg or NORMAL-1003233-0001.jpeg; with a table, those that it lists."
)


def kermany(folder: str | Path, table: str | Path | None = None) -> list[LabeledImage]:
    """The images of the Kermany set; opacity is 1 for pneumonia and 0 for normal.

    Patients: "P" and the number after "person" whatever the germ, "N" and the number after "IM-" for normal images
    (with the prefix of the second series, "NNORMAL2-0525"); the number alone in names of the form NORMAL-1003233-0001,
    where it is the patient's in all classes.

    Args:
        folder: searched with its sub-folders; images match by file name without suffix.
        table: CSV with the columns image, patient, pneumonia (0, 1) and split (train, val or validation). Its rows
            decide, and only they are used. Without it labels and patients come from the published file names, and one
            patient in ten goes to validation by a hash of its name.

    Returns:
        Items without finding labels, sorted by image name.

    Raises:
        InputRefused: a table of another form, no match, two files of one name, or a patient in both splits.
    """
    files = find_images(folder, lambda path: path.stem)
    if table is None:
        labels = {name: read for name in files if (read := _from_name(name)) is not None}
    else:
        rows = read_table(table, ("image", "patient", "pneumonia", "split"))
        labels = labels_by_key((PurePosixPath(row["image"]).stem, _from_row(row)) for row in rows)
    return labeled_images("kermany", labels, files=files, layout=_LAYOUT)


def _from_row(row: dict[str, str]) -> Labels:
    opacity = one_of(_LABELS, row["pneumonia"], "pneumonia")
    return Labels(row["patient"], split_named(row["split"], "split"), opacity, None)


def _from_name(name: str) -> Labels | None:
    if match := _NORMAL.fullmatch(name):
        return Labels(f"N{match[1] or ''}{match[2]}", None, 0, None)
    if match := _PNEUMONIA.fullmatch(name):
        return Labels(f"P{match[1]}", None, 1, None)
    if match := _MENDELEY.fullmatch(name):
        return Labels(match[2], None, int(match[1] != "NORMAL"), None)
    return None
