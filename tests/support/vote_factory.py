"""Votes and specs of given counts, for tests that need no network."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from monai_robustinterp.types import SmoothingSpec, VoteMap


def vote_map(counts: npt.ArrayLike, *, n_samples: int, top_k: int, **changes: object) -> VoteMap:
    """Votes with these counts (a flat list is one row of cells); every copy finds the target, as the clean image."""
    array = np.asarray(counts, dtype=np.int64)
    array = array[None] if array.ndim == 1 else array
    settings = {
        "input_shape": array.shape,
        "image_sha256": "0" * 64,
        "logits": np.zeros(2, np.float32),
        "decision": True,
        "found_copies": n_samples,
    }
    return VoteMap(counts=array, n_samples=n_samples, top_k=top_k, **settings | changes)


def spec_of(votes: VoteMap, *, sigma: float = 1.0, **changes: object) -> SmoothingSpec:
    """A spec that fits the votes."""
    settings = {"cell_size": 1, "interpreter": "gradient", "target": 0}
    return SmoothingSpec(sigma=sigma, n_samples=votes.n_samples, top_k=votes.top_k, **settings | changes)


def fixed_map_votes(votes: VoteMap) -> VoteMap:
    """As many copies of a map that ignores the image: all of them vote for the first k cells."""
    counts = np.zeros(votes.counts.size, dtype=np.int64)
    counts[: votes.top_k] = votes.n_samples
    return dataclasses.replace(
        votes,
        counts=counts.reshape(votes.counts.shape),
        pair_counts=None if votes.pair_counts is None else np.outer(counts, counts) // votes.n_samples,
        regions=(),
        region_hits=None,
        tied_copies=0,
        constant_copies=0,
    )
