"""Measures of maps and masks, against sets, scipy and masks whose effect is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import rankdata, spearmanr
from torch import nn

from monai_robustinterp.interpreters import make_interpreter
from monai_robustinterp.metrics.distortion import class_distortion
from monai_robustinterp.metrics.overlap import mean_pairwise_overlap, top_k_overlap, top_membership
from monai_robustinterp.metrics.ranks import class_ranks, spearman


def test_ranks_count_from_1_and_ties_go_to_the_lower_index() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 3.0]] * 4)
    assert class_ranks(logits, torch.arange(4)).tolist() == [4, 1, 3, 2]
    # So many that a sort which is not stable mixes them.
    many = torch.arange(4096)[None] % 7 == 0
    assert class_ranks(many.float(), torch.tensor([14])).tolist() == [3]


def test_the_overlap_is_that_of_sets() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.permutation(256)[None] * 1.0, rng.permutation(256)[None] * 1.0
    sets = [set(np.argsort(-values[0])[:26].tolist()) for values in (first, second)]
    assert top_k_overlap(first, second, 26) == pytest.approx([len(sets[0] & sets[1]) / 26])
    assert top_k_overlap(first, first, 26) == [1.0] and top_k_overlap(first, -first, 26) == [0.0]


def test_cells_that_tie_count_in_part() -> None:
    values = np.array([[5.0, 3.0, 3.0, 3.0, 1.0]])
    assert top_membership(values, 2).tolist() == [[1.0, 1 / 3, 1 / 3, 1 / 3, 0.0]]
    constant = np.zeros((1, 20))
    assert top_membership(constant, 2).tolist() == [[0.1] * 20]
    assert top_k_overlap(constant, constant, 2) == pytest.approx([1.0])


def test_spearman_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 9, (5, 64)).astype(float), rng.normal(size=(5, 64))
    expected = [spearmanr(a, b).statistic for a, b in zip(first, second)]
    assert spearman(first, second) == pytest.approx(expected)
    assert spearman(np.zeros((1, 64)), second[:1]) == [0.0]


def test_class_ranks_are_scipys_without_ties() -> None:
    logits = torch.rand(6, 9, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 8, 3, 3, 5, 1])
    expected = rankdata(-logits.numpy(), axis=1)[np.arange(6), classes.numpy()]
    assert class_ranks(logits, classes).tolist() == expected.tolist()


def test_bad_sizes_of_overlaps_are_refused() -> None:
    maps = np.zeros((2, 4))
    for wrong in (0, 5):
        with pytest.raises(ValueError, match="from 1 to that number"):
            top_membership(maps, wrong)
    with pytest.raises(ValueError, match="two maps of each image"):
        top_k_overlap(maps, np.zeros((2, 5)), 2)


def test_cells_in_common_are_those_of_pairs_of_images() -> None:
    sets = [frozenset(cells) for cells in ({0, 1}, {0, 2}, {2, 3})]
    # 1 of 2, 0 of 2, 1 of 2.
    assert mean_pairwise_overlap(sets) == pytest.approx(1 / 3) and math.isnan(mean_pairwise_overlap(sets[:1]))


class Halves(nn.Module):
    """The target sees the left half, one other class the right one, the third nothing."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        left, right = (half.mean(dim=(1, 2, 3)) for half in image.chunk(2, dim=-1))
        return torch.stack([4 * left, 2 * right, torch.zeros_like(left)], dim=1)


def masked(mask: torch.Tensor) -> SimpleNamespace:
    """A method whose mask (1 = kept) is known, and whose reference is black."""

    def optimize(network, inputs, target, *, snapshots):
        assert target == 0 and list(snapshots) == [3]
        with torch.no_grad():
            perturbed, reversed_ = network(mask * inputs), network((1 - mask) * inputs)
        return SimpleNamespace(snapshots=[SimpleNamespace(masks=mask, perturbed=perturbed, reversed=reversed_)])

    return SimpleNamespace(n_steps=3, optimize=optimize)


def test_class_distortion_of_a_known_mask() -> None:
    """The right half and half of the left one are taken away."""
    mask = torch.ones(1, 1, 8, 8)
    mask[..., 4:], mask[..., :2] = 0, 0
    found = class_distortion(Halves(), masked(mask), torch.ones(1, 8, 8), expit)
    assert (found.target, found.target_perturbed, found.target_reversed) == pytest.approx(expit([4, 2, 2]))
    assert found.fall == pytest.approx(expit(4) - expit(2)) and found.removed == 0.75
    assert found.others == pytest.approx((expit(2) + 0.5) / 2) == pytest.approx(found.others_reversed)
    assert found.others_change == pytest.approx((expit(2) - 0.5) / 2)


def test_one_class_has_no_others(tiny, image) -> None:
    tiny.head = nn.Linear(6, 1)
    interpreter = make_interpreter(
        "meaningful_perturbation", known={"activation": "sigmoid"}, settings={"iterations": 1}
    )
    found = class_distortion(tiny, interpreter, image, expit)
    assert math.isnan(found.others_change) and 0 <= found.removed <= 1
