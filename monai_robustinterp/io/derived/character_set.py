"""The character set of a derived object: the source's own if all its text fits, else one in which it does."""

from __future__ import annotations

import copy
import io
import json
import re

from pydicom import dcmread, dcmwrite
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from monai_robustinterp.io.derived.safe_values import quiet_pydicom

_PIXEL_GROUP = 0x7FE0
_ASCII = ("", "ISO_IR 6", "ISO 2022 IR 6")


def set_character_set(derived: Dataset, source: Dataset) -> None:
    """Set SpecificCharacterSet so that every text of ``derived`` is read back as it is now (PS3.3 C.12.1.1.2).

    The source's own comes first, since an archive may know its patient's name in those bytes only; then ASCII, which
    needs no declaration; then Latin-1; then UTF-8, which holds everything.
    """
    for candidate in (_declared(source), [""], ["ISO_IR 100"], ["ISO_IR 192"]):
        if candidate and _reads_back(derived, candidate):
            break
    derived.SpecificCharacterSet = candidate
    if candidate == [""]:
        del derived.SpecificCharacterSet


def _declared(source: Dataset) -> list[str]:
    """The source's own character set; empty if it declares none, or one that is not in the standard."""
    with quiet_pydicom():
        value = source.get("SpecificCharacterSet") or []
    names = [value] if isinstance(value, str) else list(value)
    return names if all(name in python_encoding for name in names) else []


def _reads_back(dataset: Dataset, character_set: list[str]) -> bool:
    header = Dataset({tag: dataset[tag] for tag in dataset.keys() if tag.group != _PIXEL_GROUP})  # noqa: SIM118
    header = copy.deepcopy(header)  # names remember the bytes that they were last written as
    header.SpecificCharacterSet = character_set
    with quiet_pydicom():
        text = header.to_json()
        # pydicom takes ASCII for Latin-1, and would write bytes that the declaration does not cover.
        if character_set[0] in _ASCII and re.search("[\x80-\xff]", json.dumps(json.loads(text), ensure_ascii=False)):
            return False
        buffer = io.BytesIO()
        dcmwrite(buffer, header, implicit_vr=False, little_endian=True)
        buffer.seek(0)
        return dcmread(buffer, force=True).to_json() == text
