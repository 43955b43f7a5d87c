"""A DICOM header that travels in metadata: it names the patient, so it prints as nothing."""

from __future__ import annotations

import base64
import io

from pydicom import dcmread
from pydicom.dataset import FileDataset


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
        """The header of a DICOM file with this content."""
        stream = io.BytesIO(content)
        dataset = dcmread(stream, stop_before_pixels=True, force=True)
        # A deflated data set was inflated to another stream: its header ends where the file does.
        deflated = dataset.file_meta.get("TransferSyntaxUID") == "1.2.840.10008.1.2.1.99"
        return cls(base64.b64encode(content if deflated else content[: stream.tell()]).decode())


NO_HEADER = HeaderText()


def parse_header(text: str) -> FileDataset:
    """The header of a :class:`HeaderText`, without pixels."""
    return dcmread(io.BytesIO(base64.b64decode(text)), stop_before_pixels=True, force=True)
