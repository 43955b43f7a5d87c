"""The schedule of looks: sizes, levels, exact sums, refusals."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from monai_robustinterp.certificates.sequence import Look, look_schedule
from tests.support.cases import collected


def test_looks_double_and_end_at_the_maximum() -> None:
    assert [look.n_samples for look in look_schedule(0.01, 64, max_samples=512)] == [64, 128, 256, 512]
    assert [look.n_samples for look in look_schedule(0.01, 100, max_samples=1000)] == [100, 200, 400, 800, 1000]
    assert [look.n_samples for look in look_schedule(0.01, 1, max_samples=1)] == [1]


def test_the_parts_of_eta_are_equal_and_never_sum_to_more() -> None:
    with collected() as case:
        for eta, max_samples in itertools.product([0.001, 0.05, 1 / 3, 1e-12], [8, 17, 1000, 1_000_000]):
            with case(eta, max_samples):
                looks = look_schedule(eta, 8, max_samples=max_samples)
                total = sum(Fraction(look.eta) for look in looks)
                assert Fraction(eta) * (1 - Fraction(1, 10**14)) <= total <= Fraction(eta)
                assert len({look.eta for look in looks}) == 1


def test_one_look_is_the_certificate_without_stopping() -> None:
    assert look_schedule(0.001, 500, max_samples=500) == (Look(500, 0.001),)


@pytest.mark.parametrize(
    ("eta", "first", "last"), [(0.0, 8, 64), (1.0, 8, 64), (float("nan"), 8, 64), (0.1, 0, 64), (0.1, 65, 64)]
)
def test_wrong_arguments_are_refused(eta: float, first: int, last: int) -> None:
    with pytest.raises(ValueError, match="must"):
        look_schedule(eta, first, max_samples=last)
