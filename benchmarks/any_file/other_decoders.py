"""The reader's pixels beside those of DCMTK and GDCM.

Each DICOM file that the reader takes is rewritten without compression by DCMTK (JPEG 2000: GDCM), and its pixels are
taken from the raw bytes.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread, uid

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.dicom_dataset import is_dicom
from monai_robustinterp.io.read.formats import HEAD_BYTES, read_source

_PROGRAMS = {
    **dict.fromkeys(uid.JPEGTransferSyntaxes, "dcmdjpeg"),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, "dcmdjpls"),
    **dict.fromkeys(uid.JPEG2000TransferSyntaxes, "gdcmconv --raw"),
    uid.RLELossless: "dcmdrle",
}


def other_pixels(path: Path, syntax: uid.UID, folder: Path) -> npt.NDArray[np.int64] | None:
    """Stored pixels [H, W] by the other program, or None if it does not take the file."""
    raw = folder / "raw.dcm"
    command = [*_PROGRAMS.get(syntax, "dcmconv +te").split(), str(path), str(raw)]
    raw.unlink(missing_ok=True)
    if subprocess.run(command, capture_output=True).returncode or not raw.is_file():
        return None
    dataset = dcmread(raw, force=True)
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    kind = f"{order}{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
    pixels = np.frombuffer(dataset.PixelData, kind, count=size).astype(np.int64)
    # Bits above those that are stored may hold an overlay.
    unused = 8 * np.dtype(kind).itemsize - dataset.HighBit - 1
    pixels = (pixels << (64 - 8 * np.dtype(kind).itemsize + unused)) >> (64 - dataset.BitsStored)
    if not dataset.PixelRepresentation:
        pixels &= (1 << dataset.BitsStored) - 1
    return pixels.reshape(dataset.Rows, dataset.Columns, -1)[..., 0]


def compared(path: Path, folder: Path) -> tuple[str, str]:
    """Name of the transfer syntax, and what was found: "equal", "differs by ...", or why nothing is compared."""
    content = path.read_bytes()
    syntax = dcmread(path, stop_before_pixels=True, force=True).file_meta.get("TransferSyntaxUID", uid.UID(""))
    name = uid.UID(syntax).name.split(":")[0] or "none stated"
    try:
        ours = read_source(content, strict=False).stored_pixels
    except InputRefused as refused:
        return name, "refused: " + re.sub(r"\d+", "#", str(refused).split(";")[0].split(". ")[0])
    except Exception as error:
        return name, f"FAULT: {type(error).__name__}"
    theirs = other_pixels(path, uid.UID(syntax), folder)
    if theirs is None:
        return name, "the other program does not take it"
    if theirs.shape != ours.shape:
        return name, f"differs: shape {ours.shape}, the other program's {theirs.shape}"
    most = int(np.abs(ours.astype(np.int64) - theirs).max())
    return name, "equal" if most == 0 else f"differs by at most {most}"


def study(folders: Mapping[str, Path], first: int | None) -> dict[str, list[dict[str, str]]]:
    """A row a DICOM file of each folder: ``file``, ``syntax``, ``found``.

    Args:
        folders: by the name of the set.
        first: so many files of each; None takes all.
    """
    warnings.simplefilter("ignore")
    sets = {}
    for name, folder in folders.items():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        files = [path for path in files if is_dicom(path.read_bytes()[:HEAD_BYTES])][:first]
        with tempfile.TemporaryDirectory() as scratch:
            found = [(path.name, *compared(path, Path(scratch))) for path in files]
        sets[name] = [dict(zip(("file", "syntax", "found"), row)) for row in found]
    return sets
