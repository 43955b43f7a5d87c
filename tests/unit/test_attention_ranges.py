"""Certified ranges: maps of a few pixels whose expected votes are known exactly, at every strength of a change."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Identityd
from scipy.special import ndtr
from torch import nn

from monai_robustinterp.attention.ranges import CertifiedRange, Film, certify_range, range_spec
from monai_robustinterp.certificates.neyman_pearson import neyman_pearson_radius
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.source import Source
from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.noise.changes import make_semantic_noise
from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.noise.gray_changes import BrightnessNoise, ContrastNoise, GammaNoise, SlopeNoise
from monai_robustinterp.noise.semantic import SemanticNoise
from monai_robustinterp.noise.shift_changes import ShiftDownNoise, ShiftNoise
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.transforms import ScaleDisplayRanged

Array = npt.NDArray[np.float64]

CELLS, TOP_K, BETA = 12, 3, "0.6"
NOISES = (BrightnessNoise(sigma=0.3), ContrastNoise(sigma=0.6), GammaNoise(sigma=0.6), ShiftNoise(sigma=2.0))


def film_of(pixels: Array) -> Film:
    """A film of one row whose display range is stored values 100 to 300, and which is cut off there."""
    values = torch.from_numpy(100 + 200 * pixels[None, None].astype(np.float32))
    image = MetaTensor(values, meta={"display_min": 100.0, "display_max": 300.0})
    path = Compose([Identityd(keys="image"), ScaleDisplayRanged(keys="image")])
    return Film(path({"image": image})["image"].as_tensor(), Source(image, path))


class TentMap(Interpreter):
    """A map of tents over the gray levels: each cell is strongest at a level of its own."""

    name = "tents"
    needs_gradient = False

    def __init__(self, seed: int, spread: float = 1.0) -> None:
        self.seed, self.spread = seed, spread
        rng = np.random.default_rng(seed)
        self.peak, self.height = 0.5 + spread * rng.uniform(-0.5, 0.5, CELLS), spread * rng.uniform(-0.5, 0.5, CELLS)

    def of(self, image: Array) -> Array:
        return self.height - np.abs(image - self.peak)

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        maps = torch.from_numpy(np.stack([self.of(one.double().numpy()) for one in inputs]))
        return Attribution(maps=maps, logits=inputs.flatten(1).mean(dim=1, keepdim=True) - 0.5)


def top(values: Array) -> npt.NDArray[np.bool_]:
    mask = np.zeros(CELLS, dtype=bool)
    mask[np.argsort(-values, kind="stable")[:TOP_K]] = True
    return mask


def expected_votes(vote: Callable[[float], npt.NDArray[np.bool_]], sigma: float, *, whole: bool) -> Array:
    """The expected vote map of N(0, sigma^2) strengths: a sum over the law; of whole pixels it is exact."""
    step = 1.0 if whole else sigma / 60
    most = math.ceil(6.5 * sigma / step)
    points = step * np.arange(-most, most + 1)
    mass = ndtr((points + step / 2) / sigma) - ndtr((points - step / 2) / sigma)
    return np.clip(mass / mass.sum() @ np.stack([vote(point) for point in points]).astype(float), 0, 1)


def votes_of(noise: SemanticNoise, tents: TentMap, pixels: Array, *, cut: bool = True) -> Array:
    """The expected votes for a row of display values, without any code of the tally."""

    def vote(strength: float) -> npt.NDArray[np.bool_]:
        if isinstance(noise, ShiftNoise):
            pixel = math.floor(strength + 0.5)
            return top(np.roll(tents.of(np.roll(np.clip(pixels, 0, 1), pixel)), -pixel))
        changed = noise.changed(pixels, strength)
        return top(tents.of(np.clip(changed, 0, 1) if cut else changed))

    return expected_votes(vote, noise.sigma, whole=isinstance(noise, ShiftNoise))


def certified(
    noise: SemanticNoise, tents: TentMap, film: Film, *, m: int, seed: int = 0, batch: int = 64
) -> CertifiedRange:
    recipe = Recipe(
        interpreter=tents,
        findings=Findings("sigmoid"),
        sigma=0.1,
        n_samples=m,
        top_k=TOP_K,
        cell_size=1,
        target=0,
        batch_size=batch,
    )
    logits = torch.tensor([[float(film.clean.mean()) - 0.5]])
    spec = range_spec(recipe, noise, 0, n_samples=m, seed=seed)
    return certify_range(film, nn.Identity(), recipe, noise, logits=logits, spec=spec, beta=BETA, eta=0.001)


def test_strengths_add_up_where_nothing_was_cut_off_and_only_there() -> None:
    pixels = np.random.default_rng(0).uniform(-0.5, 1.5, CELLS)
    for noise in NOISES:
        first, then = (2.0, -3.7) if isinstance(noise, ShiftNoise) else (0.21, -0.34)
        twice = noise.changed(noise.changed(pixels, first), then)
        np.testing.assert_allclose(twice, noise.changed(pixels, first + then), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(noise.changed(pixels, 0.0), pixels) if noise.name != "contrast" else None
    for noise in NOISES[:2]:
        cut = np.clip(noise.changed(pixels, 0.21), 0, 1)
        once = np.clip(noise.changed(pixels, 0.21 - 0.34), 0, 1)
        assert np.abs(np.clip(noise.changed(cut, -0.34), 0, 1) - once).max() > 0.1


def pixels_of(seed: int) -> Array:
    """Display values, some of them beyond black and white."""
    return np.random.default_rng([seed, 7]).uniform(-0.3, 1.3, CELLS)


def tents_of(noise: SemanticNoise, seed: int) -> TentMap:
    """For a shift nearly the same tent in each cell: a map that goes with the image, but not quite."""
    return TentMap(seed, spread=0.4 if isinstance(noise, ShiftNoise) else 1.0)


def test_the_copies_have_the_exact_law() -> None:
    m = 800
    for noise in NOISES:
        tents, pixels = tents_of(noise, 5), pixels_of(5)
        one, exact = certified(noise, tents, film_of(pixels), m=m), votes_of(noise, tents, pixels)
        spread = np.sqrt(exact * (1 - exact) / m)
        assert (exact > 0.05).sum() > TOP_K, "a law that says nothing"
        assert (np.abs(one.votes.share.ravel() - exact) < 5 * spread + 0.004).all(), noise.name
        assert one.radius < neyman_pearson_radius(exact, top_k=TOP_K, beta=BETA, sigma=noise.sigma)


def kept_below(noise: SemanticNoise, seed: int, change: Callable[[Array, float], Array]) -> tuple[float, int]:
    """Radius of the exact expected votes, at most 2 sigma, and the fewest cells that stay just below it."""
    pixels, tents = pixels_of(seed), tents_of(noise, seed)
    before = votes_of(noise, tents, pixels)
    radius = min(neyman_pearson_radius(before, top_k=TOP_K, beta=BETA, sigma=noise.sigma), 2 * noise.sigma)
    most = noise.proven(0.98 * radius)
    kept = []
    for step in (-most, most):
        after = votes_of(noise, tents, change(pixels, step))
        # A shifted film's cells lie elsewhere by as many pixels.
        after = np.roll(after, -round(step)) if isinstance(noise, ShiftNoise) else after
        kept.append(int((top(before) & top(after)).sum()))
    return radius, min(kept)


NEEDED = math.ceil(0.6 * TOP_K)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.name)
def test_no_change_of_the_film_within_the_radius_breaks_the_claim(noise: SemanticNoise) -> None:
    """The changed film gets its own exact expected votes; nothing of the composition is used."""
    results = [kept_below(noise, seed, noise.changed) for seed in range(8)]
    assert sum(noise.proven(0.98 * radius) > 0.2 for radius, _ in results) >= 3
    assert min(kept for _, kept in results) >= NEEDED


def test_a_change_of_the_picture_as_it_is_shown_is_not_covered() -> None:
    """Brightness that is added after black and white were cut off does not compose with noise before that."""
    noise = NOISES[0]
    assert [kept_below(noise, seed, noise.changed)[1] for seed in (4, 11)] == [NEEDED, NEEDED]
    cut_off = [kept_below(noise, seed, lambda pixels, step: np.clip(pixels, 0, 1) + step)[1] for seed in (4, 11)]
    assert max(cut_off) < NEEDED


def test_maps_that_are_not_moved_back_have_another_law() -> None:
    noise, tents, pixels = NOISES[3], tents_of(NOISES[3], 5), np.clip(pixels_of(5), 0, 1)

    def vote(strength: float) -> npt.NDArray[np.bool_]:
        return top(tents.of(np.roll(pixels, math.floor(strength + 0.5))))

    left = expected_votes(vote, noise.sigma, whole=True)
    assert np.abs(left - votes_of(noise, tents, pixels)).max() > 0.1


def test_votes_follow_from_the_seed_whatever_the_batches() -> None:
    noise, tents, film = NOISES[0], TentMap(5), film_of(pixels_of(5))
    first, again, other = (
        certified(noise, tents, film, m=200, seed=seed, batch=batch) for seed, batch in ((0, 64), (0, 7), (1, 64))
    )
    np.testing.assert_array_equal(first.votes.counts, again.votes.counts)
    assert first.radius == again.radius
    assert (first.votes.counts != other.votes.counts).any()


def test_changes_of_one_film_have_noise_of_their_own() -> None:
    stream = CounterNoise(seed=0, image_hash="ab", protocol="p/1")
    drawn = [noise.strengths(stream, torch.arange(4000)) / noise.sigma for noise in NOISES]
    correlations = np.corrcoef(drawn) - np.eye(len(NOISES))
    assert np.abs(correlations).max() < 0.08
    assert max(abs(one.std() - 1) for one in drawn) < 0.05


def test_the_sampled_curve_begins_at_the_reported_cells() -> None:
    for noise in NOISES[::3]:
        one = certified(noise, tents_of(noise, 5), film_of(pixels_of(5)), m=300)
        middle = int(np.flatnonzero(one.sampled.strengths == 0)[0])
        assert one.sampled.smoothed[middle] >= TOP_K - 1
        plain = top(tents_of(noise, 5).of(np.clip(pixels_of(5), 0, 1)))
        assert one.sampled.plain[middle] == (one.votes.top_k_mask.ravel() & plain).sum()


def test_ranges_are_rounded_inwards_and_nothing_is_claimed_of_none() -> None:
    assert BrightnessNoise().words(0.05678) == "any brightness change within +-0.0567 of the display range"
    assert ContrastNoise().words(0.1) == "any contrast change from -9.51 % to +10.51 %"
    assert GammaNoise().words(0.1) == "any gamma from 0.9049 to 1.1051"
    assert ShiftNoise().words(3.0) == "any shift to the left or right by at most 2 px of the network's input"
    assert [noise.words(0.0) for noise in NOISES] == [""] * 4 and ShiftNoise().words(1.0) == ""
    for noise in NOISES[1:3]:
        low, high = noise.range(0.1)
        grown = noise.changed(np.array([0.75]), 0.1) if noise.name == "contrast" else None
        assert grown is None or float(grown[0] - 0.5) / 0.25 - 1 == pytest.approx(high)
        assert low < high


def test_a_slope_rises_from_edge_to_edge_whatever_rows_are_given() -> None:
    noise, film = SlopeNoise(), np.random.default_rng(0).uniform(size=(6, 5))
    added = noise.changed(film, 0.2) - film
    np.testing.assert_allclose(added, np.broadcast_to([-0.1, -0.05, 0, 0.05, 0.1], (6, 5)))
    np.testing.assert_allclose(noise.changed(film[2:4], 0.2), noise.changed(film, 0.2)[2:4])
    np.testing.assert_allclose(noise.changed(noise.changed(film, 0.2), -0.5), noise.changed(film, -0.3))
    assert noise.words(0.05678) == ("any slope of the exposure within +-0.0567 of the display range from edge to edge")


def test_shifts_go_right_and_down_in_a_circle_or_in_a_surround() -> None:
    film = np.random.default_rng(0).uniform(size=(1, 6, 5))
    plane = np.pad(film, ((0, 0), (9, 9), (9, 9)), constant_values=0.25)
    for kind, axis, sides in ((ShiftNoise, 2, "to the left or right"), (ShiftDownNoise, 1, "up or down")):
        circle, surround = kind(), kind(surround=0.25)
        for strength, pixels in ((2.4, 2), (-1.6, -2), (0.3, 0), (8.0, 8)):
            np.testing.assert_array_equal(circle.changed(film, strength), np.roll(film, pixels, axis))
            moved = np.roll(plane, pixels, axis)[:, 9:-9, 9:-9]
            np.testing.assert_array_equal(surround.changed(film, strength), moved)
            maps = torch.from_numpy(circle.changed(film, strength))[None]
            np.testing.assert_array_equal(circle.moved_back(maps, np.array([strength]))[0].numpy(), film)
        assert circle.words(3.0) == f"any shift {sides} by at most 2 px of the network's input"
        assert surround.words(3.0) == f"{circle.words(3.0)} in a surround of gray level 0.25"


def test_bad_settings_get_a_sentence() -> None:
    cases = {
        "no certified range of 'patch'": ("patch", {}),
        "sigma of 'gamma' is 0;": ("gamma", {"sigma": 0}),
        "sigma of 'shift' is 65;": ("shift", {"sigma": 65}),
        "'brightness' has the settings ['sigma']": ("brightness", {"pivot": 0.5}),
        "the surround is 2; it must be a display value": ("shift_down", {"surround": 2}),
        "sigma of 'window_center' is -0.1;": ("window_center", {"sigma": -0.1}),
        "the pivot is nan": ("contrast", {"pivot": math.nan}),
    }
    for words, (name, settings) in cases.items():
        with pytest.raises(InputRefused) as refused:
            make_semantic_noise(name, **settings)
        assert words in str(refused.value)
