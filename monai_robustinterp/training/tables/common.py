"""What the sets share: finding the image files, reading a table, splitting by patient, and bringing them together."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TypedDict, TypeVar

from monai_robustinterp.errors import InputRefused

_SUFFIXES = (".png", ".jpg", ".jpeg")
_SPLITS = {"train": "train", "val": "validation", "validation": "validation"}

Value = TypeVar("Value")


class LabeledImage(TypedDict):
    """One image of a training or validation set with its labels.

    Attributes:
        image: path of the file.
        source: the set, "kermany", "chest_xray14" or "chexpert".
        patient: the set and its name of the patient, unique over the sets: "kermany P534", "chest_xray14 766".
        split: "train" or "validation"; one patient is in one split.
        age: of the patient in years; None where the tables do not say.
        opacity: lung opacity, 1 or 0; None where the tables do not say.
        findings: finding name to 1, 0 or None (uncertain or not labeled); None where the set has no finding labels.
    """

    image: str
    source: str
    patient: str
    split: str
    age: int | None
    opacity: int | None
    findings: dict[str, int | None] | None


class Labels(NamedTuple):
    """What a table, or a file name, says of an image; a split of None is to be drawn by patient."""

    patient: str
    split: str | None
    opacity: int | None
    findings: dict[str, int | None] | None
    age: int | None = None


def findings_with(items: Iterable[LabeledImage], min_positives: int) -> tuple[str, ...]:
    """The findings that enough images show, in alphabetical order.

    Args:
        items: images of training and validation together; those without finding labels count for nothing.
        min_positives: the number of images labeled 1, at least, that keeps a finding.
    """
    positives = Counter(name for item in items for name, label in (item["findings"] or {}).items() if label == 1)
    return tuple(sorted(name for name, count in positives.items() if count >= min_positives))


def find_images(folder: str | Path, key: Callable[[Path], str | None]) -> dict[str, str]:
    """The image files (.png, .jpg, .jpeg) anywhere under a folder, by key.

    Hidden files and folders are left out, such as the `._name` files that macOS makes. Links to folders are not
    followed.

    Args:
        folder: where to search.
        key: gives the key of a file that the tables use too; None leaves the file out.

    Raises:
        InputRefused: there is no such folder, or two files have one key.
    """
    if not Path(folder).is_dir():
        raise InputRefused("the folder of the images is missing: pass the folder that holds the image files.")
    keyed = [(name, path) for path in _walk(Path(folder)) if (name := key(path)) is not None]
    found = {name: str(path) for name, path in keyed}
    repeated = sum(count > 1 for count in Counter(name for name, _ in keyed).values())
    if repeated:
        raise InputRefused(
            f"{repeated} image names stand for two files or more in the folder: one name must be one image, or its "
            "labels are ambiguous. Pass the folder of a single copy of the set."
        )
    return found


def read_table(path: str | Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV table with a header, values without blanks around them.

    Header names match in any case and with any blanks around them.

    Args:
        path: the table.
        columns: names of the columns that must be there.
        optional: names of columns that may be there; their values are empty where they are not.

    Returns:
        One dict a row, from the names in `columns` and `optional` to values; other columns are left out.

    Raises:
        InputRefused: a column is missing.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        header = {name.strip().lower(): name for name in reader.fieldnames or ()}
        missing = [name for name in columns if name.lower() not in header]
        if missing:
            raise InputRefused(
                f"the label table has no column {', '.join(map(repr, missing))}: it must be comma-separated with a "
                f"header that names {', '.join(map(repr, columns))}. Pass the table as it is published."
            )
        names = {name: header.get(name.lower()) for name in (*columns, *optional)}
        return [{name: (row.get(own or "") or "").strip() for name, own in names.items()} for row in reader]


def one_of(allowed: Mapping[str, Value], value: str, column: str) -> Value:
    """The meaning of a value in a column of few values.

    Raises:
        InputRefused: the value is none of them.
    """
    if value not in allowed:
        listed = ", ".join("empty" if name == "" else repr(name) for name in allowed)
        raise InputRefused(
            f"the column {column!r} of the label table holds a value that is none of {listed}: correct it."
        )
    return allowed[value]


def split_named(value: str, column: str) -> str:
    """The split that a table names: "train", and "val" or "validation".

    Raises:
        InputRefused: it names another.
    """
    return one_of(_SPLITS, value, column)


def labels_by_key(labels: Iterable[tuple[str, Labels]]) -> dict[str, Labels]:
    """The labels of a table by the key of their image.

    Raises:
        InputRefused: two rows have one key, or a row names no patient.
    """
    rows = list(labels)
    by_key = dict(rows)
    if len(by_key) < len(rows):
        raise InputRefused(
            f"{len(rows) - len(by_key)} rows of the label table repeat the image of another row: one image must have "
            "one row. Remove the repeated ones."
        )
    nameless = sum(not row.patient for row in by_key.values())
    if nameless:
        raise InputRefused(
            f"{nameless} rows of the label table name no patient: the split is by patient. Fill them in."
        )
    return by_key


def labeled_images(
    source: str, labels: Mapping[str, Labels], *, files: Mapping[str, str], layout: str
) -> list[LabeledImage]:
    """The images that have both a file and labels, in the order of their keys.

    Args:
        source: name of the set.
        labels: labels by key.
        files: paths by key.
        layout: a sentence for the reader of the refusal that says what the folder must look like.

    Raises:
        InputRefused: no key is in both, or a patient is in both splits.
    """
    both = sorted(labels.keys() & files.keys())
    if not both:
        raise InputRefused(
            f"{len(labels)} labeled names and {len(files)} image files ({', '.join(_SUFFIXES)}) were found, and no "
            f"file belongs to a label. {layout}"
        )
    items = [_item(source, labels[key], files[key]) for key in both]
    splits = defaultdict(set)
    for item in items:
        splits[item["patient"]].add(item["split"])
    shared = sum(len(names) > 1 for names in splits.values())
    if shared:
        raise InputRefused(
            f"the label table puts {shared} patients in both splits: images of one patient must stay together, or "
            "validation measures memory. Move each patient to one split."
        )
    return items


def _item(source: str, labels: Labels, path: str) -> LabeledImage:
    patient = f"{source} {labels.patient}"
    return LabeledImage(
        image=path,
        source=source,
        patient=patient,
        split=labels.split or _drawn_split(patient),
        age=labels.age,
        opacity=labels.opacity,
        findings=labels.findings,
    )


def _drawn_split(patient: str) -> str:
    """Sends one patient in ten to validation, the same ones on every machine and for every subset of the images."""
    digest = hashlib.sha256(patient.encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") % 10 == 0 else "train"


def _walk(folder: Path) -> Iterable[Path]:
    def fail(error: OSError) -> NoReturn:
        raise InputRefused("a folder among those of the images cannot be read: grant access to it.") from error

    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(_SUFFIXES):
                yield Path(root, name)
