"""``verify``: an independent audit of a certificate."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from monai_robustinterp.audit import AuditError, AuditReport, read_record, verify
from monai_robustinterp.errors import InputRefused

HELP = "Recompute every number of a certificate from its votes, independently, and compare hashes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("certificate", type=Path, metavar="CERTIFICATE", help="certificate.json")
    parser.add_argument("votes", type=Path, metavar="VOTES", help="votes.npz of the same run")
    parser.add_argument("--input", type=Path, metavar="FILE", help="the image file: its hash is compared")
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="the bundle, or the name of a shipped one: the hashes of its configuration and weights are compared",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    try:
        record = read_record(arguments.certificate)
        bundle = None if arguments.bundle is None else _folder(arguments.bundle)
        report = verify(record, arguments.votes, input_file=arguments.input, bundle=bundle)
    except (AuditError, InputRefused) as error:
        print(f"monai-robustinterp: {error}", file=sys.stderr)
        return 1
    print(table(report))
    return 0 if report.verified else 1


def table(report: AuditReport) -> str:
    """What was compared, a line a section, then what was not and the outcome."""
    sections = Counter(path.split(".")[0].split("[")[0] for path in report.checked)
    lines = [f"{section:<16} {number:>4} values" for section, number in sections.items()]
    if report.hash_only:
        lines.append(f"not recomputed (covered by the content hash only): {', '.join(report.hash_only)}")
    lines += [f"not checked: {what}" for what in report.not_checked]
    lines += [f"difference: {sentence}" for sentence in report.differences]
    if report.verified:
        others = len(report.checked) - report.numbers
        lines.append(f"verified: {report.numbers} numbers and {others} other values follow from the stored counts.")
    else:
        lines.append(f"not verified: {len(report.differences)} differences.")
    return "\n".join(lines)


def _folder(bundle: Path) -> Path:
    if bundle.is_dir():
        return bundle
    # Only a name needs the rest of the package.
    from monai_robustinterp.bundle import shipped_bundle

    return shipped_bundle(str(bundle))
