"""Pictures on the source grid show the votes where they are, leave the rest alone, and explain themselves below."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from monai_robustinterp.visualize.color_map import MAX_ALPHA, colors_of, paint
from monai_robustinterp.visualize.legend import render_strip
from monai_robustinterp.visualize.overlay import CONTOUR_COLOR, contour_width, outline, render_overlay, render_picture
from tests.support.dicom_factory import CORNERS, chest_like, marker_corner

ROWS, COLS = 200, 169
LINES = ("Pneumonia: probability 0.87", "At least 21 of 26 cells stay for every change of l2 norm below 0.42.")
WIDTHS = (169, 440, 1024, 4000)

Scene = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]


@pytest.fixture
def scene() -> Scene:
    """Gray, shares in a block off the middle, and a mask of the block's upper half."""
    gray = np.random.default_rng(0).random((ROWS, COLS))
    share = np.zeros((ROWS, COLS))
    share[40:100, 20:60] = 0.7
    share[100:140, 20:60] = 0.2
    mask = np.zeros((ROWS, COLS), dtype=bool)
    mask[40:100, 20:60] = True
    return gray, share, mask


def luminance(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return np.asarray(rgb @ np.array([0.2126, 0.7152, 0.0722]))


def overlay_of(scene: Scene, **options: bool) -> npt.NDArray[np.uint8]:
    return render_overlay(*scene, LINES, top_k=6, **options)


def test_painted_pixels_without_votes_are_exactly_gray(scene: Scene) -> None:
    gray, share, _ = scene
    picture = render_picture(*scene)
    expected = np.floor(gray * 255 + 0.5).astype(np.uint8)
    assert (picture[share == 0] == expected[share == 0][:, None]).all()
    changed = (picture != expected[..., None]).any(axis=-1)
    assert changed[share > 0].mean() > 0.99


def test_an_overlay_leaves_all_pixels_but_those_of_its_lines_exactly_gray(scene: Scene) -> None:
    gray, _, mask = scene
    picture = overlay_of(scene)[:ROWS]
    changed = (picture != np.floor(gray * 255 + 0.5).astype(np.uint8)[..., None]).any(axis=-1)
    assert changed.any()
    near_the_edge = outline(mask, 8) | outline(~mask, 4)  # 20 pixels a cell, whose corners are rounded
    assert not changed[~near_the_edge].any()


def test_image_keeps_its_rows_and_columns_and_the_strip_lies_below(scene: Scene) -> None:
    overlay = overlay_of(scene)
    assert overlay.dtype == np.uint8
    assert overlay.shape[1:] == (COLS, 3)
    np.testing.assert_array_equal(overlay[ROWS:], render_strip(COLS, LINES))


@pytest.mark.parametrize("corner", CORNERS)
def test_marker_stays_in_its_corner(corner: str) -> None:
    gray = chest_like(ROWS, COLS, marker=corner) / 4095
    share = np.full(gray.shape, 0.1)
    mask = np.zeros(gray.shape, dtype=bool)
    overlay = render_overlay(gray, share, mask, LINES, top_k=6)
    assert marker_corner(luminance(overlay[:ROWS])) == corner
    assert marker_corner(luminance(render_picture(gray, share, mask))) == corner


def test_where_nothing_is_certified_there_is_no_color(scene: Scene) -> None:
    lungs = np.roll(scene[2], 60, axis=1)
    gray = render_overlay(*scene, LINES, top_k=6, stable=False, lungs=lungs)
    assert (gray == gray[..., :1]).all()
    colored = render_overlay(*scene, LINES, top_k=6, lungs=lungs)
    assert (colored != colored[..., :1]).any()


@pytest.mark.parametrize("gray", [0.0, 0.2, 0.35])
def test_higher_share_is_brighter(gray: float) -> None:
    shares = np.linspace(0.1, 1, 10)[None]
    painted = luminance(paint(np.full(shares.shape, gray), shares))[0]
    assert all(low < high for low, high in pairwise(painted))


def test_higher_share_is_more_opaque() -> None:
    shares = np.linspace(0, 1, 11)[None]
    over_black, over_white = (paint(np.full(shares.shape, gray), shares).astype(int)[0] for gray in (0.0, 1.0))
    transparency = (over_white - over_black).max(axis=-1)
    assert transparency[0] == 255
    assert all(low > high for low, high in pairwise(transparency))


def test_anatomy_stays_readable_under_a_share_of_1() -> None:
    dark, light = paint(np.array([[0.2, 0.8]]), np.ones((1, 2)))[0].astype(int)
    assert MAX_ALPHA <= 0.6
    np.testing.assert_allclose(light - dark, (1 - MAX_ALPHA) * 0.6 * 255, atol=1)


def test_color_depends_on_the_share_alone_not_on_the_largest_one() -> None:
    gray = np.full((1, 2), 0.3)
    alone = paint(gray, np.array([[0.3, 0.0]]))[0, 0]
    beside_larger = paint(gray, np.array([[0.3, 1.0]]))[0, 0]
    np.testing.assert_array_equal(alone, beside_larger)


def test_outline_is_the_inner_edge_of_the_mask(scene: Scene) -> None:
    gray, share, mask = scene
    picture = render_picture(gray, share, mask)
    expected = np.zeros_like(mask)
    expected[[40, 99], 20:60] = True
    expected[40:100, [20, 59]] = True
    np.testing.assert_array_equal((picture == CONTOUR_COLOR).all(axis=-1), expected)


def test_outline_is_closed_at_the_border_of_the_image() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[:4, :4] = True
    edge = outline(mask, 1)
    assert edge[0, :4].all()
    assert edge[:4, 0].all()
    assert not edge[1:3, 1:3].any()


def test_outline_is_thicker_on_large_images() -> None:
    assert contour_width(211, 169) == 1
    assert [contour_width(side, side) for side in (440, 1024, 2000, 4000)] == [1, 3, 5, 10]
    mask = np.ones((20, 20), dtype=bool)
    assert outline(mask, 3).sum() == 20 * 20 - 14 * 14


def test_color_bar_runs_from_0_at_the_left_to_1_at_the_right_in_the_colors_of_the_lines() -> None:
    strip = render_strip(440, ())
    ends = colors_of(np.array([0.0, 1.0]))
    hottest = np.argwhere((strip == ends[1]).all(axis=-1))
    bar = strip[hottest[0, 0]]
    left, right = (np.flatnonzero((bar == color).all(axis=-1)) for color in ends)
    assert left.size
    assert left.max() < 40 < 400 < right.min()
    shown = luminance(bar[left.max() : right.min()])
    assert (np.diff(shown) > -1).all()
    assert shown[-1] > shown[0] + 50


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_wrapped_within_the_width(width: int) -> None:
    strip = render_strip(width, [*LINES, "W" * 300])
    margin = strip[:, -max(3, width // 200) :]
    assert strip.shape[1] == width
    assert not margin.any(), "text reaches the edge of the strip"
    assert not strip[-2:].any(), "text reaches the lower end of the strip"


def test_wrapping_loses_no_word() -> None:
    words = ["certified" * 2, "saliency" * 2, "radius" * 3]
    np.testing.assert_array_equal(render_strip(169, [" ".join(words)]), render_strip(169, words))


def test_every_line_is_drawn() -> None:
    few, many = render_strip(440, ["one"]), render_strip(440, ["one", "two", "three"])
    assert many.shape[0] > few.shape[0]
    white = [(strip == 255).all(axis=-1).sum() for strip in (render_strip(440, ["one"]), render_strip(440, [""]))]
    assert white[0] > white[1]


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_legible_at_every_width(width: int) -> None:
    with_line, without = render_strip(width, ["Hxg"]), render_strip(width, [])
    drawn = with_line[without.shape[0] - 8 :]
    rows = np.flatnonzero((drawn.min(axis=-1) > 127).any(axis=1))
    height = rows.max() - rows.min() + 1
    assert height >= max(9, 0.013 * width), "height of a line from the top of H to the bottom of g"


def test_signs_that_the_font_lacks_are_spelled_out() -> None:
    np.testing.assert_array_equal(render_strip(440, ["σ ≥ é"]), render_strip(440, ["sigma >= e"]))  # noqa: RUF001
    np.testing.assert_array_equal(render_strip(440, ["胸"]), render_strip(440, ["?"]))


def test_equal_inputs_give_equal_pictures_and_stay_as_they_are(scene: Scene) -> None:
    copies = [array.copy() for array in scene]
    np.testing.assert_array_equal(overlay_of(scene), overlay_of(scene))
    for array, copy in zip(scene, copies):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("which", "value"), [(0, np.nan), (0, 1.01), (0, -0.01), (1, np.nan), (1, 1.01), (1, -0.01), (1, np.inf)]
)
def test_values_outside_0_to_1_are_refused(scene: Scene, which: int, value: float) -> None:
    scene[which][50, 50] = value
    with pytest.raises(ValueError, match="NaN or outside"):
        overlay_of(scene)


def test_other_shapes_are_refused(scene: Scene) -> None:
    gray, share, mask = scene
    for wrong in ((gray.T, share, mask), (gray, share[1:], mask), (gray, share, mask.T), (gray[None],) * 2 + (mask,)):
        with pytest.raises(ValueError, match="shape"):
            render_overlay(*wrong, LINES, top_k=6)


def test_empty_image_and_mask_of_numbers_are_refused(scene: Scene) -> None:
    gray, share, mask = scene
    with pytest.raises(ValueError, match="there is none"):
        render_overlay(gray[:0], share[:0], mask[:0], LINES, top_k=6)
    with pytest.raises(ValueError, match="bool"):
        render_overlay(gray, share, mask.astype(np.uint8), LINES, top_k=6)
