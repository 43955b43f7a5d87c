"""Maps that do not look at the film: what a map of a network must be better than."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from monai_robustinterp.errors import InputRefused

Map = npt.NDArray[np.float64]


def blind_map(name: str, shape: tuple[int, int], *, digest: str, lungs: npt.NDArray[np.bool_] | None) -> Map:
    """A pattern on the cells of a map.

    Args:
        name: ``center``, a hill in the middle; ``fixed``, one random order of cells that is the same on every film;
            ``random``, one of the film's own; ``lungs``, the lung fields, their cells in the fixed order.
        shape: of the map.
        digest: hexadecimal hash of the film, which seeds ``random``.
        lungs: bool [H, W], whose sides the map's sides divide.

    Raises:
        InputRefused: if ``lungs`` is wanted and there are none.
    """
    if name == "lungs" and lungs is None:
        raise InputRefused("no lung fields were found on this film, so there is no blind map of them.")
    makers: dict[str, Callable[[], Map]] = {
        "center": lambda: _center(shape),
        "fixed": lambda: np.random.default_rng(0).random(shape),
        "random": lambda: np.random.default_rng(int(digest[:16], 16)).random(shape),
        "lungs": lambda: np.round(_on_cells(lungs, shape)) + 0.5 * np.random.default_rng(0).random(shape),
    }
    return makers[name]()


def _center(shape: tuple[int, int]) -> Map:
    rows, columns = (np.linspace(-1, 1, side) for side in shape)
    hill: Map = np.exp(-2 * (rows[:, None] ** 2 + columns**2))
    return hill


def _on_cells(lungs: npt.NDArray[np.bool_] | None, shape: tuple[int, int]) -> Map:
    assert lungs is not None
    (height, width), (rows, columns) = shape, lungs.shape
    share: Map = lungs.reshape(height, rows // height, width, columns // width).mean(axis=(1, 3))
    return share
