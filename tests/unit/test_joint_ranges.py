"""A strength and the pixels together (T25): linear maps of a few pixels whose expected votes are two integrals."""

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

from monai_robustinterp.attention.range_image import RangeSettings
from monai_robustinterp.attention.ranges import CertifiedRange, Film, certify_range, range_recipe, range_spec
from monai_robustinterp.certificates.neyman_pearson import neyman_pearson_radius
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.source import Source
from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.networks.denoised import Denoiser
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.noise.gray_changes import BrightnessNoise, ContrastNoise, GammaNoise, SlopeNoise
from monai_robustinterp.noise.semantic import SemanticNoise
from monai_robustinterp.noise.shift_changes import ShiftNoise
from monai_robustinterp.noise.window_changes import Window, WindowCenterNoise, WindowWidthNoise
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.transforms import ScaleDisplayRanged

Array = npt.NDArray[np.float64]

CELLS, TOP_K, BETA, SIGMA = 6, 2, "1", 0.25
WINDOW = Window(center=200.5, width=201.0, function="LINEAR", source="window 1 of 1", inverted=False)
CIRCLE, SURROUND = ShiftNoise(sigma=1.5), ShiftNoise(sigma=1.5, surround=0.0)
GRAY = (BrightnessNoise(sigma=0.3), SlopeNoise(sigma=0.5), WindowCenterNoise(sigma=0.3, window=WINDOW))


class LinearMap(Interpreter):
    """Each cell is one pixel times a weight of its own, plus a height; of a small spread it goes with the image."""

    name = "linear"
    needs_gradient = False

    def __init__(self, seed: int, spread: float = 1.0) -> None:
        self.seed, self.spread = seed, spread
        rng = np.random.default_rng([seed, 3])
        self.weight = 1 + spread * rng.uniform(-0.6, 0.6, CELLS)
        self.weight *= rng.choice([-1, 1], CELLS) if spread == 1 else 1
        self.height = spread * rng.uniform(-0.3, 0.3, CELLS) - self.weight / 2

    def of(self, pixels: Array) -> Array:
        return self.weight * pixels + self.height

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        maps = torch.from_numpy(np.stack([self.of(one.double().numpy()) for one in inputs]))
        return Attribution(maps=maps, logits=inputs.flatten(1).mean(dim=1, keepdim=True) - 0.5)


def pixels_of(seed: int) -> Array:
    """Display values of a row, some of them beyond black and white."""
    return np.random.default_rng([seed, 7]).uniform(-0.3, 1.3, CELLS)


def top(values: Array) -> npt.NDArray[np.bool_]:
    mask = np.zeros(CELLS, dtype=bool)
    mask[np.argsort(-values, kind="stable")[:TOP_K]] = True
    return mask


def strengths_of(noise: SemanticNoise) -> tuple[Array, Array]:
    """Points of the law of the strength and their probabilities; whole pixels of a shift."""
    step = 1.0 if isinstance(noise, ShiftNoise) else noise.sigma / 6
    most = math.ceil(5 * noise.sigma / step)
    points = step * np.arange(-most, most + 1)
    mass = ndtr((points + step / 2) / noise.sigma) - ndtr((points - step / 2) / noise.sigma)
    return points, mass / mass.sum()


def in_the_top(means: Array, spreads: Array) -> Array:
    """Chances [T, c] of independent normals [T, c] to be among the k largest: an integral over each one's value."""
    points = np.linspace(-5, 5, 41)
    density = np.exp(-np.square(points) / 2)
    values = means[:, None] + spreads[:, None] * points[:, None]  # [T, Y, c]
    above = ndtr((means[:, None, None] - values[..., None]) / spreads[:, None, None])  # [T, Y, i, j]
    above[..., np.arange(CELLS), np.arange(CELLS)] = 0.0  # nothing is above itself
    # Chances that 0, 1, ... k - 1 of the others are above.
    count = [np.ones(above.shape[:3])] + [np.zeros(above.shape[:3])] * (TOP_K - 1)
    for other in range(CELLS):
        chance = above[..., other]
        count = [count[0] * (1 - chance)] + [count[n] * (1 - chance) + count[n - 1] * chance for n in range(1, TOP_K)]
    return np.einsum("y,tyi->ti", density / density.sum(), sum(count))


def steps_of(noise: SemanticNoise, strength: float) -> int:
    return math.floor(strength + 0.5) if isinstance(noise, ShiftNoise) else 0


def votes_of(noise: SemanticNoise, linear: LinearMap, copy: Callable[[float], Array]) -> Array:
    """The expected votes where ``copy`` gives the input of a strength without noise in its pixels."""
    points, mass = strengths_of(noise)
    back = [-steps_of(noise, strength) for strength in points]
    means = [np.roll(linear.of(copy(strength)), steps) for strength, steps in zip(points, back)]
    spreads = [np.roll(np.abs(linear.weight), steps) * SIGMA for steps in back]
    votes: Array = mass @ in_the_top(np.array(means), np.array(spreads))
    assert abs(votes.sum() - TOP_K) < 1e-3, "the integrals are too coarse"
    return np.clip(votes * TOP_K / votes.sum(), 0, 1)


