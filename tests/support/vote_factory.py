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


def copy_bits(masks: npt.ArrayLike, *, found: int) -> dict[str, npt.NDArray[np.uint8]]:
    """The fields of a vote map that hold the votes of each copy, of masks [m, c]; the first copies find the target."""
    copies = np.asarray(masks)
    return {
        "copy_votes": np.packbits(copies != 0, axis=1),
        "copy_found": np.packbits(np.arange(len(copies)) < found),
    }


def fixed_map_votes(votes: VoteMap) -> VoteMap:
    """As many copies of a map that ignores the image: all of them vote for the first k cells."""
    counts = np.zeros(votes.counts.size, dtype=np.int64)
    counts[: votes.top_k] = votes.n_samples
    return dataclasses.replace(
        votes,
        counts=counts.reshape(votes.counts.shape),
        copy_votes=None,
        copy_found=None,
        pair_counts=None if votes.pair_counts is None else np.outer(counts, counts) // votes.n_samples,
        regions=(),
        region_hits=None,
        tied_copies=0,
        constant_copies=0,
    )


def make_votes(n_samples: int = 512, top_k: int = 38, side: int = 16, sharpness: float = 1.5) -> VoteMap:
    """Votes of noisy copies of random scores, for the target 1 of two logits."""
    rng = np.random.default_rng(5)
    scores = rng.normal(size=side * side) * sharpness
    noisy = scores + rng.normal(size=(n_samples, side * side))
    top = np.argpartition(-noisy, top_k, axis=1)[:, :top_k]
    return VoteMap(
        counts=np.bincount(top.ravel(), minlength=side * side).reshape(side, side).astype(np.int64),
        n_samples=n_samples,
        top_k=top_k,
        input_shape=(128, 128),
        image_sha256="0" * 64,
        logits=np.array([0.0, 1.0], np.float32),
        decision=True,
        found_copies=n_samples - 3,
    )


def make_spec(votes: VoteMap, **changes: object) -> SmoothingSpec:
    """A spec that fits ``make_votes``."""
    settings = {"sigma": 0.125, "n_samples": votes.n_samples, "top_k": votes.top_k, "cell_size": 8}
    return SmoothingSpec(**({"interpreter": "gradient", "target": 1} | settings | changes))
