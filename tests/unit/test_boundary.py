"""The boundary of a mask: filled, it is the mask again."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from monai_robustinterp.visualize.boundary import boundary
from tests.support.cases import collected


def filled(polygons: list[npt.NDArray[np.float64]], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Pixels whose center lies inside: their row crosses an odd number of vertical edges to the left of it."""
    crossings = np.zeros(shape, dtype=np.int64)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in itertools.pairwise(polygon):
            assert (x0 == x1) != (y0 == y1), "an edge along the grid, of some length"
            if x0 == x1:
                crossings[int(min(y0, y1)) : int(max(y0, y1)), int(x0) :] += 1
    return crossings % 2 == 1


def test_the_filled_boundary_is_the_mask() -> None:
    rng = np.random.default_rng(0)
    ring = np.ones((5, 7), bool)
    ring[2, 2:5] = False
    masks = [rng.random((9, 13)) < density for density in (0.1, 0.5, 0.9) for _ in range(20)]
    with collected() as case:
        for mask in [*masks, ring, np.eye(6, dtype=bool), np.ones((3, 4), bool), np.zeros((3, 4), bool)]:
            with case(mask.astype(int).tolist()):
                polygons = boundary(mask)
                np.testing.assert_array_equal(filled(polygons, mask.shape), mask)
                assert all((polygon[0] == polygon[-1]).all() for polygon in polygons)


def test_only_corners_are_kept_and_pixels_that_touch_at_a_corner_are_two() -> None:
    (square,) = boundary(np.pad(np.ones((3, 4), bool), 2))
    assert sorted(map(tuple, square[:-1])) == [(2, 2), (2, 5), (6, 2), (6, 5)] and len(square) == 5
    assert [len(polygon) for polygon in boundary(np.eye(2, dtype=bool))] == [5, 5]
