"""CheXpert of Stanford Hospital (Irvin et al., AAAI 2019), frontal views."""

from __future__ import annotations

import re
from pathlib import Path

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.training.tables.common import (
    LabeledImage,
    Labels,
    find_images,
    labeled_images,
    labels_by_key,
    one_of,
    read_table,
)

_FINDINGS = {  # CheXpert's name of what ChestX-ray14 means by the other
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Pleural Effusion": "Effusion",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
_OPACITIES = ("Lung Opacity", "Pneumonia", "Consolidation")
_NO_FINDING = "No Finding"
_VIEW = "Frontal/Lateral"
_LABELS: dict[str, int | None] = {"1.0": 1, "0.0": 0, "-1.0": None, "": None}
_PATH = re.compile(r"(?:^|/)((train|valid)/(patient\d+)/.+)\.\w+$")
_LAYOUT = (
    "The folder must hold the published tree, train/patient00001/study1/view1_frontal.jpg and valid/..., anywhere; "
    "the frontal images that the column 'Path' lists are used."
)


def chexpert(folder: str | Path, table: str | Path) -> list[LabeledImage]:
    """The frontal images of CheXpert; call it once for train.csv and once for valid.csv.

    A finding is 1 (present), 0 (absent) or None (uncertain, or not mentioned); where No Finding is 1, what is not
    mentioned is 0. Findings have the names of ChestX-ray14, and those without a counterpart there are left out. Opacity
    is 1 where Lung Opacity, Pneumonia or Consolidation is 1, else 0 where No Finding is 1, else None.

    Args:
        folder: searched with its sub-folders; images match by their path from `train/` or `valid/` on, without suffix.
        table: train.csv or valid.csv as published. Rows of `valid/` are for validation; of the others, one patient in
            ten by a hash of its name.

    Returns:
        Items sorted by that path.

    Raises:
        InputRefused: a table of another form, no image that matches, or two files of one path.
    """
    columns = ("Path", _VIEW, _NO_FINDING, "Lung Opacity", *_FINDINGS)
    rows = [row for row in read_table(table, columns) if row[_VIEW] == "Frontal"]
    labels = labels_by_key(_from_row(row) for row in rows)
    return labeled_images("chexpert", labels, files=find_images(folder, _key), layout=_LAYOUT)


def _key(path: Path) -> str | None:
    match = _PATH.search(path.as_posix())
    return match[1] if match else None


def _from_row(row: dict[str, str]) -> tuple[str, Labels]:
    match = _PATH.search(row["Path"])
    if match is None:
        raise InputRefused(
            "the column 'Path' of the label table holds a path that is not of the form "
            "train/patient00001/study1/view1_frontal.jpg or valid/...: pass the table as it is published."
        )
    said = {name: one_of(_LABELS, row[name], name) for name in (*_FINDINGS, *_OPACITIES, _NO_FINDING)}
    normal = said[_NO_FINDING] == 1
    findings = {own: 0 if normal and row[name] == "" else said[name] for name, own in _FINDINGS.items()}
    opacity = 1 if any(said[name] == 1 for name in _OPACITIES) else 0 if normal else None
    return match[1], Labels(match[3], "validation" if match[2] == "valid" else None, opacity, findings)
