"""Which files of the given paths are images to certify."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from monai_robustinterp.errors import InputRefused

IMAGE_SUFFIXES = (".dcm", ".dicom", ".nii", ".nii.gz", ".png", ".jpg", ".jpeg")
RESULT_PREFIX = "cxr-"


@dataclass(frozen=True)
class FoundImages:
    """Result of :func:`find_images`.

    Attributes:
        images: files to certify, in order.
        ignored: files in the given folders that are no images by name and content.
        refused: (path, reason) of inputs, and of what is in the given folders, that cannot be listed or found.
    """

    images: tuple[Path, ...]
    ignored: int = 0
    refused: tuple[tuple[Path, str], ...] = ()


def find_images(inputs: Iterable[str | Path]) -> FoundImages:
    """Expands folders, recursively and sorted.

    A file that is named is always taken. In a folder, regular files with an image's suffix are taken, and others if
    they start like DICOM (part 10 files often have no suffix); hidden files are not, nor results of this package.
    """
    images: list[Path] = []
    refused: list[tuple[Path, str]] = []
    ignored = 0
    for given in inputs:
        entry = Path(given)
        if not str(given):
            refused.append((entry, "the path is empty: give the path of an image or a folder; . is this folder."))
            continue
        # Unlike Path.is_dir it raises for no path.
        if not os.path.isdir(entry):
            images.append(entry)
            continue
        found, unread = _walk(entry)
        refused += unread
        files = sorted(path for path in found if not path.name.startswith("."))
        taken = [path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES) or _is_dicom(path)]
        if not taken and not unread:
            refused.append((entry, "the folder holds no DICOM, NIfTI, PNG or JPEG file: check the path."))
        images += taken
        ignored += len(files) - len(taken)
    return FoundImages(images=tuple(images), ignored=ignored, refused=tuple(refused))


def refuse_irregular(path: Path) -> None:
    """Refuses what has no end or no content of its own, before anything of it is read.

    Raises:
        InputRefused: if the path is there and is no regular file.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputRefused("the path is no regular file (a folder, pipe or device, say): pass an image file.")


def _walk(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Regular files below a folder; and what cannot be read there, with the reason."""
    found: list[Path] = []
    refused: list[tuple[Path, str]] = []

    def refuse(error: OSError) -> None:
        reason = f"the folder cannot be read ({error.strerror}): check its permissions."
        refused.append((Path(error.filename or folder), reason))

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not _is_result(Path(parent) / name)]
        for path in (Path(parent) / name for name in names):
            try:
                mode = path.stat().st_mode
            except OSError as error:
                if _may_be_image(path):
                    what = "the link leads to no file" if os.path.islink(path) else "the file cannot be read"
                    refused.append((path, f"{what} ({error.strerror}): check the path and its permissions."))
                continue
            if stat.S_ISREG(mode):
                found.append(path)
    return found, refused


def _may_be_image(path: Path) -> bool:
    """By name: part 10 files often have no suffix."""
    return not path.name.startswith(".") and (path.name.lower().endswith(IMAGE_SUFFIXES) or not path.suffix)


def _is_result(folder: Path) -> bool:
    return folder.name.startswith(RESULT_PREFIX) and os.path.exists(folder / "certificate.json")


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
