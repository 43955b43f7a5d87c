"""Counting in whole cells, exactly."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from monai_robustinterp.certificates.overlap import boundary, exact_beta, required_overlap, swap_count
from tests.support.cases import collected


def test_swap_count_is_exact_in_the_decimal_beta() -> None:
    cases = [
        (10, "0.9", 2),
        (10, 0.9, 2),
        (10, np.float64(0.9), 2),
        (38, "0.5", 20),
        (7, "0.5", 4),
        (5, 1, 1),
        (5, "0.01", 5),
    ]
    with collected() as case:
        for top_k, beta, expected in cases:
            with case(top_k, beta, expected):
                # (1 - 0.9) * 10 in floats is 0.9999999999999998: rounding it down or up gives 1 or 2 by accident.
                assert swap_count(top_k, beta, n_cells=1000) == expected


def test_fewer_swaps_keep_the_overlap_and_as_many_break_it() -> None:
    with collected() as case:
        for top_k, beta in itertools.product(range(1, 40), ["0.1", "0.25", "0.3", "0.5", "0.7", "0.9", "1"]):
            with case(top_k, beta):
                s = swap_count(top_k, beta, n_cells=200)
                assert top_k - (s - 1) >= Fraction(beta) * top_k
                assert top_k - s < Fraction(beta) * top_k
                assert required_overlap(top_k, beta) == top_k - s + 1


def test_a_beta_outside_its_range_is_refused() -> None:
    with collected() as case:
        for beta in [0, -0.1, 1.1, "x", "", float("nan"), float("inf"), None]:
            with case(beta), pytest.raises(ValueError, match="beta"):
                exact_beta(beta)


@pytest.mark.parametrize(("top_k", "beta"), [(0, "0.5"), (17, "0.5"), (2.5, "0.5"), (True, "0.5"), (12, "0.5")])
def test_a_trivial_or_impossible_claim_is_refused(top_k: int, beta: str) -> None:
    with pytest.raises(ValueError, match="top_k"):
        swap_count(top_k, beta, n_cells=16)


def test_the_boundary_is_the_s_weakest_inside_and_the_s_strongest_outside() -> None:
    q = np.array([[0.9, 0.1, 0.8], [0.7, 0.2, 0.3]])
    edge = boundary(q, top_k=3, beta="0.5")
    assert edge.inside.tolist() == [0.8, 0.7]
    assert edge.outside.tolist() == [0.3, 0.2]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ([0.5, 0.5, 0.5, 0.4], "sums to 1.9"),
        ([1.2, 0.4, 0.2, 0.2], r"not in \[0, 1\]"),
        ([np.nan, 1, 0.5, 0.5], r"not in \[0, 1\]"),
        ([50, 50, 60, 40], r"not in \[0, 1\]"),
    ],
)
def test_what_is_no_vote_map_is_refused(q: list[float], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        boundary(q, top_k=2, beta="1")
