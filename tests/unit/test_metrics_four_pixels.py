"""Metrics of maps on films of four pixels, against values worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.metrics.base import Array, Case, NotApplicable
from monai_robustinterp.metrics.grid_pointing import grid_film, quadrant
from monai_robustinterp.metrics.non_target_distortion import decision_path
from monai_robustinterp.metrics.perturbation_game import step_ends, substrate_of
from monai_robustinterp.metrics.registry import make_metric
from monai_robustinterp.metrics.top_cells import top_cells


class Linear(nn.Module):
    """Probabilities .1 + .8 s, .2 + .4 s and .95, with s four times the film's mean."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        s = 4 * images.double().mean(dim=(1, 2, 3))
        return torch.stack([0.1 + 0.8 * s, 0.2 + 0.4 * s, torch.full_like(s, 0.95)], dim=1).logit()


FILM = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
MAP = np.array([[0.0, 1.0], [2.0, 3.0]])
TIED = np.array([[0.0, 1.0], [1.0, 3.0]])
BOTTOM = np.array([[False, False], [True, True]])


def four(**changes: Any) -> Case:
    case = Case(
        network=Linear(),
        image=FILM,
        target=0,
        multi_label=True,
        saliency=MAP,
        explain=lambda network, image: image[0].numpy().astype(np.float64),
        top_k=2,
        boxes=BOTTOM,
        polygons=BOTTOM.T,
        lungs=~BOTTOM.T,
    )
    return dataclasses.replace(case, **changes)


def as_cells(case: Case) -> Case:
    """The same map as one of cells: each pixel of the film is four now."""

    def larger(marks: Any) -> Any:
        return marks.repeat(2, axis=0).repeat(2, axis=1)

    image = case.image.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    marks = {name: larger(getattr(case, name)) for name in ("boxes", "polygons", "lungs")}
    return dataclasses.replace(case, image=image, **marks)


def score(name: str, case: Case, **settings: Any) -> float:
    return make_metric(name, **settings).score(case)


def test_deletion_is_the_area_under_the_falling_score() -> None:
    # s = 1, .6, .3, .1, 0 gives p = .9, .58, .34, .18, .1.
    assert score("deletion", four(), step=1, substrate="zero") == pytest.approx((0.45 + 0.58 + 0.34 + 0.18 + 0.05) / 4)
    assert score("deletion", four(saliency=-MAP), step=1, substrate="zero") == pytest.approx(
        (0.45 + 0.82 + 0.66 + 0.42 + 0.05) / 4
    )
    # A row at a time, without another step given.
    assert score("deletion", four(), substrate="zero") == pytest.approx((0.45 + 0.34 + 0.05) / 2)
    # Steps of 3 of 4: at 3/4 of the film, and at all of it.
    assert score("deletion", four(), step=3, substrate="zero") == pytest.approx(
        (0.9 + 0.18) / 2 * 0.75 + (0.18 + 0.1) / 2 * 0.25
    )


def test_equal_pixels_go_together() -> None:
    expected = 0.25 * (0.9 + 0.58) / 2 + 0.5 * (0.58 + 0.18) / 2 + 0.25 * (0.18 + 0.1) / 2
    assert score("deletion", four(saliency=TIED), step=1, substrate="zero") == pytest.approx(expected)
    # A step of 2 would part the tied ones, and takes 3.
    assert step_ends(TIED.ravel(), 2).tolist() == [0, 3, 4]


def test_pixels_of_one_cell_go_together() -> None:
    for saliency in (MAP, TIED):
        case = four(saliency=saliency)
        assert score("deletion", as_cells(case), step=1, substrate="zero") == pytest.approx(
            score("deletion", case, step=1, substrate="zero")
        )


def test_the_mean_as_substrate_keeps_what_depends_on_the_mean_alone() -> None:
    # s = 1, .85, .8, .85, 1: a pixel gone is .25.
    expected = (0.45 + 0.78 + 0.74 + 0.78 + 0.45) / 4
    assert score("deletion", four(), step=1) == pytest.approx(expected)


def test_insertion_is_the_area_under_the_rising_score() -> None:
    expected = (0.05 + 0.42 + 0.66 + 0.82 + 0.45) / 4
    assert score("insertion", four(), step=1, substrate="zero") == pytest.approx(expected)


