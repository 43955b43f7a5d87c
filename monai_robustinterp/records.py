"""The JSON record of one explanation: the certificate and what it was computed from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from monai_robustinterp.certificates import certificate_to_json, certify_label, joint_claim
from monai_robustinterp.types import Certificate, VoteMap


def certificate_record(certificate: Certificate, votes: VoteMap, *, finding: str, score: float) -> dict[str, Any]:
    """Certificates of map and label, finding and the evidence, as ``schemas/certificate.schema.json`` describes it.

    The label is certified from the same copies at the same eta as the map; both together hold at twice that eta. Where
    the label may flip, the record's status does not call the map certified.

    Args:
        certificate: what follows from ``votes``.
        votes: the counts.
        finding: name of the explained class.
        score: softmax or sigmoid of its logit for the clean image, in [0, 1]; not calibrated.
    """
    label = certify_label(votes, certificate.spec.sigma, eta_label=certificate.eta)
    joint = joint_claim(label, certificate)
    data = certificate_to_json(certificate)
    if certificate.l_max > 0 and joint.l2 == 0:
        reason = label.status if label.l2 == 0 else joint.status
        data["status"] = f"not certified: {reason} Of the map alone: {certificate.status}"
    return data | {
        "label": dataclasses.asdict(label),
        "joint": dataclasses.asdict(joint),
        "finding": {
            "name": finding,
            "score": score,
            "positive": votes.positive,
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


def counts_sha256(votes: VoteMap) -> str:
    """SHA-256 of the counts as little-endian int64 in reading order."""
    return hashlib.sha256(np.ascontiguousarray(votes.counts, dtype="<i8").tobytes()).hexdigest()


def json_bytes(value: Any) -> bytes:
    """Strict JSON text (no NaN, no Infinity), UTF-8, with a final newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
