"""The canvas: the film beside the outlined one, lines that leave the middle of cells alone, words that can be read."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from monai_robustinterp.visualize.canvas import (
    BACKGROUND,
    CAUTION_COLOR,
    LARGEST_SIDE,
    LEAST_WIDTH,
    SMALLEST_SIDE,
    TEXT_COLOR,
    film_shape,
    render_canvas,
)
from monai_robustinterp.visualize.color_map import colors_of
from monai_robustinterp.visualize.contour import CASING_COLOR, Line, distance_to_edge, draw_line
from monai_robustinterp.visualize.outlined import GRAY_LINE_COLOR, LUNGS_LINE_COLOR, cell_sides, outlined
from monai_robustinterp.visualize.physician import Captions, Kind

CAPTIONS = Captions(
    kind=Kind.POSITIVE,
    stable=True,
    paragraphs=(("RESEARCH, NOT FOR DIAGNOSIS.", "W" * 70), ("one",), ("two", "lines"), ("end",)),
    code="0123abcd",
)
CELLS = (8, 8)

Layers = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def scene(rows: int = 1024, columns: int = 1024, *, seed: int = 0) -> tuple[Layers, npt.NDArray[np.bool_]]:
    """A film, shares and mask of 8 x 8 cells over the whole of it, and the cells that are reported."""
    rng = np.random.default_rng(seed)
    cells = rng.random(CELLS) < 0.3
    of_row, of_column = np.arange(rows) * CELLS[0] // rows, np.arange(columns) * CELLS[1] // columns
    shares = rng.random(CELLS).astype(np.float32)[of_row][:, of_column]
    gray = rng.random((rows, columns)).astype(np.float32)
    return (gray, shares, cells[of_row][:, of_column]), cells


def canvas_of(layers: Layers, said: Captions = CAPTIONS, **options: object) -> npt.NDArray[np.uint8]:
    return render_canvas(*layers, said, **({"top_k": 20} | options))


def test_films_are_enlarged_or_reduced_to_square_pixels() -> None:
    shapes = [film_shape(*shape) for shape in ((256, 256, 1), (1024, 800, 1), (1300, 1500, 1), (4000, 3000, 1))]
    assert shapes == [(1024, 1024), (1024, 800), (1300, 1500), (LARGEST_SIDE, 1152)]
    # Pixels twice as high as wide: the film is as high as it is in mm.
    assert film_shape(500, 1000, 2) == (SMALLEST_SIDE, SMALLEST_SIDE)
    assert film_shape(4000, 4000, 0.5) == (LARGEST_SIDE // 2, LARGEST_SIDE)


def test_the_film_stands_on_the_left_as_it_is_and_on_the_right_under_lines() -> None:
    layers, _ = scene()
    canvas = canvas_of(layers)
    film = np.rint(layers[0] * 255).astype(np.uint8)
    assert canvas.shape[1] == 2 * 1024 + 16 and max(canvas.shape) >= 1024
    np.testing.assert_array_equal(canvas[:1024, :1024], np.repeat(film[..., None], 3, axis=-1))
    changed = (canvas[:1024, -1024:] != film[..., None]).any(axis=-1)
    assert 0.01 < changed.mean() < 0.25
    narrow, _ = scene(1200, 300)
    assert canvas_of(narrow).shape[1] == LEAST_WIDTH


@pytest.mark.parametrize("shape", [(1024, 1024), (1024, 512), (250, 301)])
def test_a_contour_runs_on_the_edges_of_cells_and_never_through_the_middle_of_one(shape) -> None:
    for seed in range(5):
        (_, _, mask), cells = scene(*shape, seed=seed)
        distance = distance_to_edge(mask, cell_sides(mask, int(cells.sum())))
        rows, columns = ((np.arange(8) + 0.5) * side / 8 for side in shape)
        middle = distance[np.ix_(rows.astype(int), columns.astype(int))]
        assert ((middle > 0) == cells).all()
        assert np.abs(middle).min() > min(shape) / 8 / 2
        # Halfway along a side between a reported cell and another one the edge is that side.
        for row, column in zip(*np.nonzero(cells[:, 1:] != cells[:, :-1])):
            at = round((column + 1) * shape[1] / 8)
            straight = (cells[max(row - 1, 0) : row + 2, column : column + 2] == cells[row, column : column + 2]).all()
            if straight:
                assert abs(distance[int(rows[row]), at - 1 : at + 1]).max() < 1.6


def test_corners_are_rounded_and_the_border_closes_a_region() -> None:
    mask = np.zeros((300, 300), bool)
    mask[100:200, 100:200] = True
    distance = distance_to_edge(mask, (100, 100))
    assert distance[102, 102] < 0 < distance[102, 150] and distance[120, 120] > 0
    mask = np.ones((300, 300), bool)
    assert abs(distance_to_edge(mask, (100, 100))[150, 0]) <= 1 < distance_to_edge(mask, (100, 100))[150, 150]


def test_a_line_has_the_color_of_the_share_beside_it() -> None:
    gray, mask = np.full((300, 300), 0.5, np.float32), np.zeros((300, 300), bool)
    mask[100:200, 100:200] = True
    for share in (0.3, 1.0):
        picture = outlined(gray, np.where(mask, np.float32(share), 0.9), mask, top_k=1, stable=True)
        row = picture[150].astype(int)
        expected = colors_of(np.array([share], np.float32))[0].astype(int)
        assert min(np.abs(row - expected).max(axis=-1)) <= 3
        # Nothing lies over the middle of the cell.
        assert (picture[120:180, 120:180] == 128).all()


def test_dashes_leave_gaps() -> None:
    mask = np.zeros((200, 200), bool)
    mask[50:150, 50:150] = True
    distance = distance_to_edge(mask, (100, 100))
    drawn = []
    for dash in (0, 10):
        picture = np.full((200, 200, 3), 128, np.uint8)
        draw_line(picture, distance, Line(color=GRAY_LINE_COLOR, width=2, dash=dash))
        drawn.append((picture != 128).any(axis=-1).sum())
    assert 0.4 < drawn[1] / drawn[0] < 0.6


def test_a_canvas_of_an_abstention_has_no_color_and_others_have() -> None:
    layers, _ = scene(256, 256)
    lungs = np.zeros((256, 256), bool)
    lungs[40:200, 30:100] = True
    for kind in Kind:
        gray = canvas_of(
            layers, dataclasses.replace(CAPTIONS, kind=kind, stable=False, remarks=("CHECK",)), lungs=lungs
        )
        assert (gray == gray[..., :1]).all()
    colored = canvas_of(layers, lungs=lungs)
    assert (colored != colored[..., :1]).any() and (colored == LUNGS_LINE_COLOR).all(axis=-1).any()
    assert not (canvas_of(layers) == LUNGS_LINE_COLOR).all(axis=-1).any()
    alarm = canvas_of(layers, dataclasses.replace(CAPTIONS, kind=Kind.ALARM))
    assert (alarm == CAUTION_COLOR).all(axis=-1).any() and not (colored == CAUTION_COLOR).all(axis=-1).any()


@pytest.mark.parametrize("shape", [(256, 256), (1024, 820), (1200, 300)])
def test_every_line_fits_and_can_be_read_at_a_quarter_of_the_size(shape) -> None:
    layers, _ = scene(*shape)
    height = film_shape(*shape, 1)[0]
    words = canvas_of(layers)[height:].max(axis=-1) > 127
    assert not words[:, :10].any() and not words[:, -10:].any() and not words[-4:].any()
    short = dataclasses.replace(CAPTIONS, paragraphs=(("Hxg",),))
    without = dataclasses.replace(CAPTIONS, paragraphs=((" ",),))
    drawn = (canvas_of(layers, short) != canvas_of(layers, without)).any(axis=(1, 2))
    rows = np.flatnonzero(drawn)
    assert (rows.max() - rows.min() + 1) / 4 >= 8, "from the top of H to the bottom of g, in pixels"


def test_values_that_cannot_be_drawn_are_refused() -> None:
    (gray, share, mask), _ = scene(256, 256)
    with pytest.raises(ValueError, match="NaN or outside"):
        canvas_of((gray + 1, share, mask))
    with pytest.raises(ValueError, match="one shape"):
        canvas_of((gray, share[1:], mask))


def test_every_remark_has_a_row_of_its_own() -> None:
    layers, _ = scene(256, 256)
    heights = [canvas_of(layers, dataclasses.replace(CAPTIONS, remarks=("x",) * n)).shape[0] for n in range(3)]
    assert heights[2] - heights[1] == heights[1] - heights[0] > 20


# ---- contrast, and readers who see other colors


def linear(rgb: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(rgb, np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(rgb: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Relative luminance of WCAG 2.2."""
    return np.asarray(linear(rgb) @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(one: npt.ArrayLike, other: npt.ArrayLike) -> npt.NDArray[np.float64]:
    first, second = luminance(one), luminance(other)
    return (np.maximum(first, second) + 0.05) / (np.minimum(first, second) + 0.05)


SHARES = np.linspace(0, 1, 256, dtype=np.float32)


def test_words_and_lines_have_a_contrast_of_4_5_to_1() -> None:
    assert contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21) and contrast((119,) * 3, (255,) * 3) < 4.5
    for color in (TEXT_COLOR, CAUTION_COLOR):
        assert contrast(color, BACKGROUND) >= 4.5
    # A line stands between two rims of this color, whatever the film is like there.
    for colors in (colors_of(SHARES), LUNGS_LINE_COLOR, GRAY_LINE_COLOR):
        assert contrast(colors, CASING_COLOR).min() >= 4.5
    layers, _ = scene(256, 256)
    words = canvas_of(layers)[1024 + 150 :].reshape(-1, 3)
    assert contrast(words.max(axis=0), words.min(axis=0)) >= 4.5


# Machado, Oliveira, Fernandes 2009, severity 1: protanopia and deuteranopia, on linear RGB.
OTHER_READERS = (
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
)


def test_readers_without_red_or_green_tell_shares_apart_and_squares_from_lungs() -> None:
    for matrix in (np.eye(3), *map(np.array, OTHER_READERS)):
        seen = np.clip(linear(colors_of(SHARES)) @ matrix.T, 0, 1)
        lightness = seen @ np.array([0.2126, 0.7152, 0.0722])
        assert (np.diff(lightness[::8]) > 0).all(), "a higher share is always lighter"
        lungs = np.clip(linear(LUNGS_LINE_COLOR) @ matrix.T, 0, 1)
        assert np.abs(seen - lungs).max(axis=-1).min() > 0.3