def test_the_blur_is_a_gaussian_of_the_sources_width() -> None:
    image = torch.rand(1, 1, 448, 448, generator=torch.Generator().manual_seed(0)) / 4
    expected = gaussian_filter(image[0, 0].numpy(), 10.0, radius=10, mode="mirror")
    assert np.allclose(substrate_of(image, "blur")[0, 0].numpy(), expected, atol=1e-6)
    case = four(image=image[0], saliency=image[0, 0].numpy().astype(np.float64), boxes=None, polygons=None, lungs=None)
    (first, *_), scores = make_metric("insertion", step=448**2).curve(case)  # type: ignore[attr-defined]
    assert first == 0.0 and scores[0] == pytest.approx(0.1 + 3.2 * float(expected.mean()), abs=1e-6)


def test_the_arg_max_forms_follow_the_predicted_class() -> None:
    assert score("deletion_argmax", four(), substrate="zero") == pytest.approx(0.95)
    assert score("insertion_argmax", four(), substrate="zero") == pytest.approx(0.95)


def odds(p: float) -> float:
    return math.log(p / (1 - p))


def kl(p: float, q: float) -> float:
    return p * math.log((p + 1e-7) / (q + 1e-7)) + (1 - p) * math.log((1 - p + 1e-7) / (1 - q + 1e-7))


def test_class_distortion_without_the_strongest_pixel() -> None:
    """The blurs of so small a film: the Gaussian is the film, the median of the last pixel is .3, so it becomes .35."""
    case = four(top_k=1)
    # s = .95: p = .86, .58, .95.
    others = ((odds(0.6) - odds(0.58)) + 0) / 2
    assert score("cds_log_odds", case) == pytest.approx(odds(0.9) - odds(0.86) - others, rel=1e-5)
    ratio = (kl(0.9, 0.86) + 1e-7) / (kl(0.6, 0.58) / 2 + 1e-7)
    assert score("cds_kl", case) == pytest.approx(math.log(ratio + 1), rel=1e-5)
    assert score("class_distortion", case) == pytest.approx(0.02 / 2, rel=1e-5)


def test_class_distortion_of_exclusive_classes_has_the_log_odds_of_their_probabilities() -> None:
    case = four(top_k=1, multi_label=False)
    film = case.probabilities(torch.stack([FILM, FILM - torch.tensor([[[0, 0], [0, 0.05]]])]))
    falls = np.log(film[0] / (1 - film[0])) - np.log(film[1] / (1 - film[1]))
    assert score("cds_log_odds", case) == pytest.approx(falls[0] - falls[1:].mean(), rel=1e-5)


def test_the_decision_path_goes_from_the_film_to_the_score() -> None:
    path = decision_path(four(), points=3)
    # The last pixel becomes .35; the one before stays .3, the median of .1 .1 .2 .3 .3 .3 .3 .4 .4.
    assert path.shares.tolist() == [0, 0.25, 0.5]
    assert path.plane == pytest.approx(np.array([[0, 0], [0.04, 0.01], [0.04, 0.01]]), abs=1e-6)
    assert path.changes[-1] == pytest.approx([-0.04, -0.02, 0], abs=1e-6)
    assert path.plane[-1, 1] == score("class_distortion", four())


def test_cells_that_tie_at_the_last_place_count_in_parts() -> None:
    assert top_cells(four(saliency=TIED)).tolist() == [[0, 0.5], [0.5, 1]]


def test_the_maximum_is_in_the_box_or_not() -> None:
    for case in (four(), as_cells(four())):
        assert score("pointing_game", case) == 1 and score("hit_rate", case) == 1
        assert score("pointing_game", dataclasses.replace(case, boxes=~case.boxes)) == 0  # type: ignore[operator]
        assert score("hit_rate", dataclasses.replace(case, polygons=~case.polygons)) == 0  # type: ignore[operator]
    above = four(boxes=~BOTTOM)
    assert score("pointing_game", above, tolerance=0.9) == 0 and score("pointing_game", above, tolerance=1) == 1
    # Of two largest pixels, one above the other, one is in the box.
    assert score("pointing_game", four(saliency=np.array([[0.0, 3.0], [0.0, 3.0]]))) == 0.5


