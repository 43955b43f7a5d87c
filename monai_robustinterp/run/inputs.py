"""Which files of the given paths are images to certify."""

from __future__ import annotations

import os
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
        refused: (path, reason) of inputs that do not exist or cannot be listed.
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
    for entry in map(Path, inputs):
        if not entry.is_dir():
            images.append(entry)
            continue
        try:
            files = sorted(path for path in _walk(entry) if not path.name.startswith("."))
        except OSError as error:
            refused.append((entry, f"the folder cannot be read ({error.strerror}): check its permissions."))
            continue
        taken = [path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES) or _is_dicom(path)]
        if not taken:
            refused.append((entry, "the folder holds no DICOM, NIfTI, PNG or JPEG file: check the path."))
        images += taken
        ignored += len(files) - len(taken)
    return FoundImages(images=tuple(images), ignored=ignored, refused=tuple(refused))


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


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
