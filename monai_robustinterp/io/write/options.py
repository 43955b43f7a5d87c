"""How a result is written: which files it has beside certificate and votes, how they look, and of whom they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from pydicom.dataset import Dataset

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.write.secondary_capture import TRANSFER_SYNTAXES

OUTPUTS = ("sc", "pm", "seg", "sr", "pseudocolor", "gsps", "nii")
"""Names of the outputs, as ``--outputs`` takes them."""

Capture = Literal["canvas", "source"]
"""``canvas`` is made for a physician; ``source`` lies on the pixels of the source, and all that is claimed below it."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How results are written.

    Attributes:
        outputs: of :data:`OUTPUTS`; "sc" is overlay.dcm. Without any there are certificate, votes and preview.
        capture: which picture: "canvas", made for a physician, or "source", on the pixels of the source.
        transfer_syntax: of the captures: "explicit", or a lossless compression: "jpeg2000", "jpegls" or "rle".
        reference: DICOM header whose patient and study the captures of other formats join.
        deidentify_key: if given, the DICOM files are of nobody, with keyed hashes for UIDs; not with ``reference``.

    Raises:
        InputRefused: if an output is unknown or useless without another one, or if they are to be of a patient and of
            nobody.
        ValueError: if there is no such capture or transfer syntax.
    """

    outputs: Sequence[str] = ("sc",)
    capture: Capture = "canvas"
    transfer_syntax: str = "explicit"
    # Patient and secret, which no message may show.
    reference: Dataset | None = field(default=None, repr=False)
    deidentify_key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if any(name not in OUTPUTS for name in self.outputs):
            raise InputRefused(
                f"the outputs are {', '.join(self.outputs) or 'none'}; they must be one or more of "
                f"{', '.join(OUTPUTS)}, with commas between them."
            )
        if "pseudocolor" in self.outputs and "pm" not in self.outputs:
            raise InputRefused("pseudocolor shows the parametric map in color, and needs it: choose the output pm too.")
        if self.reference is not None and self.deidentify_key is not None:
            raise InputRefused(
                "--reference puts results into a patient's study and --deidentify takes them out: choose one."
            )
        if self.capture not in get_args(Capture):
            raise ValueError(f"capture is {self.capture!r}; it must be one of {', '.join(get_args(Capture))}.")
        if self.transfer_syntax not in TRANSFER_SYNTAXES:
            raise ValueError(
                f"transfer_syntax is {self.transfer_syntax!r}; it must be one of {', '.join(TRANSFER_SYNTAXES)}."
            )


DEFAULT_OPTIONS = OutputOptions()
