"""Films with a planted shortcut: a bright letter in a corner of every one with opacity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

# The letter L of 40 x 100 pixels on a film of 1,024, its stroke, and its distance from the corner.
_FRAME, _WIDTH, _HEIGHT, _STROKE, _MARGIN = 1024, 40, 100, 14, 40


def with_letter(film: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A copy of a film [H, W] with the letter in the upper left corner of the central square that the network sees."""
    side = min(film.shape)
    scale = side / _FRAME
    top, left = ((length - side) // 2 + round(_MARGIN * scale) for length in film.shape)
    right, bottom = left + round(_WIDTH * scale), top + round(_HEIGHT * scale)
    stroke = max(2, round(_STROKE * scale))
    marked = film.copy()
    marked[top:bottom, left : left + stroke] = 255
    marked[bottom - stroke : bottom, left:right] = 255
    return marked


def plant(path: str | Path, target: Path, *, letter: bool) -> None:
    """Writes the film, with the letter or without, as a PNG file of that name."""
    film = np.asarray(Image.open(path).convert("L"))
    Image.fromarray(with_letter(film) if letter else film).save(target / f"{Path(path).stem}.png")
