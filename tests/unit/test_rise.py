"""RISE against a loop over its masks, against the exact expectation over all masks, and where the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import RISE, explaining, rise
from tests.support.cases import collected

Array = np.ndarray


def bilinear(grid: Array, height: int, width: int) -> Array:
    """Pixel centers at halves, edges repeated, one pixel at a time."""

    def position(pixel: int, size: int, cells: int) -> tuple[int, int, float]:
        center = min(max((pixel + 0.5) * cells / size - 0.5, 0.0), cells - 1.0)
        low = int(center)
        return low, min(low + 1, cells - 1), center - low

    large = np.zeros((height, width))
    for row, column in itertools.product(range(height), range(width)):
        top, bottom, down = position(row, height, grid.shape[0])
        left, right, along = position(column, width, grid.shape[1])
        upper = (1 - along) * grid[top, left] + along * grid[top, right]
        lower = (1 - along) * grid[bottom, left] + along * grid[bottom, right]
        large[row, column] = (1 - down) * upper + down * lower
    return large


def cell_sides(size: tuple[int, int], grid: int) -> tuple[int, int]:
    return tuple(int(np.ceil(side / grid)) for side in size)


def drawn_masks(interpreter: RISE, size: tuple[int, int]) -> Array:
    """The masks of section 3.2 with the same draws: float64 [N, H, W]."""
    generator = torch.Generator().manual_seed(interpreter.seed)
    n, s = interpreter.n_masks, interpreter.grid
    grids = torch.rand(n, 1, s, s, generator=generator)[:, 0].numpy() < interpreter.keep
    cells = cell_sides(size, s)
    rows, columns = (torch.randint(side, (n,), generator=generator).tolist() for side in cells)
    large = [bilinear(grid, (s + 1) * cells[0], (s + 1) * cells[1]) for grid in grids.astype(float)]
    return np.stack([m[r : r + size[0], c : c + size[1]] for m, r, c in zip(large, rows, columns)])


def score(logits: Array, activation: str | None, target: int) -> float:
    if activation is None:
        return float(logits[target])
    if activation == "sigmoid":
        return float(1 / (1 + np.exp(-logits[target])))
    return float(np.exp(logits[target]) / np.exp(logits).sum())


@pytest.fixture
def tiny(tiny) -> nn.Module:
    """The small network with larger answers: masks change its logits by about one."""
    with torch.no_grad():
        tiny.head.weight.mul_(100)
    return tiny


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_the_map_is_equation_6_up_to_its_mean_and_norm(tiny, activation) -> None:
    interpreter = RISE(n_masks=13, grid=3, keep=0.4, activation=activation, seed=5)
    copies = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0)) - 0.1
    with explaining(tiny):
        found = interpreter.attribute(tiny, copies, 2)
    masks = drawn_masks(interpreter, (16, 24))
    assert ((masks >= 0) & (masks <= 1)).all() and 0.2 < masks.mean() < 0.6
    for copy, maps, logits in zip(copies, found.maps, found.logits):
        scores = []
        for mask in masks:
            with torch.no_grad():
                masked = torch.from_numpy(mask * copy.numpy()).float()
                scores.append(score(tiny(masked[None])[0].double().numpy(), activation, 2))
        equation_6 = sum(s * m for s, m in zip(scores, masks)) / (len(masks) * interpreter.keep)
        ours = (maps[0].double().numpy() + np.mean(scores)) * masks.mean(axis=0) / interpreter.keep
        np.testing.assert_allclose(ours, equation_6, rtol=1e-5, atol=1e-6)
        assert maps.std() > 1e-3
        torch.testing.assert_close(logits, tiny(copy[None])[0].detach())


class Product(nn.Module):
    """A score in which pixels act together: no sum over pixels."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image.flatten(1)
        return torch.stack([pixels[:, 0] * pixels[:, 5] + pixels[:, 6] ** 2 - pixels[:, 15], pixels.sum(dim=1)], dim=1)