def test_mass_is_the_share_of_the_sum() -> None:
    for case in (four(), as_cells(four())):
        assert score("box_mass", case) == pytest.approx(5 / 6)
        assert score("polygon_mass", case) == pytest.approx(4 / 6)
        assert score("lung_mass", case) == pytest.approx(2 / 6)
    # Below 0 is nothing; a map with nothing above 0 has no mass.
    assert score("box_mass", four(saliency=MAP - 2)) == 1
    assert score("polygon_mass", four(saliency=np.array([[1.0, -5.0], [3.0, 0.0]]))) == 0
    with pytest.raises(NotApplicable, match="no positive value"):
        score("box_mass", four(saliency=MAP - 3))


def test_a_cell_that_lies_half_in_a_box_counts_by_half() -> None:
    case = as_cells(four())
    boxes = np.zeros((4, 4), dtype=bool)
    boxes[2:, 3] = True
    half = dataclasses.replace(case, boxes=boxes)
    assert score("box_mass", half) == pytest.approx(1.5 / 6)
    assert score("enrichment_boxes", half) == pytest.approx((0.5 / 2) / (2 / 16))
    assert score("pointing_game", half) == 0.5
    assert score("iou", half) == pytest.approx(2 / 8)


def test_overlap_with_marks_plain_and_over_chance() -> None:
    for case in (four(), as_cells(four())):
        assert score("iou", case) == 1 and score("iou", case, marks="polygons") == pytest.approx(1 / 3)
        assert score("enrichment_boxes", case) == 2 and score("enrichment_polygons", case) == 1
        assert score("lung_top_k", case) == 0.5
    tied = four(saliency=TIED)
    # The top-2 is the last pixel and half of each tied one: 1.5 of them in the box of 2.
    assert score("iou", tied) == pytest.approx(1.5 / 2.5)
    assert score("enrichment_boxes", tied) == pytest.approx(0.75 / 0.5)
    assert score("lung_top_k", tied) == pytest.approx(0.25)


def test_four_films_make_one_and_certified_cells_point_to_one_of_them() -> None:
    films = [torch.full((1, 4, 4), value) for value in (0.1, 0.2, 0.3, 0.4)]
    grid = grid_film(films)
    for number, value in enumerate((0.1, 0.2, 0.3, 0.4)):
        inside = torch.as_tensor(quadrant(number, height=4, width=4))
        assert inside.sum() == 4 and (grid[0][inside] == value).all()
    assert torch.equal(grid_film([torch.eye(2)[None]] * 4), torch.full((1, 2, 2), 0.5))
    with pytest.raises(InputRefused, match="give four of one shape"):
        grid_film(films[:3])


def test_a_map_of_a_grid_points_to_the_film_by_its_cells_and_by_those_that_are_certified() -> None:
    """The map of an image is its brightness by cells, so three of the top-4 are of the film at 0.8."""
    bright = torch.full((1, 8, 8), 0.8)
    bright[:, :4, :4] = 0.0

    def shares(_network: nn.Module, image: torch.Tensor) -> Array:
        return nn.functional.avg_pool2d(image, 2)[0].numpy().astype(np.float64)

    dark = [torch.full((1, 8, 8), value) for value in (0.1, 0.2, 0.3)]
    for film in (bright, bright + 0.01, bright + 0.02, bright + 0.03):  # in other quarters
        case = Case(
            network=nn.Identity(),
            image=film,
            target=0,
            multi_label=True,
            saliency=shares(nn.Identity(), film),
            explain=shares,
            top_k=4,
            absent=dark,
            copies=1000,
        )
        # In its quarter [[0, .8], [.8, .8]], elsewhere 0.1, 0.2 and 0.3: the fourth is any of the four of 0.3.
        assert make_metric("grid_pointing").score(case) == pytest.approx(3 / 4)
        # Above 0.75 with confidence only 0.8 of 10,000 copies, above 0.25 also 0.3.
        many = dataclasses.replace(case, copies=10_000)
        assert make_metric("certified_grid_pointing").score(many) == 1
        assert make_metric("certified_grid_pointing", tau=0.25).score(many) == pytest.approx(3 / 7)
        with pytest.raises(NotApplicable, match="no cell is certified"):
            make_metric("certified_grid_pointing").score(dataclasses.replace(case, copies=100))
