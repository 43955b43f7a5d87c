"""Messages between this process and the one that reads files: a JSON object and raw bytes, never pickles."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

_LENGTHS = struct.Struct(">QQ")


def send(stream: IO[bytes], head: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
    """Writes one message.

    Args:
        stream: to the other process.
        head: plain values; NaN is allowed.
        body: one byte an item.
    """
    text = json.dumps(head).encode()
    stream.write(_LENGTHS.pack(len(text), len(body)) + text)
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytearray] | None:
    """Reads one message; None if the other process has ended."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    size, body_size = _LENGTHS.unpack(lengths)
    text, body = stream.read(size), bytearray(body_size)
    # Not in two steps of reading and copying: an image may have 400 MB.
    return (json.loads(text), body) if stream.readinto(body) == body_size else None  # type: ignore[attr-defined]
