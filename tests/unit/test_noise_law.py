"""What float32 and a counter-based generator make of N(0, 1): the bounds of docs/theory/noise.md, one by one.

The words of the generator are taken as independent and uniform; tests/unit/test_noise.py has their known answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from scipy.special import ndtr

from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.noise import counter as noise_module
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.types import NOISE_PROTOCOL

Array = npt.NDArray[np.float64]
Words = tuple[torch.Tensor, ...]

LAST = 2**32 - 1
# The shipped bundles: 128 x 128 values a copy, two of them to a pair of words.
N_VALUES, N_PAIRS = 128 * 128, 128 * 128 // 2


def make_noise(seed: int = 0) -> CounterNoise:
    return CounterNoise(seed=seed, image_hash="ab", protocol="p/1")


def normals_of(monkeypatch: pytest.MonkeyPatch, radius_words: list[int], angle_words: list[int]) -> Array:
    """The pairs [n, 2] that the code makes of these words."""
    words = tuple(
        torch.tensor([part], dtype=torch.int64)
        for part in (radius_words[0::2], angle_words[0::2], radius_words[1::2], angle_words[1::2])
    )
    monkeypatch.setattr(noise_module, "philox4x32", lambda counter, key: words)
    z = make_noise().normal(torch.tensor([0]), (2 * len(radius_words),))
    return z.double().numpy().reshape(-1, 2)


def box_muller(radius_word: int, angle_word: int) -> tuple[mpmath.mpf, mpmath.mpf]:
    """The same in 50 digits, at the middle of each word's cell."""
    with mpmath.workdps(50):
        u, v = ((mpmath.mpf(word) + 0.5) / 2**32 for word in (radius_word, angle_word))
        radius = mpmath.sqrt(-2 * mpmath.log(u))
        return radius * mpmath.cos(2 * mpmath.pi * v), radius * mpmath.sin(2 * mpmath.pi * v)


# ---- (b) one value


