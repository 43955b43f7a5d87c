"""Lookup tables of DICOM (modality and VOI LUT), with what files say wrongly about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_robustinterp.errors import InputRefused

_BYTE, _WORD = 8, 16
_SPARE = 8  # a table that uses at most this part of its range has another range


@dataclass(frozen=True)
class LookedUp:
    """Values after a table.

    Attributes:
        values: entries of the table, as many as were looked up, in unsigned integers of 16 bits.
        bits: of the output range, which begins at 0.
        warnings: sentences about what the descriptor says wrongly.
    """

    values: npt.NDArray[np.uint16]
    bits: int
    warnings: tuple[str, ...]


def is_empty(item: Dataset) -> bool:
    """Whether an item of a table's sequence has neither descriptor nor data."""
    return not any(keyword in item and item.get_item(keyword).value for keyword in ("LUTDescriptor", "LUTData"))


def look_up(values: npt.NDArray[Any], item: Dataset, *, lowest: float) -> LookedUp:
    """Map values through a table; those outside it take its first or last entry.

    Args:
        values: to look up.
        item: of the table's sequence.
        lowest: least value that the header leaves possible.

    Raises:
        InputRefused: if descriptor and data of the table do not agree.
    """
    try:
        count, first, bits = (int(v) for v in item.LUTDescriptor)
        table, warnings = _entries(item, count % 2**16 or 2**16, bits)
    except Exception:  # malformed tables fail in many ways inside pydicom
        raise InputRefused(
            "A lookup table (modality or VOI LUT) of the file is malformed; its descriptor and data must agree. "
            "Export the image again, with a window instead of a table."
        ) from None
    if first >= 2**15 and values.min() < 0:
        first -= 2**16  # a signed first value that was written as US
    elif first < 0 <= lowest:
        first += 2**16
        warnings += ("a lookup table's first value is signed for unsigned values: its 16 bits are read unsigned",)
    used = _output_bits(table, bits)
    if used != bits:
        warnings += (
            f"a lookup table claims outputs of {_shown(bits)} bits and its entries reach {int(table.max())}: the range "
            f"of {used} bits is shown",
        )
    index = np.clip(np.rint(values, dtype=np.float64) - first, 0, table.size - 1)
    return LookedUp(table[index.astype(np.intp)].astype(np.uint16), used, warnings)


def _entries(item: Dataset, count: int, bits: int) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    element: Any = item.get_item("LUTData")  # raw bytes, whatever the value representation says
    raw: bytes = element.value
    if bits <= _BYTE and len(raw) < 2 * count:
        table = np.frombuffer(raw, dtype=np.uint8)  # 8-bit entries, two to a word
    else:
        words = raw[: len(raw) // 2 * 2]
        table = np.frombuffer(words, dtype="<u2" if element.is_little_endian else ">u2")
    if table.size == count - 1 and table.size:
        warning = "a lookup table has one entry less than its descriptor says: the last one stands for it"
        return np.append(table, table[-1]), (warning,)
    if table.size < count:
        raise ValueError("the table is shorter than its descriptor says")
    return table[:count], ()


def _output_bits(table: npt.NDArray[Any], claimed: int) -> int:
    """Bits of the output range: the claimed ones if the entries lie in them and use more than an eighth."""
    largest = int(table.max())
    if _BYTE <= claimed <= _WORD and (2**claimed - 1) // _SPARE < largest < 2**claimed:
        return claimed
    return max(largest.bit_length(), _BYTE)


def _shown(bits: int) -> str:
    return str(bits) if 0 <= bits <= _WORD else "no possible number of"
