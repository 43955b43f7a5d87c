"""Areas of the audit's polygons, against the points of a fine grid that lie in them."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from monai_robustinterp.audit.polygons import Point, area, overlap, within

POINTS = (np.arange(800) + 0.5) / 400 - 1
X, Y = np.meshgrid(POINTS, POINTS)


def drawn(rng: np.random.Generator) -> list[Point]:
    """Five corners on a circle within [-1, 1]^2."""
    x, y = rng.uniform(-0.3, 0.3, 2)
    return [(x + 0.6 * np.cos(angle), y + 0.6 * np.sin(angle)) for angle in np.sort(rng.uniform(0, 2 * np.pi, 5))]


def points_in(polygon: list[Point]) -> npt.NDArray[np.bool_]:
    inside = np.ones(X.shape, dtype=bool)
    for (a, b), (c, d) in zip(polygon, polygon[1:] + polygon[:1]):
        inside &= (c - a) * (Y - b) >= (d - b) * (X - a)
    return inside


def test_areas_are_those_of_the_points_that_lie_in_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        three = [drawn(rng) for _ in range(3)]
        one, other, third = map(points_in, three)
        common = sum(map(np.mean, (one & other, one & third, other & third)))
        assert overlap(three) == pytest.approx(4 * common, abs=2e-3)
        assert area(three[0]) == pytest.approx(4 * one.mean(), abs=2e-3)
        in_box = one & (abs(X) <= 0.4) & (abs(Y) <= 0.4)
        assert area(within(three[0], 0.4)) == pytest.approx(4 * in_box.mean(), abs=2e-3)


def test_neighbors_do_not_lie_on_each_other() -> None:
    ends = np.linspace(-1, 1, 8)
    squares = [
        [(left, low), (right, low), (right, high), (left, high)]
        for left, right in itertools.pairwise(ends)
        for low, high in itertools.pairwise(ends)
    ]
    triangles = [half for square in squares for half in (square[:3], [square[0], *square[2:]])]
    assert overlap(squares) == pytest.approx(0, abs=1e-15)
    assert overlap(triangles) == pytest.approx(0, abs=1e-15)
    assert overlap([*triangles, squares[3]]) == pytest.approx(4 / 49)
