"""The files that a record speaks of: certificate.json itself, the image, the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_robustinterp.audit.expect import Judged
from monai_robustinterp.audit.strict import AuditError, bounded_bytes, strict_json

_LARGEST_RECORD = 2**22


def read_record(path: str | Path) -> dict[str, Any]:
    """Reads certificate.json.

    Raises:
        AuditError: if it is no JSON object in UTF-8 with unique keys and finite numbers, or none of a record's size.
    """
    content = bounded_bytes(path, "the certificate", _LARGEST_RECORD)
    try:
        record = strict_json(content.decode("utf-8"))
    except ValueError as error:
        raise AuditError(
            "the certificate cannot be read: it must be JSON in UTF-8 with unique keys and finite numbers, not nested "
            "deeper than a record is."
        ) from error
    if not isinstance(record, dict):
        raise AuditError("the certificate is no JSON object.")
    return record


def compare_files(
    expected: dict[str, Any],
    record: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    input_file: str | Path | None,
    bundle: str | Path | None,
) -> list[str]:
    """Adds the hashes of the files that are there to what is expected of a record.

    Args:
        expected: expectation of the record, which is changed.
        record: the record.
        provenance: what is known of the network.
        input_file: the image file, if it is there.
        bundle: folder of the bundle, if it is there.

    Returns:
        What is not compared, for the report.

    Raises:
        AuditError: if a file cannot be read, or the folder is no bundle.
    """
    not_checked = []
    if input_file is None:
        not_checked.append("the image file (give --input)")
    else:
        expected["source"]["file_sha256"] = _input_hash(record, Path(input_file))
    if bundle is None:
        not_checked.append("configuration and weights of the network (give --bundle)")
    else:
        expected["provenance"] |= _bundle_hashes(provenance, Path(bundle))
    return not_checked


def _input_hash(record: Mapping[str, Any], path: Path) -> Judged:
    """Whether ``source.file_sha256`` is that of the image file.

    Raises:
        AuditError: if the file cannot be read.
    """
    source = record.get("source")
    recorded = source.get("file_sha256") if isinstance(source, Mapping) else None
    agree = recorded == _sha256(path, "the image file")
    return Judged("" if agree else "the given image file has another hash")


def _bundle_hashes(provenance: Mapping[str, Any], folder: Path) -> dict[str, Judged]:
    """Whether the hashes of configuration, weights and input statistics are those of a bundle's files.

    Raises:
        AuditError: if the folder has no configuration, or a file cannot be read.
    """
    config = _sha256(folder / "configs" / "inference.json", "configs/inference.json of the bundle")
    weights = [_sha256(path, "a file in models/ of the bundle") for path in _files(folder / "models")]
    statistics: dict[str, Judged] = {}
    if "input_statistics_sha256" in provenance:
        configs = [_sha256(path, "a file in configs/ of the bundle") for path in _files(folder / "configs")]
        known = provenance["input_statistics_sha256"] in configs
        reason = "" if known else "no file in configs/ of the bundle has this hash"
        statistics["input_statistics_sha256"] = Judged(reason)
    return statistics | {
        "config_sha256": Judged(
            "" if provenance.get("config_sha256") == config else "configs/inference.json of the bundle has another hash"
        ),
        "weights_sha256": Judged(
            "" if provenance.get("weights_sha256") in weights else "no file in models/ of the bundle has this hash"
        ),
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AuditError(f"{what} cannot be opened ({error.strerror}).") from error
