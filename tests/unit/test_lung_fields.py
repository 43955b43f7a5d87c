"""Lung fields: what a segmenter's answer becomes on the film, and when it is said to be none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_robustinterp import InputRefused
from monai_robustinterp.bundle import load_lung_fields
from monai_robustinterp.networks import LungFields


class Bright(nn.Module):
    """Says lung where the film is bright, as surely as its gain makes it."""

    def __init__(self, gain: float = 50.0) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.gain * (images - 0.5)


def film(*pieces: tuple[slice, slice], side: int = 256) -> torch.Tensor:
    shown = torch.zeros(side, side)
    for piece in pieces:
        shown[piece] = 1
    return shown


LEFT, RIGHT = (slice(64, 192), slice(32, 96)), (slice(64, 192), slice(160, 224))


def test_the_fields_lie_where_the_network_says_on_a_film_of_any_shape() -> None:
    shown = torch.zeros(300, 500)
    shown[75:225, 63:187] = shown[75:225, 313:437] = 1
    found = LungFields(Bright(), name="bright")(shown)
    assert found.failure is None and found.pixels.shape == (300, 500)
    wrong = found.pixels != (shown.numpy() > 0.5)
    assert wrong.mean() < 0.02
    # Only along the borders, within a pixel of the network's input.
    assert not wrong[80:220, 70:180].any() and not wrong[:, 195:305].any()


def test_specks_are_left_out_and_holes_are_filled() -> None:
    shown = film(LEFT, RIGHT, (slice(0, 16), slice(0, 16)))
    shown[120:136, 56:72] = 0
    found = LungFields(Bright(), name="bright")(shown)
    assert found.failure is None
    assert not found.pixels[:20, :20].any() and found.pixels[120:136, 56:72].all()


@pytest.mark.parametrize(
    ("shown", "gain", "reason"),
    [
        (film(), 50.0, "cover 0 %"),
        (film((slice(0, 256), slice(0, 256))), 50.0, "cover 100 %"),
        (film(LEFT), 50.0, "1 separate lung fields"),
        (film(LEFT, RIGHT, (slice(220, 256), slice(100, 156))), 50.0, "3 separate lung fields"),
        (film(LEFT, RIGHT), 1.0, "uncertain"),
    ],
)
def test_an_answer_that_looks_like_no_lungs_says_why(shown, gain, reason) -> None:
    found = LungFields(Bright(gain), name="bright")(shown)
    assert found.failure is not None and reason in found.failure and "nothing is claimed" in found.failure


def test_a_network_that_fails_or_answers_in_another_shape_is_refused() -> None:
    class Fails(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    with pytest.raises(InputRefused, match="fails on an image"):
        LungFields(Fails(), name="fails")(film(LEFT, RIGHT))
    with pytest.raises(InputRefused, match="one logit a pixel"):
        LungFields(nn.Conv2d(1, 2, 1), name="two")(film(LEFT, RIGHT))


def test_a_bundle_without_a_segmenter_is_refused_and_off_is_none() -> None:
    assert load_lung_fields(None) is None and load_lung_fields("off") is None
    with pytest.raises(InputRefused, match="no segmenter of the lungs"):
        load_lung_fields("chest_xray_denoiser")
