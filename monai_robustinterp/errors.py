"""The one exception that says "this file is not explained": what was found, the rule, and what to do."""

from __future__ import annotations


class InputRefused(ValueError):
    """A file that the reader will not turn into an image.

    The message says what was found, which rule it breaks, and what to do. It holds no patient data: no values of DICOM
    text elements other than modality and body-part codes, and no file name, since file names may hold patient names.

    Attributes:
        path: the refused file, for callers that may show it; it is not part of the message.
    """

    path: str = ""
