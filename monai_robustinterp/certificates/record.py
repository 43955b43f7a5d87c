"""The one place where votes become a result: certificate, evidence and origin in one record, with its hash."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monai_robustinterp.certificates.certificate import Certificate, CertifiedResult, Picture
from monai_robustinterp.certificates.certify import certify_votes
from monai_robustinterp.certificates.overlap import BetaLike
from monai_robustinterp.certificates.region import region_statements
from monai_robustinterp.certificates.rerun import rerun_radius
from monai_robustinterp.certificates.serialize import certificate_to_json
from monai_robustinterp.certificates.split import Split
from monai_robustinterp.certificates.units import round_up, sum_up
from monai_robustinterp.files import sealed
from monai_robustinterp.types import SmoothingSpec, VoteMap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What is asked of the votes.

    Attributes:
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        eta: failure probability per image: of the map, and as much again of the decision, of a second run, and of all
            regions together.
        until_radius: the radius at which sampling was to stop, if it had looks.
        until_covers: name of the change of the image that this radius covers, if it was asked for that.
        split: the findings of the image that share an eta, of which this one is a part; None for one by itself.
    """

    beta: BetaLike
    eta: float
    until_radius: float | None = None
    until_covers: str | None = None
    split: Split | None = None

    @property
    def stops_early(self) -> bool:
        """Whether sampling may stop at a look."""
        return self.until_radius is not None or self.until_covers is not None

    def of_each(self, findings: int) -> Claim:
        """The claim on each of so many findings of one image."""
        split = Split(findings=findings, eta=self.eta)
        return dataclasses.replace(self, eta=split.part, split=split)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Where votes come from: plain JSON values, without names and dates.

    Attributes:
        source: format, hashes and display of the file (:func:`~monai_robustinterp.io.read.reader.source_record`).
        native: L_max in stored pixel values, or why there is none
            (:func:`~monai_robustinterp.geometry.native.native_record`).
        provenance: versions, and hashes of network and configuration.
        ledger: which changes of the source image the map's radius covers
            (:func:`~monai_robustinterp.certificates.ledger.ledger_record`); empty where none was measured.
        lungs: ``name``, ``version`` and ``sha256`` of the segmenter that drew the lungs, its ``confidence``, and in
            ``failure`` why there is no region of them; empty where none was asked.
    """

    source: Mapping[str, Any]
    native: Mapping[str, Any]
    provenance: Mapping[str, str]
    ledger: Sequence[Mapping[str, Any]] = ()
    lungs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def certified_result(
    votes: VoteMap,
    spec: SmoothingSpec,
    claim: Claim,
    *,
    finding: Mapping[str, Any],
    origin: Callable[[Certificate], Origin],
    picture: Picture | None = None,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> CertifiedResult:
    """Certifies votes and puts down all that is claimed, as ``schemas/certificate.schema.json`` describes it.

    Args:
        votes: the counts.
        spec: how they were made.
        claim: what is asked of them.
        finding: of the explained class, ``name``, ``score``, ``cut_off`` and ``misses``
            (:meth:`~monai_robustinterp.networks.findings.Findings.entry`).
        origin: of the votes; the radius in stored pixel values depends on the certificate.
        picture: the map on the source's pixels, where there is one.
        earlier: runs of the image with other settings that did not certify it, plain JSON values: this one was then
            selected.
    """
    certificate = certify_votes(votes, spec, beta=claim.beta, eta=claim.eta)
    record = _record(votes, certificate, claim, finding) | _selection(certificate, earlier)
    return CertifiedResult(
        votes=votes,
        certificate=certificate,
        record=sealed(record | _of_origin(origin(certificate))),
        picture=picture,
    )


def _record(votes: VoteMap, certificate: Certificate, claim: Claim, finding: Mapping[str, Any]) -> dict[str, Any]:
    spec, eta = certificate.spec, claim.eta
    record = certificate_to_json(certificate) | {
        "rerun": dataclasses.asdict(rerun_radius(votes, spec, beta=claim.beta, eta=eta, eta_rerun=eta)),
        "all_claims": _all_claims(certificate, regions=bool(votes.regions)),
        "finding": {
            **finding,
            "decision": votes.decision,
            "label_agreement": votes.label_agreement,
        },
        "votes": {
            "counts_sha256": counts_sha256(votes),
            "copy_votes_sha256": copy_votes_sha256(votes),
            "image_sha256": votes.image_sha256,
            "input_shape": list(votes.input_shape),
            "tied_copies": votes.tied_copies,
            "constant_copies": votes.constant_copies,
        },
    }
    if votes.regions:
        record["regions"] = region_statements(votes, spec, eta=eta, l2=certificate.l_max)
    if claim.split is not None:
        record["split"] = claim.split.to_json()
    if spec.looks:
        record["sampling"] = _sampling(spec, claim)
    return record


def _of_origin(origin: Origin) -> dict[str, Any]:
    entries = dataclasses.asdict(origin)
    return {name: value for name, value in entries.items() if value or name not in ("ledger", "lungs")}


def _all_claims(certificate: Certificate, *, regions: bool) -> dict[str, Any]:
    """The chance that a claim of the record is false: one eta each for map, decision, second run, and regions.

    Where wrong bounds are allowed for, a curve of overlap against radius rests on other bounds than the certificate:
    it gets an eta here, so that both may stand side by side.
    """
    parts = 3 + regions + (certificate.allowed_wrong_bounds > 0)
    eta = min(1.0, sum_up(*[certificate.eta] * parts))
    curve = " and of a curve of overlap against radius" if certificate.allowed_wrong_bounds else ""
    sentence = f"All claims of this record{curve} hold together with probability >= 1 - {round_up(eta)}, per image."
    return {"eta": eta, "confidence": 1 - eta, "sentence": sentence}


def _selection(certificate: Certificate, earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What came before, and the notes with a sentence on it."""
    runs = "1 earlier run" if len(earlier) == 1 else f"{len(earlier)} earlier runs"
    sentence = (
        f"This run was selected: {runs} of the image with other settings did not certify it. The stated confidence is "
        "that of this run alone, as if it had been the only one."
    )
    return {
        "selection": [dict(run) for run in earlier],
        "notes": [*certificate.notes, *([sentence] if earlier else [])],
    }


def _sampling(spec: SmoothingSpec, claim: Claim) -> dict[str, Any]:
    """When sampling could stop, when it did, and what that saved."""
    most = spec.looks[-1]
    return {
        "until_radius": claim.until_radius,
        "until_covers": claim.until_covers,
        "looks": list(spec.looks),
        "n_samples": spec.n_samples,
        "max_samples": most,
        "stopped_early": spec.n_samples < most,
        "saved_share": 1 - spec.n_samples / most,
    }


def counts_sha256(votes: VoteMap) -> str:
    """SHA-256 of the counts as little-endian int64 in reading order."""
    return hashlib.sha256(np.ascontiguousarray(votes.counts, dtype="<i8").tobytes()).hexdigest()


def copy_votes_sha256(votes: VoteMap) -> str | None:
    """SHA-256 of the votes of each copy and of which find the target, as they are packed; None if not kept."""
    if votes.copy_votes is None or votes.copy_found is None:
        return None
    return hashlib.sha256(votes.copy_votes.tobytes() + votes.copy_found.tobytes()).hexdigest()
