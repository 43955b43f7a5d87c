"""Which files of the given paths are images to certify."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_admission import View, stated_view
from monai_robustinterp.io.read.dicom_dataset import HEAD_BYTES, file_meta, is_dicom, view_header
from monai_robustinterp.io.read.dicom_header import text

IMAGE_SUFFIXES = (".dcm", ".dicom", ".nii", ".nii.gz", ".png", ".jpg", ".jpeg")
RESULT_PREFIX = "cxr-"

_DICOMDIR = "DICOMDIR"
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Waveforms, presentation states, raw data and masks, mappings, surfaces, reports, documents, radiotherapy.
_NO_FILM = tuple(f"{_STORAGE}{branch}" for branch in ("9.", "11.", "66", "67", "68.", "88.", "104.", "481."))
_NO_IMAGE = "the folder holds no DICOM, NIfTI, PNG or JPEG image: check the path."
_ONLY_OTHER_VIEWS = (
    "the folder holds no film whose view may be one from the front or the back: name a file itself to take it all the "
    "same."
)
_OTHER_FILES = "no images by name and content"
_OTHER_VIEWS = "films whose view is not from the front or the back"
_BESIDE_DICOMDIR = "pictures that are no DICOM beside a DICOMDIR"


@dataclass(frozen=True)
class FoundImages:
    """Result of :func:`find_images`.

    Attributes:
        images: files to certify, in order.
        passed_over: how many files in the given folders are no films, by what they are.
        refused: (path, reason) of inputs, and of what is in the given folders, that cannot be listed or found.
        views: of a study of which a folder has several films, why each image counts as one from the front or the
            back, and what views the others have; by path.
    """

    images: tuple[Path, ...]
    passed_over: Mapping[str, int] = field(default_factory=dict)
    refused: tuple[tuple[Path, str], ...] = ()
    views: Mapping[Path, str] = field(default_factory=dict)


def find_images(inputs: Iterable[str | Path]) -> FoundImages:
    """Expands folders, recursively and sorted.

    A file that is named is always taken. In a folder, regular files with an image's suffix are taken, and others if
    they start like DICOM (part 10 files often have no suffix); hidden files are not, nor results of this package, nor
    DICOM objects that cannot hold a film by their class, nor films whose header states another view than one from the
    front or the back, as the lateral one of a study. Beside a DICOMDIR there are a viewer's pictures: only DICOM is
    taken.
    """
    images: list[Path] = []
    refused: list[tuple[Path, str]] = []
    passed_over: Counter[str] = Counter()
    views: dict[Path, str] = {}
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
        medium = any(path.name == _DICOMDIR for path in files)
        films: dict[Path, _Film] = {}
        reasons = [_no_film(path, films, medium=medium) for path in files]
        views |= _named_views(films)
        if all(reasons) and not unread:
            refused.append((entry, _ONLY_OTHER_VIEWS if _OTHER_VIEWS in reasons else _NO_IMAGE))
        images += [path for path, reason in zip(files, reasons, strict=True) if not reason]
        passed_over.update(filter(None, reasons))
    return FoundImages(images=tuple(images), passed_over=passed_over, refused=tuple(refused), views=views)


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
    # Names of io/write/result.py and io/write/findings.py.
    of_results = ("certificate.json", "findings.json")
    return folder.name.startswith(RESULT_PREFIX) and any(os.path.exists(folder / name) for name in of_results)


@dataclass(frozen=True)
class _Film:
    study: str
    view: View


def _named_views(films: Mapping[Path, _Film]) -> dict[Path, str]:
    """:attr:`FoundImages.views` of one folder."""
    studies: dict[str, list[Path]] = {}
    for path, film in films.items():
        studies.setdefault(film.study, []).append(path)
    named = {}
    for study, paths in studies.items():
        for path in paths:
            others = Counter(_with_choice(films[other].view) for other in paths if other != path)
            if study and others and not films[path].view.other:
                rest = ", ".join(f"{count} {view}" for view, count in sorted(others.items()))
                named[path] = f"chosen, view {films[path].view}; others of its study: {rest}"
    return named


def _with_choice(view: View) -> str:
    return f"left out ({view})" if view.other else f"chosen ({view})"


def _no_film(path: Path, films: dict[Path, _Film], *, medium: bool) -> str:
    """What a file of a folder is instead of a film from the front or the back; "" if it may be one.

    Args:
        path: of the file.
        films: gets what DICOM films say of their view.
        medium: whether there is a DICOMDIR in the folder.
    """
    try:
        with path.open("rb") as file:
            dicom = is_dicom(file.read(HEAD_BYTES))
    except OSError:
        dicom = False
    if dicom:
        return _dicom_without_film(path, films)
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        return _OTHER_FILES
    return _BESIDE_DICOMDIR if medium else ""


def _dicom_without_film(path: Path, films: dict[Path, _Film]) -> str:
    meta = file_meta(path)
    sop_class = text(meta, "MediaStorageSOPClassUID")
    if sop_class == _DIRECTORY_CLASS:
        return _DICOMDIR
    if sop_class.startswith(_NO_FILM):
        return "DICOM objects without a film (reports, presentation states, masks)"
    header = view_header(path, meta)
    films[path] = _Film(text(header, "StudyInstanceUID"), stated_view(header))
    return _OTHER_VIEWS if films[path].view.other else ""
