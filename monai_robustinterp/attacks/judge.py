"""The verdict on a perturbation, from fresh draws of the noise."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monai_robustinterp.certificates.confidence import mass_weighted_bounds
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.types import VoteMap


@dataclass(frozen=True)
class Verdict:
    """What fresh copies say about a set.

    Attributes:
        overlap: cells that the observed top-k shares with the set; it may lie below the certified number by sampling
            error alone.
        broken: whether the expected vote map breaks the claim, at the stated confidence.
    """

    overlap: int
    broken: bool


def fresh_votes(
    recipe: Recipe,
    network: nn.Module,
    image: torch.Tensor,
    *,
    target: int,
    seed: int,
    n_samples: int,
) -> VoteMap:
    """Votes by the same recipe on another image, with another seed and number of copies and the class held fixed.

    Args:
        recipe: how the certificate's votes were taken.
        network: returns logits [B, classes].
        image: float [1, H, W].
        target: index of the explained logit, of the certificate.
        seed: of the fresh noise.
        n_samples: fresh copies m'.
    """
    other = dataclasses.replace(
        recipe, target=target, seed=seed, n_samples=n_samples, looks=(), pairs=False, any_input=True
    )
    ((votes, _),) = other.vote([image], network)
    return votes


def judge(votes: VoteMap, reported: npt.NDArray[np.bool_], *, swaps: int, gamma: float) -> Verdict:
    """Whether the expected vote map behind ``votes`` swaps s cells of the reported set.

    The claim is about the expected map, and the votes are a sample of it. All bounds on it hold at once with
    probability >= 1 - gamma (docs/theory/bounds.md, T6 with r = 0). "Broken" takes s cells inside and s outside,
    the lower bounds of these at or above the upper bounds of those: then its top-k shares at most k - s cells with the
    set. A claim that holds is called broken with probability <= gamma; one that fails may well go unnoticed.

    Args:
        votes: of fresh copies, independent of how the perturbation was found.
        reported: bool [h, w], the set that is claimed.
        swaps: s.
        gamma: probability of a wrong "broken", in (0, 1).
    """
    bounds = mass_weighted_bounds(votes.counts, votes.n_samples, top_k=votes.top_k, eta=gamma, wrong=0)
    inside = np.sort(bounds.upper[reported])[swaps - 1]
    outside = np.sort(bounds.lower[~reported])[-swaps]
    return Verdict(overlap=int((votes.top_k_mask & reported).sum()), broken=bool(outside >= inside))
