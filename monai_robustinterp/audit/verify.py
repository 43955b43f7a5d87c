"""The audit: every number of a record against its counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_robustinterp.audit import claims, sentences, surroundings
from monai_robustinterp.audit.case import Case
from monai_robustinterp.audit.expect import Finding, HashOnly, Same, as_number, walk
from monai_robustinterp.audit.files import compare_files
from monai_robustinterp.audit.ledger import ledger
from monai_robustinterp.audit.region import regions
from monai_robustinterp.audit.strict import AuditError
from monai_robustinterp.audit.votes import faults, read_votes


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What an audit found.

    Attributes:
        differences: one sentence each: what the file says, and what the counts give.
        checked: paths of the values that were recomputed or compared with another file, such as ``claim.l_max.l2``.
        numbers: how many of them are numbers.
        hash_only: paths of the values that nothing but the content hash covers.
        not_checked: what was not looked at, one sentence each.
    """

    differences: tuple[str, ...]
    checked: tuple[str, ...]
    numbers: int
    hash_only: tuple[str, ...]
    not_checked: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether there is no difference."""
        return not self.differences


def verify(
    record: Mapping[str, Any],
    votes: str | Path | Mapping[str, Any],
    *,
    input_file: str | Path | None = None,
    bundle: str | Path | None = None,
) -> AuditReport:
    """Recomputes every number of a certificate from the stored counts, in 40-digit arithmetic.

    A recorded guarantee may exceed the recomputed one by 1e-12 of itself (round-off) and fall short of it by 1e-6;
    other numbers agree within 1e-9; counts, hashes and sentences agree exactly.

    Args:
        record: content of certificate.json (:func:`read_record`).
        votes: path of votes.npz, or its arrays by name.
        input_file: the image file, whose SHA-256 is compared.
        bundle: folder of the bundle, whose configuration and weights are compared by their SHA-256.

    Raises:
        AuditError: if a file is none of its kind, or cannot be read.
    """
    stored = read_votes(votes)
    case = Case.of(record, stored)
    contradictions = faults(stored)
    if not contradictions and case.is_trivial:
        contradictions = ["the claim is trivially true: there are fewer cells than it takes to break it."]
    if contradictions:
        return AuditReport(
            differences=tuple(contradictions),
            checked=(),
            numbers=0,
            hash_only=(),
            not_checked=("everything that follows from the counts",),
        )
    expected, not_checked = _expected(case), []
    if stored.copies is None:
        not_checked.append("the counts against the votes of each copy, which were not kept")
    not_checked += compare_files(expected, record, stored.provenance, input_file=input_file, bundle=bundle)
    return report_of(list(walk(expected, record)), not_checked)


def _expected(case: Case) -> dict[str, Any]:
    votes = case.votes
    expected = {
        "format": Same(sentences.FORMAT),
        "status": Same(claims.status(case)),
        "sentence": Same(claims.sentence(case)),
        "claim": claims.claim(case),
        "radii": claims.radii(case),
        "notes": _all_same(
            sentences.notes(
                of_input=votes.input_warnings,
                tied=votes.tied_copies,
                constant=votes.constant_copies,
                n_samples=votes.n_samples,
                explains_target=votes.spec["explains_target"],
                selected=len(surroundings.selection(case)),
                at_ceiling=0 < case.number("claim", "ceiling", "l2") <= case.number("claim", "l_max", "l2"),
            )
        ),
        "spec": _all_same(votes.spec),
        "label": claims.label(case),
        "label_and_map": claims.label_and_map(case),
        "rerun": claims.rerun(case),
        "all_claims": claims.all_claims(case),
        "finding": surroundings.finding(case),
        "votes": surroundings.votes(case),
        "selection": surroundings.selection(case),
        "native": surroundings.native(case),
        "source": surroundings.source(case),
        "provenance": _all_same(votes.provenance),
        "content_sha256": Same(surroundings.content_sha256(case.record)),
    }
    if "split" in case.record:
        expected["split"] = surroundings.split(case)
    if votes.regions:
        expected["regions"] = regions(case)
    if "lungs" in case.record or surroundings.has_segmented_lungs(case):
        expected["lungs"] = surroundings.lungs(case)
    if "ledger" in case.record:
        expected["ledger"] = ledger(case)
    if votes.spec["looks"]:
        expected["sampling"] = surroundings.sampling(case)
    return expected


def _all_same(value: Any) -> Any:
    """Expects exactly this JSON value."""
    if isinstance(value, dict):
        return {name: _all_same(entry) for name, entry in value.items()}
    return [_all_same(entry) for entry in value] if isinstance(value, list) else Same(value)


def verify_other(
    record: Mapping[str, Any],
    form: str,
    expect: Callable[[], dict[str, Any]],
    *,
    input_file: str | Path | None,
    bundle: str | Path | None,
    not_checked: Sequence[str] = (),
) -> AuditReport:
    """Compares a record of another kind than certificate.json with what is expected of it, and with its files.

    Args:
        record: the record.
        form: its format.
        expect: makes the expectation.
        input_file: the image file, whose SHA-256 is compared.
        bundle: folder of the bundle, whose configuration and weights are compared by their SHA-256.
        not_checked: what is not looked at, one sentence each.

    Raises:
        AuditError: if the record is of another format, or a file is damaged so that nothing follows from it.
    """
    if record.get("format") != form:
        raise AuditError(f"the record is not of the format {form!r}, which is the one that is audited.")
    try:
        expected = expect()
    except AuditError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise AuditError("the record lacks an entry, or one of them has another form.") from error
    files = compare_files(expected, record, record["provenance"], input_file=input_file, bundle=bundle)
    return report_of(list(walk(expected, record)), [*not_checked, *files])


def report_of(findings: list[Finding], not_checked: list[str]) -> AuditReport:
    """The report of a walk."""
    leaves = [finding for finding in findings if finding.leaf is not None]
    checked = [finding for finding in leaves if not isinstance(finding.leaf, HashOnly)]
    return AuditReport(
        differences=tuple(f"{finding.path}: {finding.problem}." for finding in findings if finding.problem),
        checked=tuple(finding.path for finding in checked),
        numbers=sum(as_number(finding.found) is not None for finding in checked),
        hash_only=tuple(finding.path for finding in leaves if isinstance(finding.leaf, HashOnly)),
        not_checked=tuple(not_checked),
    )
