"""The lines that the summary has of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from monai_robustinterp.certificates.findings import found_folders
from monai_robustinterp.certificates.ledger import applied, reached
from monai_robustinterp.certificates.serialize import certificate_from_json
from monai_robustinterp.run.against import OtherImage
from monai_robustinterp.run.lists import NOTHING_FOUND, SAME_FILM, ImageResult
from monai_robustinterp.run.read_ahead import ImageRun
from monai_robustinterp.types import VoteMap


def rows(image: ImageRun, *, before: int, other: OtherImage | None) -> list[ImageResult]:
    """The lines of an image: one, or one a finding.

    Args:
        image: that is done.
        before: number of inputs of runs that began before this one.
        other: image that the results are compared with.
    """
    line = ImageResult(number=before + image.number, status="refused", reason=image.reason, elapsed_s=image.elapsed_s)
    if image.same_as:
        return [replace(line, status=SAME_FILM, reason=f"the same film as {before + image.same_as}.")]
    if image.results is None:
        return [line]
    line, found = replace(line, folder=image.folder, kept=image.kept), image.results.findings
    if found is None:
        (record,), (votes,) = image.results.records, image.results.votes
        return [_row(line, record, votes, image, other)]
    if not image.results.records:
        return [
            replace(line, status=NOTHING_FOUND, reason=found["sentence"], warnings=_warnings(found, found["notes"]))
        ]
    return [
        _row(replace(line, folder=f"{image.folder}/{name}"), record, votes, image, other)
        for name, record, votes in zip(found_folders(found), image.results.records, image.results.votes)
    ]


def _warnings(record: Mapping[str, Any], of_input: Sequence[str]) -> str:
    return "; ".join(text for text in (record["source"]["warnings"], *of_input) if text)


def _row(
    line: ImageResult, record: Mapping[str, Any], votes: VoteMap, image: ImageRun, other: OtherImage | None
) -> ImageResult:
    """The line of one result."""
    certificate, finding = certificate_from_json(dict(record)), record["finding"]
    ledger = record.get("ledger", [])
    return replace(
        line,
        status=certificate.status.label,
        reason=certificate.sentence,
        finding=finding["name"],
        score=finding["score"],
        label_agreement=finding["label_agreement"],
        eta=certificate.eta,
        label_radius=certificate.label.l2,
        l_max=certificate.l_max,
        ceiling=certificate.ceiling,
        ceiling_share=certificate.ceiling_share,
        rerun_radius=record["rerun"]["l2"],
        covered_changes=sum(entry["covered"] for entry in ledger),
        tested_changes=len(applied(ledger)),
        reached_changes=tuple(reached(ledger)),
        **_of_the_lungs(record),
        against=other.compared(certificate, image.prepared.image) if other and image.prepared else "",
        plug_in_renyi=certificate.radius("plug-in", "renyi").l2,
        plug_in_neyman_pearson=certificate.radius("plug-in", "neyman-pearson").l2,
        renyi=certificate.radius("population", "renyi").l2,
        neyman_pearson=certificate.radius("population", "neyman-pearson").l2,
        n_samples=certificate.spec.n_samples,
        max_samples=max(certificate.spec.looks, default=certificate.spec.n_samples),
        warnings=_warnings(record, votes.input_warnings),
        notes=" ".join(note for note in certificate.notes if note not in votes.input_warnings),
    )


def _of_the_lungs(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a line of the summary says of the lungs."""
    failure = {"lungs_failure": record.get("lungs", {}).get("failure") or ""}
    for entry in record.get("regions", ()):
        if "alarm" in entry:
            return failure | {
                "lungs_observed": entry["observed"],
                "lungs_at_least": entry["at_least"],
                "lungs_at_most": entry["at_most"],
                "lungs_radius": entry["radius_above_half"]["l2"],
                "alarm": entry["alarm"],
            }
    return failure
