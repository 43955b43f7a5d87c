"""Neyman-Pearson is never below sound Renyi for the same vote map (docs/theory/map.md, T3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from monai_robustinterp.certificates import neyman_pearson_radius, renyi_radius


@st.composite
def vote_maps(draw: st.DrawFn) -> tuple[np.ndarray, int, str]:
    """Shares of cells in a noisy top-k, of any sharpness, with their k and beta."""
    n_cells = draw(st.integers(6, 300))
    top_k = draw(st.integers(1, n_cells // 3))
    beta = draw(st.sampled_from(["0.1", "0.5", "0.8", "1"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.normal(size=n_cells) * draw(st.sampled_from([0.01, 0.3, 1.0, 3.0]))
    low, high = -50.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if ndtr(scores + middle).sum() < top_k else (low, middle)
    q = ndtr(scores + low)
    return q * (top_k / q.sum()), top_k, beta


@settings(max_examples=150, deadline=None)
@given(vote_maps())
def test_neyman_pearson_is_never_below_renyi(case: tuple[np.ndarray, int, str]) -> None:
    q, top_k, beta = case
    assume(q.max() <= 1)
    renyi = renyi_radius(q, top_k=top_k, beta=beta, sigma=0.5)
    assert neyman_pearson_radius(q, top_k=top_k, beta=beta, sigma=0.5) >= renyi * (1 - 1e-9)


@settings(max_examples=50, deadline=None)
@given(vote_maps())
def test_a_smaller_share_is_certified_at_least_as_far(case: tuple[np.ndarray, int, str]) -> None:
    q, top_k, _ = case
    assume(q.max() <= 1)
    for radius in (renyi_radius, neyman_pearson_radius):
        radii = [radius(q, top_k=top_k, beta=beta, sigma=1.0) for beta in ("1", "0.7", "0.4", "0.1")]
        assert radii == pytest.approx(sorted(radii), rel=1e-6)


def test_radii_scale_with_sigma_and_ignore_shape() -> None:
    q = np.array([0.95, 0.9, 0.5, 0.3, 0.25, 0.1])
    for radius in (renyi_radius, neyman_pearson_radius):
        small = radius(q, top_k=3, beta="0.5", sigma=0.1)
        assert radius(q.reshape(2, 3), top_k=3, beta="0.5", sigma=0.3) == pytest.approx(3 * small, rel=1e-12)
        assert small > 0
