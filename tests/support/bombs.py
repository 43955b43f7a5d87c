"""Small files that cost gigabytes or minutes where nothing bounds them."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from openjpeg.utils import encode_pixel_data
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from tests.support.dicom_factory import chest_like, make_dx

MEBIBYTE = bytes(2**20)


def dicom_frame(path: Path, frame: bytes, syntax: uid.UID, *, side: int = 100, bits: int = 8) -> Path:
    """A DICOM file whose one compressed frame is this one."""
    make_dx(path, rows=100, cols=100, bits_stored=bits, bits_allocated=8 if bits == 8 else 16)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.Rows = dataset.Columns = side
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return path


def jpeg_2000(pixels: np.ndarray, *, bits: int = 8) -> bytes:
    """A lossless codestream."""
    rows, columns = pixels.shape
    return encode_pixel_data(
        pixels.tobytes(),
        rows=rows,
        columns=columns,
        samples_per_pixel=1,
        bits_stored=bits,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )


def meta_end(content: bytes) -> int:
    """Where the data set of a DICOM file begins."""
    return 144 + int.from_bytes(content[140:144], "little")


def nested(levels: int) -> bytes:
    """A sequence (8, 1115) in itself, explicit and of undefined length."""
    begin = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return begin * levels + end * levels


def _zeros(mebibytes: int) -> bytes:
    """A deflate stream of zeros, without an end."""
    packer = zlib.compressobj(9, wbits=-15)
    return (packer.compress(MEBIBYTE) + packer.flush(zlib.Z_FULL_FLUSH)) * mebibytes


def _deflated(path: Path) -> None:
    content = make_dx(path, transfer_syntax=uid.DeflatedExplicitVRLittleEndian).read_bytes()
    start, packer = meta_end(content), zlib.compressobj(wbits=-15)
    head = packer.compress(zlib.decompress(content[start:], wbits=-15)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(content[:start] + head + _zeros(4096) + zlib.compressobj(wbits=-15).flush())


def _jpeg_2000_of_another_size(path: Path, side: int) -> None:
    frame = bytearray(jpeg_2000(chest_like(100, 100, bits=8).astype(np.uint8)))
    start = frame.index(b"\xff\x4f\xff\x51") + 8
    for offset in (0, 16):  # of the image, of a tile
        frame[start + offset : start + offset + 8] = struct.pack(">II", side, side)
    dicom_frame(path, bytes(frame), uid.JPEG2000Lossless)


def _rle(path: Path) -> None:
    dicom_frame(path, struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x07" * 2**24, uid.RLELossless)


def _sparse(path: Path) -> None:
    os.truncate(path, 6 * 10**9)


def _sparse_dicom(path: Path) -> None:
    _sparse(make_dx(path))


def _sparse_png(path: Path) -> None:
    Image.fromarray(chest_like(100, 90, bits=8).astype(np.uint8)).save(path, "PNG")
    _sparse(path)


def _far_nifti(path: Path) -> None:
    image = nib.Nifti1Image(np.arange(10000, dtype=np.int16).reshape(100, 100, 1), np.eye(4))
    content = bytearray(image.to_bytes())
    content[108:112] = struct.pack("<f", 5e9)  # vox_offset
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(bytes(content)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + _zeros(4900) + zlib.compressobj(wbits=-15).flush() + bytes(8))


def _deep(path: Path) -> None:
    content = make_dx(path).read_bytes()
    start = meta_end(content)
    path.write_bytes(content[:start] + nested(100_000) + content[start:])


BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "4 GB of zeros deflated": (_deflated, "inflates to more than"),
    "JPEG 2000 of 65,535 px": (lambda path: _jpeg_2000_of_another_size(path, 65535), "states 65535 rows, 65535 col"),
    "JPEG 2000 of 10,000 px": (lambda path: _jpeg_2000_of_another_size(path, 10000), "states 10000 rows"),
    "an RLE segment of 2 GB": (_rle, "take 24160 at most"),
    "6 GB without content behind DICOM": (_sparse_dicom, "6000000000 bytes"),
    "6 GB without content behind PNG": (_sparse_png, "6000000000 bytes"),
    "a NIfTI whose data are 5 GB away": (_far_nifti, "inflates to more than"),
    "100,000 sequences in each other": (_deep, "RecursionError|deeper than"),
}
"""Name -> (makes the file, words of the refusal)."""
