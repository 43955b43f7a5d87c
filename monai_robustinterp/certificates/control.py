"""The control that stands beside every radius: a map that ignores the image certifies best of all."""

from __future__ import annotations

import dataclasses

import numpy as np

from monai_robustinterp.certificates.certify import certify_votes
from monai_robustinterp.certificates.overlap import BetaLike
from monai_robustinterp.types import Certificate, SmoothingSpec, VoteMap


def fixed_map_certificate(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> Certificate:
    """Certificate of a fixed map under the same settings: every copy votes for the same k cells.

    It is the largest radius that these settings can give. A radius without faithfulness says nothing: read each radius
    against this one.

    Args:
        votes: any vote map of the run; its size and settings are read.
        spec: the smoothing.
        beta: certified share of the top-k.
        eta: failure probability per image.
    """
    counts = np.zeros(votes.counts.size, dtype=np.int64)
    counts[: spec.top_k] = spec.n_samples
    fixed = dataclasses.replace(votes, counts=counts.reshape(votes.counts.shape), tied_copies=0, constant_copies=0)
    return certify_votes(fixed, spec, beta=beta, eta=eta)
