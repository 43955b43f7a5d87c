"""What a compressed frame states by itself: a decoder goes by that, whatever the DICOM header says."""

from __future__ import annotations

from pydicom.uid import UID, JPEG2000TransferSyntaxes, RLELossless

from monai_robustinterp.errors import InputRefused

_JPEG_2000_START = b"\xff\x4f\xff\x51"  # SOC and SIZ, inside a JP2 box or not; High-Throughput streams have them too
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # tables, reserved, arithmetic conditioning: among the starts of frames
_JPEG_LS_FRAME = 0xF7
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_RLE_HEADER = 64
_HTJ2K = "1.2.840.10008.1.2.4.20"


def check_codestream(frame: bytes, syntax: UID, *, rows: int, columns: int, samples: int, allocated: int) -> None:
    """Compares a frame's own size, and of JPEG 2000 its bits, with the header, before it is decoded.

    Args:
        frame: one compressed frame.
        syntax: its transfer syntax.
        rows: that the header states.
        columns: that the header states.
        samples: a pixel.
        allocated: bits a sample.

    Raises:
        InputRefused: if the sizes differ, the frame states none, or it has more bits a sample than are allocated.
    """
    if syntax == RLELossless:
        # 128 literal bytes take 129; the rest is for bytes that fill up a segment.
        most = _RLE_HEADER + 2 * rows * columns * samples * allocated // 8 + 4096
        if len(frame) > most:
            raise InputRefused(
                f"The compressed frame has {len(frame)} bytes; {rows} rows of {columns} columns take {most} at most. "
                "The file contradicts itself: export it again."
            )
        return
    jpeg_2000 = syntax in JPEG2000TransferSyntaxes or syntax.startswith(_HTJ2K)
    found = _jpeg_2000_size(frame) if jpeg_2000 else _jpeg_size(frame)
    if found != (rows, columns, samples):
        said = "none" if found is None else f"{found[0]} rows, {found[1]} columns and {found[2]} samples a pixel"
        raise InputRefused(
            f"The compressed frame states {said}; the header has {rows}, {columns} and {samples}. The file contradicts "
            "itself or is damaged: export it again."
        )
    if jpeg_2000 and (bits := _jpeg_2000_bits(frame)) > allocated:
        # The pixels would lose their upper bits, and nothing would say so.
        raise InputRefused(
            f"The compressed frame has {bits} bits a sample; the header allocates {allocated}. The file contradicts "
            "itself or is damaged: export it again."
        )


def _jpeg_2000_size(frame: bytes) -> tuple[int, int, int] | None:
    start = frame.find(_JPEG_2000_START)
    fields = frame[start + 8 : start + 43]
    if start < 0 or len(fields) < 35:
        return None
    width, height, left, top = (int.from_bytes(fields[i : i + 4], "big") for i in range(0, 16, 4))
    return height - top, width - left, int.from_bytes(fields[32:34], "big")


def _jpeg_2000_bits(frame: bytes) -> int:
    """Of the first sample of a pixel; the frame has a size."""
    return (frame[frame.find(_JPEG_2000_START) + 42] & 0x7F) + 1


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    """Of the first start of frame in JPEG and JPEG-LS."""
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            at += 1  # decoders skip what is between segments
            continue
        marker = frame[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH or marker == 0:
            at += 1 if marker == 0xFF else 2
            continue
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME) or marker == _JPEG_LS_FRAME:
            body = frame[at + 5 : at + 10]
            if len(body) < 5:
                return None
            return int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big"), body[4]
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