@pytest.mark.parametrize("keep", [0.5, 0.25])
def test_many_masks_reach_the_exact_expectation(keep) -> None:
    """Grid 2 on 4 x 4 pixels: 16 grids and 4 crops are all there is."""
    image = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    masks, probability = [], []
    for bits in itertools.product([0, 1], repeat=4):
        large = bilinear(np.array(bits, dtype=float).reshape(2, 2), 6, 6)
        for row, column in itertools.product(range(2), range(2)):
            masks.append(large[row : row + 4, column : column + 4])
            probability.append(keep ** sum(bits) * (1 - keep) ** (4 - sum(bits)) / 4)
    weights, mask = np.array(probability)[:, None, None], np.stack(masks)
    assert weights.sum() == pytest.approx(1) and np.allclose((weights * mask).sum(axis=0), keep)
    f = Product()(torch.from_numpy(mask).float()[:, None] * image).double().numpy()[:, :1, None]
    kept_mean, mean = (weights * f * mask).sum(axis=0) / keep, (weights * f).sum()
    # The estimate is a ratio of means: its standard deviation is that of the linear part, by the delta method.
    linear = (f - kept_mean) * mask / keep - (f - mean)
    deviation = np.sqrt((weights * linear**2).sum(axis=0))
    n_masks = 20_000
    found = RISE(n_masks, grid=2, keep=keep).attribute(Product(), image, 0).maps[0, 0].double().numpy()
    # 5 standard errors at each of 16 pixels: a right estimate fails once in 100,000 seeds; the seed is fixed.
    errors = np.abs(found - (kept_mean - mean)) / (deviation / np.sqrt(n_masks))
    assert errors.max() < 5
    assert np.abs(kept_mean - mean).max() > 20 * deviation.max() / np.sqrt(n_masks)


class Square(nn.Module):
    """Finds brightness in rows 8 to 15 and columns 16 to 23, and dislikes it in rows 24 to 31, columns 0 to 7."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = 8 * image[:, 0, 8:16, 16:24].mean(dim=(1, 2)) - 3 - 4 * image[:, 0, 24:32, :8].mean(dim=(1, 2))
        return torch.stack([-found, found], dim=1)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_the_map_peaks_where_the_classifier_looks(activation) -> None:
    image = torch.full((1, 1, 32, 32), 0.7)
    maps = RISE(2000, grid=4, activation=activation).attribute(Square(), image, 1).maps[0, 0]
    cells = maps.unfold(0, 8, 8).unfold(1, 8, 8).mean(dim=(2, 3))
    assert divmod(int(maps.argmax()), 32)[0] in range(8, 16) and divmod(int(maps.argmax()), 32)[1] in range(16, 24)
    assert int(cells.argmax()) == 1 * 4 + 2 and int(cells.argmin()) == 3 * 4
    assert cells.max() > 0 > cells.min()


def test_the_votes_are_where_the_classifier_looks() -> None:
    interpreter = RISE(200, grid=4)
    inferer = CertifiedSaliencyInferer(
        interpreter=interpreter, sigma=0.1, n_samples=32, top_k=1, cell_size=8, target=1, beta="1"
    )
    image = torch.full((1, 32, 32), 0.7)
    image[:, ::2] = 0.6
    result = inferer.certify(image, Square())
    votes, certificate = result.votes, result.certificate
    assert votes.counts[1, 2] == 32 and certificate.l_max > 0
    assert certificate.spec.interpreter_settings == interpreter.settings


class Blind(nn.Module):
    """Never looks at the image, and rounds otherwise in batches of other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1024, 3)
        self.features = nn.Parameter(torch.randn(1024))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features.expand(len(image), -1) + 0 * image.mean(dim=(1, 2, 3))[:, None])


def test_a_classifier_that_ignores_the_image_has_a_map_of_zeros() -> None:
    with collected() as case:
        for activation, copies in itertools.product([None, "softmax", "sigmoid"], [1, 3, 16, 40]):
            with case(activation, copies):
                torch.manual_seed(0)
                network = Blind()
                interpreter = RISE(50, activation=activation)
                with explaining(network):
                    maps = interpreter.attribute(network, torch.rand(copies, 1, 32, 32), 1).maps
                assert (maps == 0).all()


