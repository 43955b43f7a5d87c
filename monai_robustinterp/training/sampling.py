"""Which images a training epoch draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from torch.utils.data import WeightedRandomSampler

from monai_robustinterp.errors import InputRefused


def balanced_sampler(groups: Sequence[Hashable], n_samples: int) -> WeightedRandomSampler:
    """Draws with replacement; every group has the same share of the draws, every image of a group the same chance.

    Without it a classifier of several hospitals learns which hospital has more ill patients.

    Args:
        groups: group of each image, such as (source, label).
        n_samples: draws in an epoch.

    Raises:
        InputRefused: if there are fewer than two groups.
    """
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise InputRefused(
            f"the training images form {len(sizes)} group; a classifier needs images of two classes at least. Check "
            "the folders and the label tables."
        )
    return WeightedRandomSampler([1.0 / (len(sizes) * sizes[group]) for group in groups], n_samples, replacement=True)