def cut(pixels: Array) -> Array:
    return np.clip(pixels, 0, 1)


def against_the_cells(linear: LinearMap, votes: Array, norm: float) -> list[Array]:
    """Changes of the pixels of this norm against the weakest reported cell, the strongest other one, and both."""
    weakest, strongest = np.argsort(-votes, kind="stable")[TOP_K - 1 : TOP_K + 1]
    pushes = []
    for down, up in ((1, 1), (1, 0), (0, 1)):
        push = np.zeros(CELLS)
        push[weakest], push[strongest] = -down * linear.weight[weakest], up * linear.weight[strongest]
        pushes.append(norm * push / np.linalg.norm(push))
    return pushes


def changed_films(noise: SemanticNoise, pixels: Array, strength: float, push: Array) -> list[Callable[[float], Array]]:
    """Copies of the film that is changed by a strength and in its pixels, by doing one after the other."""
    changed = noise.changed(pixels, strength)
    return [
        lambda own: cut(noise.changed(changed, own)) + push,
        # A change of the film itself is cut off with it: what it does to the input depends on the strength.
        lambda own: cut(noise.changed(changed + push, own)),
    ]


def moved_films(noise: SemanticNoise, pixels: Array, strength: float, push: Array) -> list[Callable[[float], Array]]:
    """The same of a shift, whose pixels are changed after it; in a surround nothing of the film is lost."""
    moved, pushed = noise.changed(pixels, strength), np.roll(push, steps_of(noise, strength))
    if noise is CIRCLE:
        return [lambda own: noise.changed(moved + pushed, own)]
    return [lambda own: noise.changed(pixels, strength + own) + noise.changed(pushed, own)]


def kept_at(noise: SemanticNoise, seed: int, share: float) -> tuple[float, list[int]]:
    """Radius of the exact votes, at most 2, and cells that stay of changes at this share of the ellipse."""
    of_place = isinstance(noise, ShiftNoise)
    linear, pixels = LinearMap(seed, 0.2 if of_place else 1.0), pixels_of(seed)
    pixels, films = (cut(pixels), moved_films) if of_place else (pixels, changed_films)
    before = votes_of(noise, linear, lambda own: cut(noise.changed(pixels, own)))
    radius = min(neyman_pearson_radius(before, top_k=TOP_K, beta=BETA, sigma=1.0), 2.0)
    kept = []
    for part in (-1.0, -0.7, 0.0, 0.7, 1.0):
        strength = share * radius * noise.sigma * part
        strength = float(math.trunc(strength)) if of_place else strength
        left = SIGMA * math.sqrt(max(0.0, (share * radius) ** 2 - (strength / noise.sigma) ** 2))
        for push in against_the_cells(linear, before, left):
            for copy in films(noise, pixels, strength, push):
                after = np.roll(votes_of(noise, linear, copy), -steps_of(noise, strength))
                kept.append(int((top(before) & top(after)).sum()))
    return radius, kept


def test_the_integrals_agree_with_draws() -> None:
    noise, linear, pixels, rng = GRAY[0], LinearMap(2), pixels_of(2), np.random.default_rng(0)
    copies = (cut(pixels + rng.normal(0, noise.sigma)) + rng.normal(0, SIGMA, CELLS) for _ in range(20_000))
    drawn = np.mean([top(linear.of(copy)) for copy in copies], axis=0)
    exact = votes_of(noise, linear, lambda own: cut(noise.changed(pixels, own)))
    assert np.abs(drawn - exact).max() < 0.015


def test_no_change_in_the_ellipse_breaks_the_claim_and_some_outside_do() -> None:
    """Each changed film gets its own exact expected votes; nothing of the composition is used for gray levels."""
    broken, unbroken = [], []
    for noise, seeds in {**dict.fromkeys(GRAY[:2], (0, 4)), CIRCLE: (2, 4), SURROUND: (2, 5)}.items():
        for seed in seeds:
            radius, kept = kept_at(noise, seed, 0.98)
            assert radius * (noise.sigma if isinstance(noise, ShiftNoise) else 1) > 0.4, "an ellipse that says nothing"
            if min(kept) < TOP_K:
                broken.append((str(noise), seed))
        if min(min(kept_at(noise, seed, 1.3)[1]) for seed in seeds) == TOP_K:
            unbroken.append(str(noise))
    assert not broken, broken
    assert not unbroken, unbroken


