"""ChestX-ray14 of the NIH Clinical Center (Wang et al., CVPR 2017), optionally with RSNA 2018 classes."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from monai_robustinterp.errors import InputRefused
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

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
_NO_FINDING = "No Finding"
_RSNA: dict[str, int | None] = {"Lung Opacity": 1, "Normal": 0, "No Lung Opacity / Not Normal": None}
_LAYOUT = (
    "The folder must hold the images under their published names, in any sub-folders: 00000001_000.png; those that the "
    "column 'Image Index' lists are used."
)


def chest_xray14(folder: str | Path, table: str | Path) -> list[LabeledImage]:
    """The images of ChestX-ray14.

    Opacity follows the RSNA class where there is one: Lung Opacity 1, Normal 0, Not Normal None. Elsewhere the labels
    of the NIH decide, which were mined from reports: Pneumonia 1, No Finding 0, else None.

    Args:
        folder: searched with its sub-folders; images match by file name without suffix.
        table: the published Data_Entry_2017 table (columns Image Index, Finding Labels, Patient ID). It may have
            "Patient Age", "RSNA Class" (Lung Opacity, Normal, No Lung Opacity / Not Normal, or empty) and "Split"
            (train, validation). Without "Split" one patient in ten goes to validation by a hash of its name.

    Returns:
        Items with labels of 14 findings, 1 or 0, sorted by image name.

    Raises:
        InputRefused: a table of another form, no match, two files of one name, or a patient in both splits.
    """
    columns = ("Image Index", "Finding Labels", "Patient ID")
    rows = read_table(table, columns, optional=("Patient Age", "RSNA Class", "Split"))
    labels = labels_by_key((PurePosixPath(row["Image Index"]).stem, _from_row(row)) for row in rows)
    files = find_images(folder, lambda path: path.stem)
    return labeled_images("chest_xray14", labels, files=files, layout=_LAYOUT)


def _from_row(row: dict[str, str]) -> Labels:
    named = {name.strip() for name in row["Finding Labels"].split("|")}
    if not named <= {*FINDINGS, _NO_FINDING}:
        raise InputRefused(
            f"the column 'Finding Labels' of the label table holds a name that is none of {', '.join(FINDINGS)} and "
            f"{_NO_FINDING}, joined by '|': pass the table as it is published."
        )
    if row["RSNA Class"]:
        opacity = one_of(_RSNA, row["RSNA Class"], "RSNA Class")
    elif "Pneumonia" in named:
        opacity = 1
    else:
        opacity = 0 if named == {_NO_FINDING} else None
    split = split_named(row["Split"], "Split") if row["Split"] else None
    # The number without leading zeros, so that a patient has one name, and one split, in all editions of the table.
    findings: dict[str, int | None] = {name: int(name in named) for name in FINDINGS}
    return Labels(row["Patient ID"].lstrip("0"), split, opacity, findings, _age(row["Patient Age"]))


def _age(text: str) -> int | None:
    """Years, as "58" and as "058Y"; other units are of infants."""
    match = re.fullmatch(r"(\d+)([YMD]?)", text)
    if match is None:
        return None
    return int(match[1]) if match[2] in ("", "Y") else 0
