"""Results of given votes, for tests that need no image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from monai_robustinterp.certificates import CertifiedResult, Claim, Origin, certified_result
from monai_robustinterp.certificates.native import UNKNOWN_SCALE, NativeScale, native_record
from monai_robustinterp.files import json_bytes
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.types import SmoothingSpec, VoteMap

PROVENANCE = {"software": "x", "weights_sha256": "1" * 64, "config_sha256": "2" * 64, "network_sha256": "5" * 64}


def result_of(
    votes: VoteMap,
    spec: SmoothingSpec,
    *,
    beta: str = "0.5",
    eta: float = 0.001,
    finding: str = "x",
    score: float = 0.5,
    until_radius: float | None = None,
    scale: NativeScale = UNKNOWN_SCALE,
    source: Mapping[str, Any] | None = None,
) -> CertifiedResult:
    """The result as the package assembles it."""
    return certified_result(
        votes,
        spec,
        Claim(beta=beta, eta=eta, until_radius=until_radius),
        finding=finding,
        score=score,
        origin=lambda certificate: Origin(
            source=source or source_record({}, votes.input_shape),
            native=native_record(certificate.l_max, scale, certificate.n_pixels),
            provenance=PROVENANCE,
        ),
    )


def written(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it is read back from its file."""
    return json.loads(json_bytes(record))