def test_extreme_and_random_words_give_box_muller_to_float32_round_off(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = [0, 1, 2, 2**16, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, LAST - 1, LAST]
    rng = np.random.default_rng(0)
    pairs = [(r, a) for r in edges for a in edges] + rng.integers(0, 2**32, size=(1001, 2)).tolist()
    pairs += pairs[: len(pairs) % 2]
    found = normals_of(monkeypatch, [r for r, _ in pairs], [a for _, a in pairs])
    for (radius_word, angle_word), ours in zip(pairs, found):
        exact = box_muller(radius_word, angle_word)
        radius = mpmath.sqrt(exact[0] ** 2 + exact[1] ** 2)
        for value, truth in zip(ours, exact):
            # Half a unit of float32, and float64 round-off of the radius times an angle that may be near a zero.
            assert abs(mpmath.mpf(float(value)) - truth) <= abs(truth) * 2**-24 + radius * mpmath.mpf(2) ** -50


def test_the_largest_and_the_smallest_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/theory/noise.md, L10: |z| <= sqrt(-2 ln 2^-33) = 6.7637, and no word gives infinity."""
    z = normals_of(monkeypatch, [0, LAST, 0, 0, 0, 1], [0, 0, 2**30, 2**31, 3 * 2**30, 0])
    largest = math.sqrt(66 * math.log(2))
    assert np.isfinite(z).all()
    assert np.hypot(*z[0]) == pytest.approx(largest, rel=1e-6) and largest == pytest.approx(6.763706, abs=1e-6)
    assert np.hypot(*z[1]) == pytest.approx(2.0**-16, rel=1e-6)
    # Each of the four directions is reached, and the next radius is already below.
    assert [(abs(pair) > 6.76).argmax() for pair in z[[0, 2, 3, 4]]] == [0, 1, 0, 1]
    assert z[0, 0] > 0 and z[2, 1] > 0 and z[3, 0] < 0 and z[4, 1] < 0
    assert np.hypot(*z[5]) < 6.61


def test_the_tail_that_is_missing_moves_no_vote_share_by_more_than_a_millionth() -> None:
    """Total variation between N(0, I_n) and itself without values beyond the largest, for one copy."""
    with mpmath.workdps(30):
        largest = mpmath.sqrt(66 * mpmath.log(2))
        beyond = 2 * mpmath.ncdf(-largest)
        a_copy = 1 - (1 - beyond) ** N_VALUES
    assert 1.3e-11 < float(beyond) < 1.4e-11
    assert 2.1e-7 < float(a_copy) < 2.3e-7


def test_tails_have_their_gaussian_mass_up_to_half_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """P[R > t] is the number of radius words beyond, and exp(-t^2 / 2) of all 2^32 for real ones."""
    words = np.unique(np.geomspace(1, 2**32, 400).astype(np.int64) - 1)
    words = words[: words.size // 2 * 2].tolist()
    radius = np.hypot(*normals_of(monkeypatch, words, [0] * len(words)).T)
    assert (np.diff(radius) < 0).all()
    # Words 0..w have at least this radius, so between it and the next one P[R > t] = (w + 1) / 2^32.
    real = np.exp(-(radius**2) / 2) * 2.0**32
    assert (np.abs(real - (np.array(words) + 0.5)) < 1e-3 + 3e-6 * real).all()


# ---- (b) one copy: the distance to real Gaussian noise of the same words


def cell_error(word: int) -> float:
    """E of the squared distance of a radius at the middle of its cell to the real one, uniform in the cell."""
    with mpmath.workdps(30):

        def radius(offset: mpmath.mpf) -> mpmath.mpf:
            return mpmath.sqrt(-2 * mpmath.log((word + offset) / mpmath.mpf(2) ** 32))

        middle = radius(mpmath.mpf(1) / 2)
        return float(mpmath.quad(lambda offset: (radius(offset) - middle) ** 2, [0, 0.5, 1]))


def radial_square(first: int) -> float:
    """E of that over all words from ``first`` on: the cells one by one, then h^2/12 times the integral of (dR/du)^2."""
    h = 2.0**-32
    exact_up_to = max(first, 64)
    total = h * sum(cell_error(word) for word in range(first, exact_up_to))
    rest = mpmath.quad(lambda t: mpmath.exp(t) / (2 * t), [1e-9, 1, 5, 10, 15, -math.log(exact_up_to * h)])
    return total + h**2 / 12 * float(rest)


def rounding_square() -> float:
    """E of the squared rounding of N(0, 1) to float32: a twelfth of a squared unit in each binade."""
    binades = np.arange(-60, 3)
    mass = 2 * (ndtr(2.0 ** (binades + 1)) - ndtr(2.0**binades))
    return float(mass @ (2.0 ** (binades - 23)) ** 2) / 12


ANGLE_SQUARE = 2 * (2 * math.pi * 2.0**-32) ** 2 / 12
# Radius words below this are set apart: they come once in 128 copies, and their cells are wide.
SAFE_WORD = 4096


def test_the_coupling_distance_of_the_documentation() -> None:
    """In units of sigma, the root of the mean square of ||z - Z||_2 over one copy of 128 x 128 values."""
    assert N_PAIRS * SAFE_WORD / 2**32 == 2**-7
    parts = {
        "radius": math.sqrt(N_PAIRS * radial_square(SAFE_WORD)),
        "angle": math.sqrt(N_PAIRS * ANGLE_SQUARE),
        "rounding": math.sqrt(N_VALUES * rounding_square()),
    }
    assert parts == pytest.approx({"radius": 1.23e-6, "angle": 5.41e-8, "rounding": 3.25e-6}, rel=5e-3)
    assert math.sqrt(N_PAIRS * radial_square(1)) == pytest.approx(6.04e-5, rel=5e-3)
    # Never more than 2 roundings of 2^-24 of a norm that exceeds 135 once in 10^22 copies.
    assert stats.chi2.sf(135**2, N_VALUES) < 1e-22
    assert pytest.approx(1.61e-5, rel=5e-3) == 2 * 2.0**-24 * 135


def copies_and_real_noise(sigma: float, copies: int) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """What the inferer adds to a zero image, sigma Z for real noise of the same words, and which words are safe."""
    noise, samples = make_noise(), torch.arange(copies)
    ours = (sigma * noise.normal(samples, (N_VALUES,))).double().numpy()
    words = [word.double().numpy() for word in noise.words("noise", samples, N_VALUES // 4)]
    rng = np.random.default_rng(1)
    u = [(word + rng.uniform(size=word.shape)) * 2.0**-32 for word in words]
    pairs = []
    for radius_word, angle_word in ((u[0], u[1]), (u[2], u[3])):
        radius, angle = np.sqrt(-2 * np.log(radius_word)), 2 * math.pi * angle_word
        pairs += [radius * np.cos(angle), radius * np.sin(angle)]
    real = sigma * np.stack(pairs, axis=-1).reshape(copies, -1)
    safe = np.minimum(words[0], words[2]).min(axis=1) >= SAFE_WORD
    return ours, real, safe


@pytest.mark.parametrize("sigma", [1.0, 0.1])
def test_copies_are_as_near_to_real_noise_as_the_bound_says(sigma: float) -> None:
    ours, real, safe = copies_and_real_noise(sigma, 64)
    assert safe.sum() > 50
    distance = np.linalg.norm(ours - real, axis=1)[safe] / sigma
    # The two roundings, of z and of sigma z, are one where sigma is a power of two; the rest comes from the words.
    roundings = 1 if sigma == 1.0 else 2
    parts = (N_PAIRS * radial_square(SAFE_WORD), N_PAIRS * ANGLE_SQUARE, roundings * N_VALUES * rounding_square())
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(math.sqrt(sum(parts)), rel=0.1)
    assert distance.max() < 1.61e-5 + 10 * (1.23e-6 + 5.41e-8)


def test_sigma_itself_is_rounded_to_float32_and_nothing_else_happens() -> None:
    """A relative 2^-24 of sigma, so of every radius."""
    z = make_noise().normal(torch.arange(2), (500,))
    for sigma in (0.1, 0.3, 0.7, 0.25):
        rounded = float(np.float32(sigma))
        assert abs(rounded / sigma - 1) <= 2.0**-24
        assert torch.equal(sigma * z, (rounded * z.double()).float())


# ---- (a) the sum


def nearest_float32(value: Fraction) -> float:
    """The float32 next to a rational number, ties to even."""
    guess = np.float32(float(value))
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    return float(min(near, key=lambda f: (abs(Fraction(float(f)) - value), int(f.view(np.uint32)) & 1)))


def test_a_copy_is_the_rounded_real_sum_of_image_and_noise(tiny: torch.nn.Module, image: torch.Tensor) -> None:
    """So it is a function of that sum alone, and rounding it is post-processing, which costs no radius."""
    inferer = CertifiedSaliencyInferer(sigma=0.3, n_samples=4, top_k=4, cell_size=4, target=1, seed=5)
    copies = inferer.recipe.stages(image, tiny, target=1, n_copies=4).copies
    noise = CounterNoise(seed=5, image_hash=image_sha256(image), protocol=NOISE_PROTOCOL)
    added = 0.3 * noise.normal(torch.arange(4), tuple(image.shape))
    rounded = 0
    for copy, pixel, value in zip(
        copies[:, ::5, ::3].ravel().tolist(),
        image.expand(4, 32, 32)[:, ::5, ::3].flatten().tolist(),
        added[:, 0, ::5, ::3].flatten().tolist(),
    ):
        real = Fraction(pixel) + Fraction(value)
        assert copy == nearest_float32(real)
        rounded += Fraction(copy) != real
    assert rounded > 50


# ---- (e) many values: goodness of fit with power


def anderson_darling(z: Array) -> float:
    """A^2 against N(0, 1) with nothing estimated; P[A^2 > 6] = 0.001 (Anderson & Darling 1954)."""
    ordered = np.sort(z)
    i = np.arange(1, z.size + 1)
    return float(-z.size - ((2 * i - 1) * (stats.norm.logcdf(ordered) + stats.norm.logsf(ordered[::-1]))).mean())


def correlation(a: Array, b: Array) -> float:
    """In standard errors of independent values."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1] * math.sqrt(a.size))


def departures(z: Array) -> dict[str, float]:
    """Statistics of draws [copies, values] over their limits: above 1 what N(0, 1) shows once in 1,000 to 15,000."""
    flat = z.ravel()
    even, odd = z[:, 0::2], z[:, 1::2]
    four = z.reshape(len(z), -1, 4)
    found = {
        "Kolmogorov-Smirnov": stats.kstest(flat, "norm").statistic * math.sqrt(flat.size) / 1.95,
        "Anderson-Darling": anderson_darling(flat) / 6.0,
        "mean": flat.mean() * math.sqrt(flat.size) / 4,
        "variance": (flat.var() - 1) * math.sqrt(flat.size / 2) / 4,
        "kurtosis": (np.mean(flat**4) - 3) * math.sqrt(flat.size / 96) / 4,
        "mass beyond 3": (np.mean(np.abs(flat) > 3) / 0.0026998 - 1) * math.sqrt(flat.size * 0.0026998) / 4,
        "cosine and sine": correlation(even, odd) / 4,
        "their squares": correlation(even**2, odd**2) / 4,
        "their product and square": correlation(even * odd, even**2) / 4,
        "two pairs of one block": correlation(four[:, :, 0], four[:, :, 2]) / 4,
        "neighboring pixels": correlation(z[:, :-1], z[:, 1:]) / 4,
        "their magnitudes": correlation(np.abs(z[:, :-1]), np.abs(z[:, 1:])) / 4,
        "neighboring copies": correlation(z[:-1], z[1:]) / 4,
        "their squares between copies": correlation(z[:-1] ** 2, z[1:] ** 2) / 4,
        "first and last copies": correlation(z[: len(z) // 2], z[len(z) // 2 :]) / 4,
    }
    # Norms of the copies: n of variance 2n, so that copies are neither too alike nor too different.
    norms = (np.sum(z**2, axis=1) - z.shape[1]) / math.sqrt(2 * z.shape[1])
    found["norms"] = stats.kstest(norms, "norm").statistic * math.sqrt(len(z)) / 2.2
    return {name: abs(value) for name, value in found.items()}


def draw(copies: int = 64) -> Array:
    """A million values."""
    return make_noise(seed=3).normal(torch.arange(copies), (N_VALUES,)).double().numpy()


def test_a_million_draws_fit() -> None:
    worst = max(departures(draw()).items(), key=lambda item: item[1])
    assert worst[1] < 1, worst


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {}


def mutant(name: str) -> Callable[[Callable[[pytest.MonkeyPatch], None]], None]:
    def register(change: Callable[[pytest.MonkeyPatch], None]) -> None:
        MUTANTS[name] = change

    return register


def change_words(patch: pytest.MonkeyPatch, change: Callable[[Words], Words]) -> None:
    """Another law of the words."""
    real = noise_module.philox4x32
    patch.setattr(noise_module, "philox4x32", lambda counter, key: change(real(counter, key)))


@mutant("cosine twice")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.Tensor, "sin_", torch.Tensor.cos_)


@mutant("one word for radius and angle")
def _(patch: pytest.MonkeyPatch) -> None:
    change_words(patch, lambda w: (w[0], w[0], w[2], w[2]))


@mutant("one pair twice")
def _(patch: pytest.MonkeyPatch) -> None:
    change_words(patch, lambda w: (w[0], w[1], w[0], w[1]))


@mutant("words of 8 bits")
def _(patch: pytest.MonkeyPatch) -> None:
    change_words(patch, lambda w: tuple((word >> 24) << 24 for word in w))


@mutant("radii half a per cent too large")
def _(patch: pytest.MonkeyPatch) -> None:
    change_words(patch, lambda w: (_power(w[0]), w[1], _power(w[2]), w[3]))


def _power(word: torch.Tensor) -> torch.Tensor:
    return ((word.double() / 2**32) ** 1.01 * 2**32).long()


@mutant("no sample in the counter")
def _(patch: pytest.MonkeyPatch) -> None:
    real = noise_module.philox4x32
    patch.setattr(
        noise_module, "philox4x32", lambda c, key: real((c[0], torch.zeros_like(c[1]) + c[1][:1], c[2], c[3]), key)
    )


@mutant("sample and block added")
def _(patch: pytest.MonkeyPatch) -> None:
    real = noise_module.philox4x32
    patch.setattr(
        noise_module, "philox4x32", lambda c, key: real((c[0] + c[1], torch.zeros_like(c[1]), c[2], c[3]), key)
    )


@mutant("five rounds of ten")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(noise_module, "range", lambda rounds: range(5), raising=False)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_fit_rejects_a_generator_that_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    MUTANTS[name](monkeypatch)
    assert max(departures(draw(32)).values()) > 1.2
