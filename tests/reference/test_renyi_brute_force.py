"""The sound form against constrained minimization over every pair of swapped sets, which knows nothing of tau."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest

from monai_robustinterp.certificates import renyi_epsilon, renyi_radius
from tests.support.cases import collected
from tests.support.swaps import brute_force, vote_shares

CASES = [
    (kind, n_cells, top_k, s)
    for kind in ("random", "near ties", "zeros")
    for n_cells in (5, 7, 8)
    for top_k in range(1, n_cells - 2)
    for s in range(1, min(top_k, n_cells - top_k) + 1)
]


def test_sound_epsilon_equals_the_constrained_minimum() -> None:
    with collected() as case:
        for kind, n_cells, top_k, s in CASES:
            with case(kind, n_cells, top_k, s):
                q = vote_shares(kind, n_cells, top_k, seed=17 * n_cells + top_k)
                beta = f"{(top_k - s + 1)}/{top_k}"
                for alpha in (1.2, 2.0, 6.0):
                    expected = brute_force(q, top_k, s, alpha)
                    found = renyi_epsilon(q, top_k=top_k, beta=beta, alpha=alpha)
                    assert found == pytest.approx(expected, rel=2e-5, abs=3e-9)


def test_one_swapped_pair_has_one_closed_form() -> None:
    q = vote_shares("random", 8, 3, seed=1)
    for alpha in (1.01, 2.0, 30.0):
        sound = renyi_epsilon(q, top_k=3, beta="1", alpha=alpha)
        assert sound == pytest.approx(renyi_epsilon(q, top_k=3, beta="1", alpha=alpha, form="closed"), rel=1e-12)


def test_the_closed_form_overstates_once_two_cells_are_swapped() -> None:
    """docs/theory/map.md, warning 2: it ties cells that already lie on the right side."""
    overstated = []
    for seed in range(50):
        q = vote_shares("random", 8, 4, seed=seed)
        closed = renyi_epsilon(q, top_k=4, beta="0.5", alpha=2.0, form="closed")
        sound = renyi_epsilon(q, top_k=4, beta="0.5", alpha=2.0)
        assert closed >= sound - 1e-12
        overstated.append(closed / sound)
    assert max(overstated) > 1.02


def test_a_uniform_map_gets_no_radius() -> None:
    """docs/theory/map.md, warning 1: the formula as printed in the patent gives one."""
    q = np.full((8, 8), 16 / 64)
    assert renyi_radius(q, top_k=16, beta="0.5", sigma=1.0) == 0
    assert renyi_radius(q, top_k=16, beta="0.5", sigma=1.0, form="closed") == pytest.approx(0, abs=1e-7)


def test_epsilon_near_a_tie_is_no_round_off() -> None:
    gap = 1e-7
    q = np.array([0.9, 0.5 + gap, 0.5 - gap, 0.1])
    with mpmath.workdps(60):
        a, b = (mpmath.mpf(float(v)) / 2 for v in (0.5 + gap, 0.5 - gap))
        mean = ((a**-2 + b**-2) / 2) ** mpmath.mpf(-0.5)
        exact = float(-mpmath.log(1 + 2 * mean - a - b))
    # Round-off is taken off, never added: at this gap it is a tenth of the number.
    assert 0.5 * exact < renyi_epsilon(q, top_k=2, beta="1", alpha=3.0) <= exact


def test_epsilon_is_never_above_the_exact_one() -> None:
    with collected() as case:
        for gap, alpha in itertools.product([1e-9, 1e-8, 1e-6, 1e-4, 1e-2], [1.001, 3.0, 50.0]):
            with case(gap, alpha):
                q = np.array([0.9, 0.5 + gap, 0.5 - gap, 0.1])
                with mpmath.workdps(60):
                    a, b = (mpmath.mpf(float(v)) / 2 for v in (0.5 + gap, 0.5 - gap))
                    order = mpmath.mpf(1) - mpmath.mpf(alpha)
                    mean = ((a**order + b**order) / 2) ** (1 / order)
                    exact = float(-mpmath.log(1 + 2 * mean - a - b))
                found = renyi_epsilon(q, top_k=2, beta="1", alpha=alpha)
                assert exact - 1e-14 <= found <= exact


def test_zeros_are_decided_exactly() -> None:
    q = np.array([1.0, 0.75, 0.25, 0.0, 0.0, 0.0])
    # s = 1 swaps 0.75 with 0.25; s = 2 must empty both inside cells, because some of the outside cells cannot rise.
    assert renyi_epsilon(q, top_k=2, beta="0.5", alpha=2.0) == pytest.approx(-np.log1p(-0.875))
    assert renyi_epsilon([1, 1, 0, 0], top_k=2, beta="1", alpha=2.0) == pytest.approx(np.log(2))
    assert renyi_epsilon([1, 1, 0, 0], top_k=2, beta="0.5", alpha=2.0) == np.inf


def test_the_radius_is_the_supremum_over_orders() -> None:
    q = vote_shares("random", 8, 3, seed=5)
    orders = 1 + np.logspace(-6, 6, 4001)
    best = max(np.sqrt(2 * renyi_epsilon(q, top_k=3, beta="0.5", alpha=a) / a) for a in orders)
    assert renyi_radius(q, top_k=3, beta="0.5", sigma=0.25) == pytest.approx(0.25 * best, rel=1e-5)


@pytest.mark.parametrize(("argument", "value"), [("alpha", 1.0), ("alpha", float("nan")), ("form", "printed")])
def test_wrong_arguments_are_refused(argument: str, value: object) -> None:
    arguments = {"top_k": 2, "beta": "0.5", "alpha": 2.0, argument: value}
    with pytest.raises(ValueError, match=argument if argument == "form" else "order"):
        renyi_epsilon([0.9, 0.6, 0.3, 0.2], **arguments)
