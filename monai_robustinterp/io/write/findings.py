"""The findings of an image as files: a folder of each, findings.json, and one structured report of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_robustinterp.certificates.findings import CertifiedFindings
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.io.write.dicom_object import Reported, object_uid
from monai_robustinterp.io.write.options import DEFAULT_OPTIONS, OutputOptions
from monai_robustinterp.io.write.overlay import source_header, written_header
from monai_robustinterp.io.write.result import save
from monai_robustinterp.io.write.secondary_capture import write_dicom_atomically
from monai_robustinterp.io.write.structured_report import KIND, NAME, findings_report

FINDINGS_NAME = "findings.json"
_REPORT = "sr"


def of_each(options: OutputOptions) -> OutputOptions:
    """The options of each finding: all outputs but the report, which is one of all findings."""
    return replace(options, outputs=tuple(name for name in options.outputs if name != _REPORT))


def save_findings(found: CertifiedFindings, folder: str | Path, options: OutputOptions = DEFAULT_OPTIONS) -> None:
    """Writes findings.json, report.dcm, and a folder of each finding as ``save`` does.

    Args:
        found: of an image file.
        folder: an existing folder without these files, or one that is made.
        options: which outputs, and how they are written.

    Raises:
        FileExistsError: if one of the files is there.
        InputRefused: if an output needs a DICOM source and there is none.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    for name, result in zip(found.folders, found.results):
        save(result, folder / name, of_each(options))
    if _REPORT in options.outputs:
        save_report(folder, found.record, [result.record for result in found.results], found.meta, options)
    atomic_write(folder / FINDINGS_NAME, lambda file: file.write(json_bytes(found.record)))


def save_report(
    folder: Path,
    record: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    meta: Mapping[str, Any],
    options: OutputOptions,
) -> None:
    """Writes report.dcm, one of all findings.

    Args:
        folder: of the image.
        record: content of findings.json.
        records: content of certificate.json of each finding; none if the network finds nothing.
        meta: the reader's metadata of the source.
        options: of whom it is.

    Raises:
        FileExistsError: if there is one.
        InputRefused: if it has no DICOM image to refer to.
    """
    header = source_header(meta, options)
    of_all, *each = (Reported(header=header, record=one) for one in (record, *records))
    write_dicom_atomically(findings_report(of_all, each), folder / NAME)


def missing_report(folder: Path, options: OutputOptions) -> bool:
    """Whether a report was asked for and is not in the folder of an image."""
    return _REPORT in options.outputs and not (folder / NAME).is_file()


def other_report(folder: Path, meta: Mapping[str, Any], record: Mapping[str, Any], options: OutputOptions) -> list[str]:
    """A phrase if the report in a folder is not the one that this run would write.

    Args:
        folder: of the image.
        meta: the reader's metadata of the source.
        record: content of findings.json.
        options: of this run.
    """
    if _REPORT not in options.outputs or not (folder / NAME).is_file():
        return []
    try:
        found = written_header(folder / NAME).get("SOPInstanceUID")
    except ValueError:
        found = None
    expected = object_uid(source_header(meta, options), record, KIND)
    return [] if found == expected else [f"{NAME} is of another result"]
