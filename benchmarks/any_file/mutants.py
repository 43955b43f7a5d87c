"""Mutated radiographs of every format through the reader: what became of them, and how many reached a decoder.

A small copy of a DICOM radiograph is written in each format and codec; a mutant is one of these, changed. Whatever is
not an image is to be refused within the limits; anything else is a fault, whose file is kept. DCMTK writes the JPEG
codecs of DICOM.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom import dcmread, uid

from benchmarks.any_file.spent import end_reading, peak_bytes
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.reader import ChestXRayReader
from monai_robustinterp.study.rows import Cell, kept_rows

SLOW_S = 30.0
HEADER = "DICOM header"
READ, ENDED = "read", "refused: ended the decoder"
MOST_CHANGES, CUT_SHARE = 3, 0.05
STEP = 8
"""Every eighth pixel of each axis: headers and codestreams stay whole, and a file is read in milliseconds."""
_FRONT, _PREAMBLE = 2048, 132
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_PYDICOM = {
    "DICOM RLE": uid.RLELossless,
    "DICOM JPEG-LS": uid.JPEGLSLossless,
    "DICOM JPEG 2000": uid.JPEG2000Lossless,
}
_DCMTK = {
    "DICOM JPEG baseline": ("dcmcjpeg", "+eb"),
    "DICOM JPEG extended": ("dcmcjpeg", "+ee"),
    "DICOM JPEG lossless": ("dcmcjpeg", "+e1"),
    "DICOM deflated": ("dcmconv", "+td"),
}
# Sentences of refusals that only a decoder, or what comes after it, gives.
_DECODED = re.compile(
    r"could not be decoded|decoded frame|ended the process|takes longer|2 GB of memory|no finite value"
)


def originals(source: Path, folder: Path) -> dict[str, Path]:
    """One small file of each format, of the pixels of a DICOM radiograph."""
    dataset = dcmread(source)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress()
    pixels = np.ascontiguousarray(dataset.pixel_array[::STEP, ::STEP])
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    files = {"DICOM uncompressed": folder / "uncompressed.dcm"}
    dataset.save_as(files["DICOM uncompressed"], enforce_file_format=True)
    for name, syntax in _PYDICOM.items():
        coded = dcmread(files["DICOM uncompressed"])
        coded.compress(syntax, generate_instance_uid=False)
        files[name] = folder / f"{name}.dcm"
        coded.save_as(files[name])
    for name, (program, option) in _DCMTK.items():
        files[name] = folder / f"{name}.dcm"
        subprocess.run([program, option, files["DICOM uncompressed"], files[name]], check=True, capture_output=True)
    gray = (255.0 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
    for name, suffix in (("NIfTI", "nii"), ("NIfTI gz", "nii.gz")):
        files[name] = folder / f"image.{suffix}"
        nib.save(nib.Nifti1Image(pixels.astype(np.int16), np.eye(4)), files[name])
    for name, suffix in (("PNG", "png"), ("JPEG", "jpg")):
        files[name] = folder / f"image.{suffix}"
        Image.fromarray(gray).save(files[name])
    return files


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One change or several: half of the files in the header, half of them anywhere, which is mostly in the pixels."""
    data = bytearray(content)
    first = int(random.integers(2)) * min(len(data) // 2, _FRONT)
    for _ in range(int(random.integers(1, MOST_CHANGES + 1))):
        end = len(data) if first else min(len(data), _FRONT)
        _change(data, int(random.integers(min(first, end - 1), end)), random)
    return bytes(data[: int(random.integers(len(data)))] if random.random() < CUT_SHARE else data)


def with_mutated_header(content: bytes, random: np.random.Generator) -> bytes:
    """One change in front of the pixels of a DICOM file and behind its preamble; nothing else, so that many decode."""
    pixels = content.rindex(_PIXEL_DATA)
    data = bytearray(content[:pixels])
    _change(data, int(random.integers(_PREAMBLE, pixels)), random)
    return bytes(data) + content[pixels:]


def _change(data: bytearray, start: int, random: np.random.Generator) -> None:
    """A bit flipped, or bytes overwritten, cut out or doubled."""
    size = int(random.integers(1, 9))
    match int(random.integers(4)):
        case 0:
            data[start] ^= 1 << int(random.integers(8))
        case 1:
            data[start : start + size] = random.bytes(size)
        case 2:
            del data[start : start + size]
        case _:
            data[start:start] = data[start : start + 64 * size]


def opens(path: Path) -> bool:
    """Whether Pillow takes the header of a PNG or JPEG, after which only the decoder is left."""
    try:
        with Image.open(path):
            return True
    except Exception:
        return False


def read(path: Path) -> tuple[str, bool]:
    """What became of one file, in a word or two, and whether its pixels went to a decoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ChestXRayReader().get_data(path)
        except InputRefused as refused:
            sentence = str(refused)
            slow = "refused: too slow" if "takes longer" in sentence else "refused"
            decoded = opens(path) if "The image file" in sentence else bool(_DECODED.search(sentence))
            return ENDED if "ended the process" in sentence else slow, decoded
        except Exception as error:
            return f"FAULT: {type(error).__name__}", True
    return READ, True


def study(source: Path, count: int, seed: int, output: Path) -> dict[str, Any]:
    """Mutants of every format; formats that an earlier run left in the folder are not repeated.

    Args:
        source: a DICOM radiograph.
        count: of mutants of each format.
        seed: of the mutations.
        output: folder of the study.

    Returns:
        A row a format: ``outcomes`` (name -> number), ``reached`` decoding, ``slowest_s``, ``peak_bytes``.
    """
    with tempfile.TemporaryDirectory() as folder:
        contents = {name: path.read_bytes() for name, path in originals(source, Path(folder)).items()}
    headers = [content for name, content in contents.items() if "DICOM" in name and name != "DICOM deflated"]
    groups = {HEADER: headers, **{name: [content] for name, content in contents.items()}}
    cells = [
        Cell(
            name=name,
            labels={"format": name},
            settings={"count": count, "seed": [seed, number], "source": source.name},
            make=partial(_read_mutants, name, files, count, [seed, number], output / "faults"),
        )
        for number, (name, files) in enumerate(groups.items())
    ]
    return dict(zip(groups, kept_rows(output, "mutants", cells)))


def _read_mutants(name: str, files: list[bytes], count: int, seed: list[int], faults: Path) -> dict[str, Any]:
    faults.mkdir(parents=True, exist_ok=True)
    random, outcomes, reached, slowest, peak = np.random.default_rng(seed), Counter[str](), 0, 0.0, 0
    end_reading()
    for number in range(count):
        path = faults / f"{name}-{number}"
        path.write_bytes(_mutant(name, files[number % len(files)], random))
        start = time.monotonic()
        outcome, decoded = read(path)
        seconds = time.monotonic() - start
        outcomes[outcome if seconds < SLOW_S else "FAULT: slow"] += 1
        reached, slowest, peak = reached + decoded, max(slowest, seconds), max(peak, peak_bytes())
        if not outcome.startswith("FAULT"):
            path.unlink()
    return {"outcomes": outcomes, "reached": reached, "slowest_s": slowest, "peak_bytes": peak}


def _mutant(name: str, content: bytes, random: np.random.Generator) -> bytes:
    if name == HEADER:
        return with_mutated_header(content, random)
    # Most changes of a zipped file only break its checksum: half of the mutants are zipped afterwards.
    if name == "NIfTI gz" and random.random() < 0.5:
        return gzip.compress(mutated(gzip.decompress(content), random))
    return mutated(content, random)