def test_contrast_and_pixels_break_what_would_be_their_ellipse() -> None:
    """A copy makes another change of one in the film's pixels; of one that is added to each copy it would hold."""
    noise, fewest = ContrastNoise(sigma=0.9), {"film": [], "copy": []}
    for seed in (1, 4, 7):
        linear, pixels = LinearMap(seed), np.random.default_rng([seed, 7]).uniform(0.1, 0.9, CELLS)
        before = votes_of(noise, linear, lambda own, pixels=pixels: noise.changed(pixels, own))
        radius = 0.98 * neyman_pearson_radius(before, top_k=TOP_K, beta=BETA, sigma=1.0)
        for push in against_the_cells(linear, before, SIGMA * radius):
            films = {
                "film": lambda own, film=pixels + push: noise.changed(film, own),
                "copy": lambda own, film=pixels, push=push: noise.changed(film, own) + push,
            }
            for name, copy in films.items():
                fewest[name].append(int((top(before) & top(votes_of(noise, linear, copy))).sum()))
    assert min(fewest["copy"]) == TOP_K > min(fewest["film"])


def certified(
    noise: SemanticNoise, linear: LinearMap, pixels: Array, *, denoiser: Denoiser | None = None
) -> CertifiedRange:
    """Of a film of one row whose display range is stored values 100 to 300."""
    values = torch.from_numpy(100 + 200 * pixels[None, None].astype(np.float32))
    image = MetaTensor(values, meta={"display_min": 100.0, "display_max": 300.0})
    path = Compose([Identityd(keys="image"), ScaleDisplayRanged(keys="image")])
    film = Film(path({"image": image})["image"].as_tensor(), Source(image, path))
    settings = {"n_samples": 800, "top_k": TOP_K, "cell_size": 1, "target": 0, "batch_size": 100}
    given = Recipe(
        interpreter=linear, findings=Findings("sigmoid"), sigma=0.1, brightness=0.2, denoiser=denoiser, **settings
    )
    recipe = range_recipe(given, pixel_sigma=SIGMA)
    return certify_range(
        film,
        nn.Identity(),
        recipe,
        noise,
        logits=torch.tensor([[float(film.clean.mean()) - 0.5]]),
        spec=range_spec(recipe, noise, 0, n_samples=800, seed=0),
        pixel_sigma=SIGMA,
        beta=BETA,
        eta=0.001,
    )


def test_the_copies_have_the_exact_law() -> None:
    offenders = []
    for noise in (*GRAY, CIRCLE, SURROUND):
        linear, pixels = LinearMap(4, 0.2 if isinstance(noise, ShiftNoise) else 1.0), pixels_of(4)
        if isinstance(noise, ShiftNoise):
            pixels = cut(pixels)
        exact = votes_of(noise, linear, lambda own, noise=noise, pixels=pixels: cut(noise.changed(pixels, own)))
        one = certified(noise, linear, pixels)
        spread = 5 * np.sqrt(exact * (1 - exact) / 800) + 0.004
        right = (np.abs(one.votes.share.ravel() - exact) < spread).all()
        if not right or (exact > 0.02).sum() <= TOP_K:
            offenders.append((str(noise), exact, one.votes.share))
    assert not offenders, offenders


class Halved(nn.Module):
    """Halves what differs from gray."""

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert (sigma == SIGMA).all()
        return 0.5 + (noisy - 0.5) / 2


def test_a_denoiser_is_told_the_noise_of_the_pixels_and_named() -> None:
    noise, linear, pixels = GRAY[0], LinearMap(4), pixels_of(4)
    half = Denoiser(Halved(), name="half")
    plain, denoised = (certified(noise, linear, pixels, denoiser=one) for one in (None, half))
    assert denoised.spec.denoiser["name"] == "half" and not plain.spec.denoiser
    assert (plain.votes.counts != denoised.votes.counts).any()
    assert plain.spec.brightness == denoised.spec.brightness == 0


def test_the_limits_of_both_are_the_same_number_of_standard_deviations() -> None:
    one = certified(GRAY[0], LinearMap(4), pixels_of(4))
    assert one.radius > 0
    assert one.pixel_radius(one.radius) / SIGMA == pytest.approx(one.radius / one.noise.sigma, rel=1e-9)
    assert one.pixel_radius(one.radius) < one.radius / one.noise.sigma * SIGMA


def test_what_does_not_commute_is_refused() -> None:
    for noise in (ContrastNoise(), GammaNoise(), WindowWidthNoise(window=WINDOW)):
        with pytest.raises(ValueError, match="no joint claim"):
            certified(noise, LinearMap(4), pixels_of(4))
        with pytest.raises(InputRefused, match=f"{noise.name} has no joint claim .* brightness, slope, window_center"):
            RangeSettings(noises=(GRAY[0], noise), pixel_sigma=0.1)
        assert RangeSettings(noises=(noise,)).pixel_sigma == 0
    with pytest.raises(ValueError, match="noise in the pixels is -1"):
        RangeSettings(noises=GRAY[:1], pixel_sigma=-1)
