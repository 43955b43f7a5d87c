"""The control that stands beside every radius: a map that ignores the image certifies best of all."""

from __future__ import annotations

import dataclasses

import numpy as np

from monai_robustinterp.certificates.certify import certify_votes
from monai_robustinterp.certificates.overlap import BetaLike
from monai_robustinterp.types import Certificate, SmoothingSpec, VoteMap


def fixed_map_certificate(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> Certificate:
    """Certificate of a fixed map under the same settings: every copy votes for the same k cells.

    It is the largest radius that these settings can give; where sampling could stop early, after the last look. A
    radius without faithfulness says nothing: read each radius against this one.

    Args:
        votes: any vote map of the run; its size and settings are read.
        spec: the smoothing.
        beta: certified share of the top-k.
        eta: failure probability per image.
    """
    return certify_votes(*fixed_map_votes(votes, spec), beta=beta, eta=eta)


def fixed_map_votes(votes: VoteMap, spec: SmoothingSpec) -> tuple[VoteMap, SmoothingSpec]:
    """The votes of a fixed map and how they would be made: see :func:`fixed_map_certificate`."""
    most = dataclasses.replace(spec, n_samples=spec.looks[-1] if spec.looks else spec.n_samples)
    counts = np.zeros(votes.counts.size, dtype=np.int64)
    counts[: spec.top_k] = most.n_samples
    fixed = dataclasses.replace(
        votes,
        counts=counts.reshape(votes.counts.shape),
        n_samples=most.n_samples,
        pair_counts=None if votes.pair_counts is None else np.outer(counts, counts) // most.n_samples,
        regions=(),
        region_hits=None,
        tied_copies=0,
        constant_copies=0,
    )
    return fixed, most
