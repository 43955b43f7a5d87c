"""Reads mutated radiographs and counts what became of them: ``python -m benchmarks.mutated_files FILE [COUNT] [SEED]``.

FILE is a DICOM radiograph. A small copy of it is written in each format and codec; each mutant is one of these with
bytes flipped, ranges overwritten, cut out or doubled, in the header or in the pixels. Whatever is not an image is to be
refused within the limits; anything else is a fault, and its file is kept in ``mutated_faults/``. DCMTK writes the JPEG
codecs of DICOM.
"""

from __future__ import annotations

import gzip
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom import dcmread, uid

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read import decoder
from monai_robustinterp.io.read.limits import MAX_MEMORY
from monai_robustinterp.io.read.reader import ChestXRayReader

SLOW_S = 30.0
STEP = 8
"""Every eighth pixel of each axis: headers and codestreams stay whole, and a file is read in milliseconds."""
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


def seeds(source: Path, folder: Path) -> dict[str, Path]:
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
    first = int(random.integers(2)) * min(len(data) // 2, 2048)
    for _ in range(int(random.integers(1, 4))):
        end = len(data) if first else min(len(data), 2048)
        start, size = int(random.integers(min(first, end - 1), end)), int(random.integers(1, 9))
        match int(random.integers(4)):
            case 0:
                data[start] ^= 1 << int(random.integers(8))
            case 1:
                data[start : start + size] = random.bytes(size)
            case 2:
                del data[start : start + size]
            case _:
                data[start:start] = data[start : start + 64 * size]
    return bytes(data[: int(random.integers(len(data)))] if random.random() < 0.05 else data)


def opens(path: Path) -> bool:
    """Whether Pillow takes the header of a PNG or JPEG, after which only the decoder is left."""
    try:
        with Image.open(path):
            return True
    except Exception:
        return False


def read(path: Path) -> tuple[str, bool]:
    """What became of one file, in a word or two, and whether its pixels went to a decoder."""
    start, decoded = time.monotonic(), True
    try:
        ChestXRayReader().get_data(path)
        outcome = "read"
    except InputRefused as refused:
        sentence = str(refused)
        slow = "refused: too slow" if "takes longer" in sentence else "refused"
        outcome = "refused: ended the decoder" if "ended the process" in sentence else slow
        decoded = opens(path) if "The image file" in sentence else bool(_DECODED.search(sentence))
    except Exception as error:
        outcome = f"FAULT: {type(error).__name__}"
    return (outcome if time.monotonic() - start < SLOW_S else "FAULT: slow"), decoded


def main(source: str, count: str = "10000", seed: str = "0") -> None:
    """Prints the counts by format, and the largest memory of a process that reads."""
    warnings.simplefilter("ignore")
    random, counts, faults = np.random.default_rng(int(seed)), Counter[tuple[str, str]](), Path("mutated_faults")
    faults.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        contents = {name: path.read_bytes() for name, path in seeds(Path(source), Path(folder)).items()}
    names = list(contents)
    for number in range(int(count)):
        name = names[number % len(names)]
        path = faults / f"{number}"
        # Most changes of a zipped file only break its checksum: half of the mutants are zipped afterwards.
        inside = name == "NIfTI gz" and random.random() < 0.5
        content = gzip.decompress(contents[name]) if inside else contents[name]
        changed = mutated(content, random)
        path.write_bytes(gzip.compress(changed) if inside else changed)
        outcome, decoded = read(path)
        counts[name, outcome] += 1
        counts[name, "decoded"] += decoded
        if not outcome.startswith("FAULT"):
            path.unlink()
    decoder.stop_reading()
    outcomes = sorted({outcome for _, outcome in counts} - {"decoded"})
    print(f"{count} mutants, seed {seed}\n\n| format | mutants | reach decoding | {' | '.join(outcomes)} |")
    print("|---" * (3 + len(outcomes)) + "|")
    for name in names:
        total = sum(counts[name, outcome] for outcome in outcomes)
        row = " | ".join(str(counts[name, outcome]) for outcome in outcomes)
        print(f"| {name} | {total} | {counts[name, 'decoded'] / total:.0%} | {row} |")
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"\nLargest memory of a process that reads: {peak / 1e9:.2f} GB of {MAX_MEMORY / 1e9:.0f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:])
