"""Which files of the given paths are images to certify."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_dataset import HEAD_BYTES, is_dicom

IMAGE_SUFFIXES = (".dcm", ".dicom", ".nii", ".nii.gz", ".png", ".jpg", ".jpeg")
RESULT_PREFIX = "cxr-"

_DICOMDIR = "DICOMDIR"
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Waveforms, presentation states, raw data and masks, mappings, surfaces, reports, documents, radiotherapy.
_NO_FILM = tuple(f"{_STORAGE}{branch}" for branch in ("9.", "11.", "66", "67", "68.", "88.", "104.", "481."))
_OTHER_FILES = "no images by name and content"
_BESIDE_DICOMDIR = "pictures that are no DICOM beside a DICOMDIR"


@dataclass(frozen=True)
class FoundImages:
    """Result of :func:`find_images`.

    Attributes:
        images: files to certify, in order.
        passed_over: how many files in the given folders are no films, by what they are.
        refused: (path, reason) of inputs that do not exist or cannot be listed.
    """

    images: tuple[Path, ...]
    passed_over: Mapping[str, int] = field(default_factory=dict)
    refused: tuple[tuple[Path, str], ...] = ()


def find_images(inputs: Iterable[str | Path]) -> FoundImages:
    """Expands folders, recursively and sorted.

    A file that is named is always taken. In a folder, regular files with an image's suffix are taken, and others if
    they start like DICOM (part 10 files often have no suffix); hidden files are not, nor results of this package, nor
    DICOM objects that cannot hold a film by their class. Beside a DICOMDIR there are a viewer's pictures: only DICOM is
    taken.
    """
    images: list[Path] = []
    refused: list[tuple[Path, str]] = []
    passed_over: Counter[str] = Counter()
    for entry in map(Path, inputs):
        if not entry.is_dir():
            images.append(entry)
            continue
        try:
            files = sorted(path for path in _walk(entry) if not path.name.startswith("."))
        except OSError as error:
            refused.append((entry, f"the folder cannot be read ({error.strerror}): check its permissions."))
            continue
        medium = any(path.name == _DICOMDIR for path in files)
        reasons = [_no_film(path, medium=medium) for path in files]
        if all(reasons):
            refused.append((entry, "the folder holds no DICOM, NIfTI, PNG or JPEG image: check the path."))
        images += [path for path, reason in zip(files, reasons, strict=True) if not reason]
        passed_over.update(filter(None, reasons))
    return FoundImages(images=tuple(images), passed_over=passed_over, refused=tuple(refused))


def refuse_irregular(path: Path) -> None:
    """Refuses what has no end or no content of its own, before anything of it is read.

    Raises:
        InputRefused: if the path is there and is no regular file.
    """
    if path.exists() and not path.is_file():
        raise InputRefused("the path is no regular file (a folder, pipe or device, say): pass an image file.")


def _walk(folder: Path) -> Iterable[Path]:
    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not _is_result(Path(parent) / name)]
        yield from (path for name in names if (path := Path(parent) / name).is_file())


def _is_result(folder: Path) -> bool:
    return folder.name.startswith(RESULT_PREFIX) and (folder / "certificate.json").exists()


def _no_film(path: Path, *, medium: bool) -> str:
    """What a file of a folder is instead of a film; "" if it may be one.

    Args:
        path: of the file.
        medium: whether there is a DICOMDIR in the folder.
    """
    try:
        with path.open("rb") as file:
            dicom = is_dicom(file.read(HEAD_BYTES))
    except OSError:
        dicom = False
    if dicom:
        return _dicom_without_film(path)
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        return _OTHER_FILES
    return _BESIDE_DICOMDIR if medium else ""


def _dicom_without_film(path: Path) -> str:
    try:
        # Group 2 only: what comes behind it may be large, or made to do harm.
        sop_class = str(read_file_meta_info(path).get("MediaStorageSOPClassUID", ""))
    except Exception:  # no preamble, or damaged: the reader says what is wrong
        return ""
    if sop_class == _DIRECTORY_CLASS:
        return _DICOMDIR
    return (
        "DICOM objects without a film (reports, presentation states, masks)" if sop_class.startswith(_NO_FILM) else ""
    )