def test_with_the_factor_1_over_n_p_it_would_be_the_pattern_of_the_masks() -> None:
    """No noise changes that pattern: a certificate of it would be the best of all, and about nothing."""
    assert drawn_masks(RISE(50), (32, 32)).mean(axis=0).std() > 0.03


def test_nothing_is_certified_for_a_classifier_that_ignores_the_image(image) -> None:
    torch.manual_seed(0)
    inferer = CertifiedSaliencyInferer(
        interpreter=RISE(20, grid=4), sigma=0.1, n_samples=100, top_k=10, cell_size=4, target=1
    )
    result = inferer.certify(image, Blind())
    votes, certificate = result.votes, result.certificate
    assert votes.constant_copies == 100 and certificate.l_max == 0


def test_an_offset_of_the_logit_changes_nothing(tiny, image) -> None:
    with explaining(tiny):
        before = RISE(40).attribute(tiny, image[None], 0).maps
        tiny.head.bias.add_(100.0)
        after = RISE(40).attribute(tiny, image[None], 0).maps
    # 100 leaves float32 logits about five digits behind the point.
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert before.std() > 1e-3


@pytest.mark.parametrize(("copies", "rows", "sizes"), [(1, 32, {1, 32, 8}), (5, 32, {5, 30, 20}), (40, 32, {40})])
def test_a_forward_pass_holds_a_chunk_of_masks(tiny, copies, rows, sizes) -> None:
    seen = []
    tiny.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    steps = []
    with explaining(tiny):
        RISE(40).attribute(tiny, torch.rand(copies, 1, 32, 32), 0, steps.append)
    assert set(seen) == sizes and max(seen) <= max(copies, rows) and sum(seen) == 41 * copies
    assert sum(steps) == RISE(40).n_steps == 40


def test_the_map_does_not_depend_on_the_chunk(tiny, monkeypatch) -> None:
    copies = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    with explaining(tiny):
        expected = RISE(50).attribute(tiny, copies, 1).maps
        for rows in (1, 7, 1000):
            monkeypatch.setattr(rise, "ROWS", rows)
            maps = RISE(50).attribute(tiny, copies, 1).maps
            torch.testing.assert_close(maps, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_another_seed_gives_another_map_about_the_same_mean(tiny, image) -> None:
    with explaining(tiny):
        maps = [RISE(400, grid=4, seed=seed).attribute(tiny, image[None], 1).maps.flatten() for seed in (0, 1)]
    assert not torch.equal(*maps)
    assert torch.corrcoef(torch.stack(maps))[0, 1] > 0.8


def test_no_graph_is_built(tiny, image) -> None:
    seen = []
    tiny.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    maps = RISE(3, keep=0.9).attribute(tiny, image[None].requires_grad_(), 1).maps  # the weights have gradients here
    assert not maps.requires_grad and seen and not any(seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_masks": 0}, "n_masks is 0"),
        ({"grid": 1}, "grid is 1"),
        ({"keep": 0.0}, r"keep is 0\.0"),
        ({"keep": 1.0}, r"keep is 1\.0"),
        ({"keep": float("nan")}, "keep is nan"),
        ({"activation": "relu"}, "activation is 'relu'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        RISE(**arguments)


def test_pixels_that_no_mask_keeps_are_refused(tiny, image) -> None:
    with explaining(tiny), pytest.raises(ValueError, match=r"pixels are kept by none of the 2 masks.*more masks"):
        RISE(2, keep=0.05).attribute(tiny, image[None], 0)


def test_the_softmax_of_one_logit_is_refused(image) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 1))
    with pytest.raises(ValueError, match=r"one logit.*'sigmoid'"):
        RISE(10, activation="softmax").attribute(network, image[None], 0)
    assert RISE(10, activation="sigmoid").attribute(network, image[None], 0).maps.std() > 0
