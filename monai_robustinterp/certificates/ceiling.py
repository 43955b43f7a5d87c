"""The ceiling that stands beside every radius: a map that ignores the image certifies best of all."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from monai_robustinterp.certificates.certificate import largest_population
from monai_robustinterp.certificates.map_radii import map_radii
from monai_robustinterp.certificates.overlap import BetaLike
from monai_robustinterp.types import SmoothingSpec, VoteMap


def ceiling(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> float:
    """The population radius of a fixed map under the same settings, of as many copies: every copy votes for the same k.

    No vote map of as many copies has a larger one, so a radius without faithfulness says nothing: read each radius
    against this one.

    Args:
        votes: any vote map of the run; its size and settings are read.
        spec: the smoothing.
        beta: certified share of the top-k.
        eta: failure probability per image.
    """
    # A cohort asks for the same one at every image.
    return blind_radius(
        votes.counts.size, votes.pair_counts is not None, spec.sigma, spec.n_samples, spec.top_k, spec.looks, beta, eta
    )


@lru_cache(maxsize=64)
def blind_radius(
    n_cells: int,
    pairs: bool,
    sigma: float,
    n_samples: int,
    top_k: int,
    looks: tuple[int, ...],
    beta: BetaLike,
    eta: float,
) -> float:
    """The radius of a map that ignores the image, by what it depends on; see :func:`ceiling`."""
    spec = SmoothingSpec(
        sigma=sigma, n_samples=n_samples, top_k=top_k, cell_size=1, interpreter="fixed map", target=0, looks=looks
    )
    counts = np.zeros((1, n_cells), dtype=np.int64)
    counts[0, :top_k] = n_samples
    votes = VoteMap(
        counts=counts,
        n_samples=n_samples,
        top_k=top_k,
        input_shape=(1, n_cells),
        image_sha256="",
        logits=np.zeros(1, np.float32),
        decision=True,
        found_copies=n_samples,
        pair_counts=np.outer(counts, counts) // n_samples if pairs else None,
    )
    return largest_population(map_radii(votes, spec, beta=beta, eta=eta))
