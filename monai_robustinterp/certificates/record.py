"""The JSON record of one explanation: the certificate and what it was computed from."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from monai_robustinterp.certificates import certificate_to_json, label_and_map
from monai_robustinterp.certificates.label import label_beside
from monai_robustinterp.certificates.region import region_statements
from monai_robustinterp.certificates.rerun import rerun_radius
from monai_robustinterp.types import Certificate, SmoothingSpec, VoteMap


def certificate_record(
    certificate: Certificate, votes: VoteMap, *, finding: str, score: float, until_radius: float | None = None
) -> dict[str, Any]:
    """Certificates, finding and the evidence, as ``schemas/certificate.schema.json`` describes it.

    The label is certified from the same copies at the same eta as the map; both together hold at twice that eta. Where
    the label may flip, the record's status does not call the map certified. A second run may fail with the same eta
    once more, and all regions together have that eta for themselves.

    Args:
        certificate: what follows from ``votes``.
        votes: the counts.
        finding: name of the explained class.
        score: softmax or sigmoid of its logit for the clean image, in [0, 1]; not calibrated.
        until_radius: the radius at which sampling was to stop, if it had looks.
    """
    spec, eta = certificate.spec, certificate.eta
    label = label_beside(certificate, votes)
    joint = label_and_map(label, certificate)
    data = certificate_to_json(certificate)
    if certificate.l_max > 0 and joint.l2 == 0:
        reason = label.status if label.l2 == 0 else joint.status
        data["status"] = f"not certified: {reason} Of the map alone: {certificate.status}"
    record = data | {
        "label": dataclasses.asdict(label),
        "label_and_map": dataclasses.asdict(joint),
        "rerun": dataclasses.asdict(rerun_radius(votes, spec, beta=certificate.beta, eta=eta, eta_rerun=eta)),
        "finding": {
            "name": finding,
            "score": score,
            "decision": votes.decision,
            "label_agreement": votes.label_agreement,
        },
        "votes": {
            "counts_sha256": counts_sha256(votes),
            "image_sha256": votes.image_sha256,
            "input_shape": list(votes.input_shape),
            "tied_copies": votes.tied_copies,
            "constant_copies": votes.constant_copies,
        },
    }
    if votes.regions:
        record["regions"] = region_statements(votes, spec, eta=eta, l2=certificate.l_max)
    if spec.looks:
        record["sampling"] = _sampling(spec, until_radius)
    return record


def _sampling(spec: SmoothingSpec, until_radius: float | None) -> dict[str, Any]:
    """When sampling could stop, when it did, and what that saved."""
    most = spec.looks[-1]
    return {
        "until_radius": until_radius,
        "looks": list(spec.looks),
        "n_samples": spec.n_samples,
        "max_samples": most,
        "stopped_early": spec.n_samples < most,
        "saved_share": 1 - spec.n_samples / most,
    }


def counts_sha256(votes: VoteMap) -> str:
    """SHA-256 of the counts as little-endian int64 in reading order."""
    return hashlib.sha256(np.ascontiguousarray(votes.counts, dtype="<i8").tobytes()).hexdigest()
