"""A DICOM header that travels in metadata: it names the patient, so it prints as nothing."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator

from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileDataset
from pydicom.valuerep import VR

from monai_robustinterp.errors import InputRefused

_MAX_DEPTH = 16


class HeaderText(str):
    """The bytes of a DICOM file before its pixels, in base64; "" if there is none.

    It is a text, so that MONAI collates and copies it as one. Printed or logged in metadata it shows nothing.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """What a log shows."""
        return "<DICOM header>" if len(self) else "''"

    @classmethod
    def of(cls, content: bytes) -> HeaderText:
        """The header of a DICOM file with this content.

        Raises:
            InputRefused: if its sequences lie in each other too deep.
        """
        stream = io.BytesIO(content)
        dataset = dcmread(stream, stop_before_pixels=True, force=True)
        check_depth(dataset)
        # A deflated data set was inflated to another stream: its header ends where the file does.
        deflated = dataset.file_meta.get("TransferSyntaxUID") == "1.2.840.10008.1.2.1.99"
        return cls(base64.b64encode(content if deflated else content[: stream.tell()]).decode())


def check_depth(dataset: Dataset) -> None:
    """Refuses sequences in sequences without end, on which whatever walks through a header would fail.

    Raises:
        InputRefused: if there are more than 16 levels of them.
    """
    level, depth = [dataset], 0
    while level:
        if depth > _MAX_DEPTH:
            raise InputRefused(
                f"Sequences of the DICOM header lie in each other, deeper than {_MAX_DEPTH} levels; objects of the "
                "standard have a few. The file is damaged, or was made to do harm: export it again."
            )
        level, depth = [item for one in level for item in _items(one)], depth + 1


def _items(dataset: Dataset) -> Iterator[Dataset]:
    """All items of all sequences of a data set; those that cannot be parsed have none."""
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        vr = element.VR if element is not None and element.VR else dictionary_VR(tag) if dictionary_has_tag(tag) else ""
        if vr == VR.SQ:
            with contextlib.suppress(Exception):
                yield from dataset[tag].value or ()


NO_HEADER = HeaderText()


def parse_header(text: str) -> FileDataset:
    """The header of a :class:`HeaderText`, without pixels."""
    return dcmread(io.BytesIO(base64.b64decode(text)), stop_before_pixels=True, force=True)
