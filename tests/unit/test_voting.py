"""Exactly k votes a copy, the tie rule, and maps that carry no information."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.smoothing.voting import pool_cells, top_k_votes
from tests.support.cases import collected


def random_order(samples: torch.Tensor, size: int) -> torch.Tensor:
    return CounterNoise(seed=0, image_hash="", protocol="test").order(samples, size)


def vote(values: torch.Tensor, top_k: int):
    return top_k_votes(values, top_k, lambda rows: random_order(rows, values.shape[1]))


def test_every_row_has_exactly_k_ones_on_its_largest_values() -> None:
    with collected() as case:
        for top_k, levels in itertools.product([1, 5, 19, 20], [2, 5, 1000]):
            with case(top_k, levels):
                values = torch.randint(levels, (300, 20), generator=torch.Generator().manual_seed(levels)).float()
                votes = vote(values, top_k)
                assert (votes.mask.sum(dim=1) == top_k).all()
                for row, mask in zip(values, votes.mask):
                    if top_k < 20:
                        assert row[mask].min() >= row[~mask].max()
                expected_tied = (values.sort(descending=True).values[:, top_k - 1 : top_k + 1].diff() == 0).any(dim=1)
                assert torch.equal(votes.tied, expected_tied if top_k < 20 else torch.zeros(300, dtype=torch.bool))


def test_without_ties_it_is_torch_topk() -> None:
    values = torch.rand(50, 64, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros_like(values, dtype=torch.bool).scatter_(1, values.topk(7).indices, True)
    assert torch.equal(vote(values, 7).mask, expected)


def test_a_constant_map_votes_for_random_cells_not_for_the_first() -> None:
    """A fixed order would let a dead map certify best of all."""
    votes = vote(torch.zeros(4000, 16), 4)
    assert votes.constant.all() and votes.tied.all()
    assert stats.chisquare(votes.mask.sum(dim=0).numpy()).pvalue > 0.001


def test_ties_are_broken_among_the_tied_cells_only() -> None:
    values = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.0]]).repeat(3000, 1)
    counts = vote(values, 2).mask.sum(dim=0)
    assert counts[0] == 3000 and counts[4] == 0
    assert stats.chisquare(counts[1:4].numpy()).pvalue > 0.001


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_non_finite_map_is_told_apart(bad: float) -> None:
    values = torch.rand(4, 9)
    values[2, 5] = bad
    assert vote(values, 3).finite.tolist() == [True, True, False, True]


@pytest.mark.parametrize("top_k", [0, 10, -1])
def test_k_outside_the_map_is_refused(top_k: int) -> None:
    with pytest.raises(ValueError, match="top_k"):
        vote(torch.rand(2, 9), top_k)


def test_cells_hold_the_sum_of_their_pixels_with_its_sign() -> None:
    maps = torch.randn(3, 1, 12, 8, generator=torch.Generator().manual_seed(0))
    cells = pool_cells(maps, 4)
    array = maps[:, 0].numpy()
    for i in range(3):
        for j in range(2):
            expected = array[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].sum(axis=(1, 2))
            assert cells[:, i, j].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    torch.testing.assert_close(pool_cells(maps, 1), maps[:, 0], rtol=0, atol=0)


def test_cells_that_do_not_tile_the_map_are_refused() -> None:
    with pytest.raises(ValueError, match="cell_size is 5"):
        pool_cells(torch.rand(1, 1, 12, 10), 5)
