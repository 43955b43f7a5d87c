"""Clopper-Pearson and the plain table: against mpmath, at the ends, and what they refuse."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.stats import beta

from monai_robustinterp.certificates.confidence import clopper_pearson_bounds, mass_weighted_bounds, plain_bounds
from tests.support.cases import collected


@pytest.mark.parametrize(("m", "level"), [(1, 0.3), (2, 0.9), (57, 0.05), (1000, 1e-7)])
def test_clopper_pearson_is_the_beta_quantile_and_never_inside_it(m: int, level: float) -> None:
    x = np.arange(m + 1)
    table = clopper_pearson_bounds(x, m, level=level)
    lower, upper = beta.ppf(level, x[1:], m - x[1:] + 1), beta.isf(level, x[:-1] + 1, m - x[:-1])
    assert table.lower[0] == 0 and table.upper[-1] == 1
    assert np.allclose(table.lower[1:], lower, rtol=1e-8) and np.allclose(table.upper[:-1], upper, rtol=1e-8)
    for count in sorted({1, m // 2 + 1, m}):
        with mpmath.workdps(30):
            wrong_lower = mpmath.betainc(count, m - count + 1, 0, mpmath.mpf(table.lower[count]), regularized=True)
            wrong_upper = mpmath.betainc(count, m - count + 1, mpmath.mpf(table.upper[count - 1]), 1, regularized=True)
        assert level * (1 - 1e-7) < wrong_lower <= level
        # Next to 1 the floats themselves are this coarse.
        assert level * (1 - 1e-5) < wrong_upper <= level


def test_the_plain_table_is_clopper_pearson_at_its_share_of_eta() -> None:
    counts = np.array([[0, 3], [64, 40]])
    plain = plain_bounds(counts, 64, n_cells=256, eta=0.01, wrong=2)
    same = clopper_pearson_bounds(counts, 64, level=0.01 * 3 / 512)
    assert plain.lower.shape == (2, 2)
    assert np.array_equal(plain.lower, same.lower) and np.array_equal(plain.upper, same.upper)


def test_the_mass_weighted_table_is_tighter_where_the_certificate_reads_it() -> None:
    """The lower bound of a cell inside, the upper one of a cell outside; it pays with the others' sides."""
    plain = plain_bounds([300, 100], 512, n_cells=256, eta=0.001)
    weighted = mass_weighted_bounds([300, 100], 512, top_k=38, eta=0.001)
    assert weighted.lower[0] > plain.lower[0] and weighted.upper[1] < plain.upper[1]
    assert weighted.lower[1] < plain.lower[1]


def test_a_million_copies_and_the_extreme_counts() -> None:
    m = 1_000_000
    table = plain_bounds([0, 1, m - 1, m], m, n_cells=50_176, eta=0.001)
    level = 0.001 / (2 * 50_176)
    assert table.lower[0] == 0 and table.upper[3] == 1
    assert table.upper[0] == pytest.approx(-np.expm1(np.log(level) / m), rel=1e-8)
    assert table.lower[3] == pytest.approx(level ** (1 / m), rel=1e-12)
    assert (np.diff(table.lower) > 0).all() and (np.diff(table.upper) > 0).all()


def test_wrong_arguments_are_refused() -> None:
    cases = [
        (0, 0, 3, 0.1, 0),
        (0, 10, 0, 0.1, 0),
        (0, 10, 3, 0.0, 0),
        (0, 10, 3, 1.0, 0),
        (0, 10, 3, 0.1, -1),
        (11, 10, 3, 0.1, 0),
        (-1, 10, 3, 0.1, 0),
        (1, 10, 1, 0.9, 5),
    ]
    with collected() as case:
        for count, m, n_cells, eta, wrong in cases:
            with case(count, m, n_cells, eta, wrong), pytest.raises(ValueError, match="must"):
                plain_bounds([count], m, n_cells=n_cells, eta=eta, wrong=wrong)


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="must"):
        clopper_pearson_bounds([1], 2, level=level)
