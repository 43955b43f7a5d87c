"""Exposure-shaped noise: its norm and its law against the covariance matrix, and what a certificate in it covers."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from scipy.fft import idctn
from scipy.special import ndtr, ndtri

from monai_robustinterp.attacks.ascent import project
from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.noise.exposure import ExposureNoise
from monai_robustinterp.noise.shape import noise_of
from monai_robustinterp.noise.white import WhiteNoise
from monai_robustinterp.types import SmoothingSpec
from tests.support.networks import TinyClassifier
from tests.support.vote_factory import make_votes, spec_of

SHAPE = (1, 4, 6)
SETTINGS = {"sigma": 0.25, "brightness": 0.125, "tilt": 0.5}
NOISE = ExposureNoise(**SETTINGS)
STREAM = CounterNoise(seed=3, image_hash="ab", protocol="p/1")


def covariance(shape: tuple[int, ...] = SHAPE, noise: ExposureNoise = NOISE) -> npt.NDArray[np.float64]:
    """Sigma, from the inverse transform of scipy."""
    size = math.prod(shape)
    matrix = noise.sigma**2 * np.eye(size)
    for tau, position in ((noise.brightness, (0, 0)), (noise.tilt, (1, 0)), (noise.tilt, (0, 1))):
        spectrum = np.zeros(shape[-2:])
        spectrum[position] = 1
        mode = idctn(spectrum, norm="ortho").ravel()
        matrix += size * tau**2 * np.outer(mode, mode)
    return matrix


def changes(count: int, seed: int = 0) -> list[npt.NDArray[np.float64]]:
    """Random changes, constant ones, and slopes."""
    rng = np.random.default_rng(seed)
    slope = np.broadcast_to(np.linspace(-1, 1, SHAPE[-1]), SHAPE)
    return [*rng.normal(size=(count, *SHAPE)), np.full(SHAPE, 0.3), 0.1 * slope, 0.3 + 0.1 * slope]


def test_the_norm_is_that_of_the_covariance_and_never_below() -> None:
    matrix = mpmath.matrix(covariance().tolist())
    with mpmath.workdps(40):
        for change in changes(20):
            d = mpmath.matrix(change.ravel().tolist())
            exact = mpmath.sqrt((d.T * mpmath.lu_solve(matrix, d))[0])
            found = NOISE.norm(change)
            # Below by no more than the float64 entries of the matrix are off.
            assert exact * (1 - mpmath.mpf(10) ** -14) <= found <= exact * (1 + mpmath.mpf(10) ** -11)
            assert Fraction(found) <= Fraction(WhiteNoise(NOISE.sigma).norm(change)) * (1 + Fraction(1, 10**11))


def test_brightness_has_the_same_norm_on_every_grid() -> None:
    noise = ExposureNoise(sigma=1e-4, brightness=0.03, tilt=0.0)
    assert [noise.norm(np.full((1, side, side), 0.02)) for side in (16, 64)] == pytest.approx([2 / 3] * 2, rel=1e-4)


def test_the_draws_have_that_covariance() -> None:
    draws = NOISE.copies(torch.zeros(SHAPE), STREAM, torch.arange(40_000)).flatten(1).double().numpy()
    # Whitened with Sigma the squared lengths are chi-square of n degrees of freedom, and each value is standard.
    whitened = np.linalg.solve(np.linalg.cholesky(covariance()), draws.T).T
    assert stats.kstest(np.square(whitened).sum(axis=1), "chi2", (math.prod(SHAPE),)).pvalue > 0.001
    assert stats.kstest(whitened.ravel(), "norm").pvalue > 0.001
    off = np.abs(whitened.T @ whitened / len(draws) - np.eye(math.prod(SHAPE)))
    assert off.max() < 5 * math.sqrt(2 / len(draws))


def test_a_copy_depends_on_its_index_alone_and_its_white_part_is_that_of_white_noise() -> None:
    clean, samples = torch.rand(1, 8, 8), torch.arange(12)
    together = NOISE.copies(clean, STREAM, samples)
    assert torch.equal(torch.cat([NOISE.copies(clean, STREAM, part) for part in samples.split(5)]), together)
    rest = (together - WhiteNoise(NOISE.sigma).copies(clean, STREAM, samples)).double().numpy()[:, 0]
    flat = rest - rest.mean(axis=1, keepdims=True) - rest.mean(axis=2, keepdims=True) + rest.mean((1, 2), keepdims=True)
    assert np.abs(rest).max() > 0.1
    assert np.abs(flat).max() < 1e-6


def test_the_claim_holds_up_to_its_radius_in_the_worst_direction_and_not_beyond() -> None:
    """Two cells and k = 1: a vote is a half-space of the copy, whose share is known exactly (T20)."""
    matrix, rng = covariance(), np.random.default_rng(1)
    for _ in range(50):
        a, x = rng.normal(size=(2, math.prod(SHAPE)))
        spread = math.sqrt(a @ matrix @ a)
        share = float(ndtr(abs(a @ x) / spread))
        r = (ndtri(share) - ndtri(1 - share)) / 2
        worst = -np.sign(a @ x) * matrix @ a / spread
        assert NOISE.norm(worst.reshape(SHAPE)) == pytest.approx(1)
        kept = [np.sign(a @ x) * (a @ (x + factor * r * worst)) > 0 for factor in (1 - 1e-9, 1 + 1e-9)]
        assert kept == [True, False]
        for direction in rng.normal(size=(20, len(a))):
            step = direction * (r * (1 - 1e-9) / NOISE.norm(direction.reshape(SHAPE)))
            assert np.sign(a @ x) * (a @ (x + step)) > 0


def test_the_steepest_change_has_norm_1_and_no_other_rises_more() -> None:
    rng = np.random.default_rng(2)
    for noise in (NOISE, WhiteNoise(0.25)):
        gradient = torch.from_numpy(rng.normal(size=SHAPE))
        best = noise.steepest(gradient)
        assert noise.norm(best.numpy()) == pytest.approx(1)
        rises = [float((gradient * torch.from_numpy(d)).sum()) / noise.norm(d) for d in changes(200)]
        assert float((gradient * best).sum()) > max(np.abs(rises))


def test_an_attack_stays_in_the_ball_of_the_noise() -> None:
    for change in changes(20):
        pulled = project(torch.from_numpy(change).float(), NOISE, 0.3)
        assert NOISE.norm(pulled.double().numpy()) <= 0.3
    small = torch.full(SHAPE, 1e-3)
    assert torch.equal(project(small, NOISE, 0.3), small)


def test_without_spread_the_noise_is_white() -> None:
    assert noise_of(sigma=0.25) == WhiteNoise(0.25)
    assert noise_of(**SETTINGS) == NOISE
    assert noise_of(sigma=0.25, tilt=0.5) == ExposureNoise(sigma=0.25, brightness=0.0, tilt=0.5)


def test_the_shape_changes_the_unit_of_a_certificate_and_nothing_else() -> None:
    votes = make_votes()
    white, shaped = (
        certify_votes(votes, spec_of(votes, sigma=0.25, **more), beta="0.5", eta=0.001)
        for more in ({}, {"brightness": 0.125, "tilt": 0.5})
    )
    assert (white.radii, white.label) == (shaped.radii, shaped.label)
    assert shaped.spec.brightness == 0.125


def test_an_inferer_smooths_with_the_noise_that_the_record_names() -> None:
    network, image = TinyClassifier().eval(), torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    settings = {"n_samples": 32, "top_k": 4, "cell_size": 4, "target": 1, "sigma": 0.05}
    white = CertifiedSaliencyInferer(**settings).certify(image, network)
    shaped = CertifiedSaliencyInferer(**settings, brightness=0.1, tilt=0.1).certify(image, network)
    assert (white.votes.counts != shaped.votes.counts).any()
    spec = shaped.certificate.spec
    assert (spec.brightness, spec.tilt) == (float(np.float32(0.1)), float(np.float32(0.1)))
    assert "brightness (0.1) and of tilt (0.1)" in shaped.record["claim"]["assumptions"]
    r = shaped.record["claim"]["l_max_in_noise"]
    assert r <= shaped.certificate.l_max / spec.sigma == pytest.approx(r)


@pytest.mark.parametrize("name", ["brightness", "tilt"])
def test_a_spread_that_is_none_is_refused(name: str) -> None:
    for value in (-0.1, math.nan, math.inf, 1e-40):
        with pytest.raises(ValueError, match=f"{name} is {value}; it must be 0, which is none"):
            CertifiedSaliencyInferer(**{name: value})
        with pytest.raises(ValueError, match=name):
            SmoothingSpec(
                sigma=0.1, n_samples=1, top_k=1, cell_size=1, interpreter="gradient", target=0, **{name: value}
            )
