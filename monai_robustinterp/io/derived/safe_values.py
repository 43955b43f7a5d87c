"""Values taken from other people's DICOM files: rebuilt if they are valid, left out if not, never shown."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator, MutableSequence
from datetime import datetime
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import format_number_as_ds, validate_value

_SWITCHES = threading.RLock()
_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
_NUMBER_VRS = frozenset({"FD", "FL", "SL", "SS", "UL", "US"})
_PARAGRAPH_VRS = frozenset({"LT", "ST", "UT"})
_FORBIDDEN_SIGNS = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from checking values for the time of a block: it prints them in warnings and in its log."""
    # All three switches are the whole process's: with two threads at once, one would restore the other's settings.
    with _SWITCHES:
        logger = logging.getLogger("pydicom")
        was_disabled, logger.disabled = logger.disabled, True
        try:
            with warnings.catch_warnings(), config.disable_value_validation():
                warnings.simplefilter("ignore")
                yield
        finally:
            logger.disabled = was_disabled


def valid_element(source: Dataset, keyword: str, *, pattern: str | None = None) -> DataElement | None:
    """Rebuild one element of a source under the standard's own VR, if it is there and its value is valid.

    Valid means: it can be read, has as many values as the dictionary says, each value obeys its VR (PS3.5 6.2), holds
    no control or replacement characters, and matches ``pattern``. A sequence with an invalid value in it is invalid;
    private and empty elements in it are dropped. A decimal number with too many digits is rounded.

    Args:
        source: the dataset to read from; its content is not changed.
        keyword: the attribute.
        pattern: regular expression that each value must match in full.

    Returns:
        A new element; None if it is absent, empty or invalid.
    """
    with quiet_pydicom():
        try:
            undeclared = not source.get("SpecificCharacterSet")
            return _rebuilt(source, Tag(tag_for_keyword(keyword) or 0), undeclared, pattern)
        except Exception:  # pydicom raises many types for malformed elements: they count as invalid
            return None


def valid_text(source: Dataset, keyword: str, *, pattern: str | None = None) -> str:
    """The valid single value of an element as text; "" if it is absent, empty or invalid."""
    element = valid_element(source, keyword, pattern=pattern)
    return "" if element is None else str(element.value)


def _rebuilt(dataset: Dataset, tag: BaseTag, undeclared: bool, pattern: str | None = None) -> DataElement | None:
    if tag not in dataset:
        return None
    vr, value = dictionary_VR(tag), dataset[tag].value
    if value is None or (isinstance(value, str | bytes | MutableSequence) and len(value) == 0):
        return None
    if vr == "SQ":
        return DataElement(tag, vr, [_rebuilt_item(item, undeclared) for item in value])
    values = list(value) if isinstance(value, MutableSequence) else [value]
    if not _has_multiplicity(len(values), dictionary_VM(tag)):
        raise ValueError("wrong number of values")
    checked = [_checked_value(vr, single, undeclared) for single in values]
    if pattern is not None and not all(re.fullmatch(pattern, str(single)) for single in checked):
        raise ValueError("not one of the allowed values")
    if all(single == "" for single in checked):
        return None
    return DataElement(tag, vr, checked if len(checked) > 1 else checked[0])


def _rebuilt_item(item: Dataset, undeclared: bool) -> Dataset:
    rebuilt = Dataset()
    for tag in sorted(item.keys()):
        element = None if tag.is_private else _rebuilt(item, tag, undeclared)
        if element is not None:
            rebuilt.add(element)
    return rebuilt


def _checked_value(vr: str, value: Any, undeclared: bool) -> Any:
    """The value in the form that is stored; raises ValueError or TypeError if it is invalid."""
    if vr in _NUMBER_VRS:
        validate_value(vr, value, config.RAISE)
        return value
    if vr == "IS":
        return str(int(value))
    text = str(value)
    if vr == "DS":
        rounded = format_number_as_ds(float(value))
        return text if re.fullmatch(r"[-+0-9.eE]{1,16}", text) else rounded
    if vr not in _TEXT_VRS or isinstance(value, bytes):
        raise ValueError("a kind of value that is not copied")
    if undeclared:
        text = _decoded_if_utf8(text)
    _check_text(vr, text)
    return text


def _check_text(vr: str, text: str) -> None:
    validate_value(vr, text, config.RAISE)
    plain = re.sub(r"[\r\n\f\t]", "", text) if vr in _PARAGRAPH_VRS else text
    if _FORBIDDEN_SIGNS.search(plain) or ("\\" in plain and vr not in _PARAGRAPH_VRS):
        raise ValueError("control or replacement characters")
    if vr == "DA" and text:
        datetime.strptime(text if text.isdigit() else "", "%Y%m%d")
    if vr == "TM" and text and not _TIME.fullmatch(text):
        raise ValueError("not a time")


def _decoded_if_utf8(text: str) -> str:
    """Text without a declared character set: pydicom reads it as Latin-1, but bytes that are UTF-8 are meant so."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _has_multiplicity(count: int, allowed: str) -> bool:
    """Whether a number of values fits a VM such as ``1``, ``2``, ``1-n`` or ``2-4``."""
    low, _, high = allowed.partition("-")
    if not high:
        return count == int(low)
    return count >= int(low) and (high.endswith("n") or count <= int(high))
