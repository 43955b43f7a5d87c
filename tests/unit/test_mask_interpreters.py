"""The optimized masks: their parts against other libraries and formulas, and what they find in planted images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import expit, rel_entr, softmax
from torch import nn

from monai_robustinterp.interpreters import (
    ExtremalPerturbation,
    MeaningfulPerturbation,
    RobustPerturbation,
    explaining,
)
from monai_robustinterp.interpreters import meaningful_perturbation as meaningful
from monai_robustinterp.interpreters import robust_perturbation as robust
from monai_robustinterp.interpreters.mask_optimization import MaskInterpreter
from monai_robustinterp.interpreters.reference_image import gaussian_blur, median_blur, through_levels, toward
from monai_robustinterp.interpreters.smooth_maximum import SmoothMaximum
from tests.support.cases import collected

METHODS = {cls.name: cls for cls in (MeaningfulPerturbation, ExtremalPerturbation, RobustPerturbation)}
A, B, SHARED = (slice(4, 14), slice(2, 12)), (slice(4, 14), slice(20, 30)), (slice(20, 30), slice(11, 21))
SIDE = 32


def noisy(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Textures(nn.Module):
    """Independent findings: each is the roughness in its squares, near probability 1 where they are rough."""

    def __init__(self, image: torch.Tensor, findings: list[list[tuple[slice, slice]]]) -> None:
        super().__init__()
        where = torch.zeros(len(findings), *image.shape[-2:])
        for weight, squares in zip(where, findings):
            for square in squares:
                weight[square] = 1
        self.register_buffer("where", where)
        self.register_buffer("full", self.roughness(image)[0])

    def roughness(self, image: torch.Tensor) -> torch.Tensor:
        across = nn.functional.pad(image.diff(dim=3), (0, 1)).abs()
        down = nn.functional.pad(image.diff(dim=2), (0, 0, 0, 1)).abs()
        return ((across + down) * self.where).mean(dim=(2, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 8 * self.roughness(image) / self.full - 4


def planted(*squares: tuple[slice, slice]) -> torch.Tensor:
    """Gray with rough squares, [1, 1, 32, 32]."""
    image = torch.full((1, 1, SIDE, SIDE), 0.5)
    for square in squares:
        image[0, 0][square] = noisy(10, 10).round()
    return image


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> type[MaskInterpreter]:
    return METHODS[request.param]


class TestReferenceImage:
    @pytest.mark.parametrize(("sigma", "radius"), [(5.0, 5), (2.5, 2), (0.8, 1), (3.3, None)])
    def test_gaussian_blur_is_scipys(self, sigma, radius) -> None:
        images = noisy(2, 3, 40, 31)
        reach = 4.0 if radius is None else radius / sigma
        expected = ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=reach)
        np.testing.assert_allclose(gaussian_blur(images, sigma, radius=radius).numpy(), expected, atol=1e-6)

    @pytest.mark.parametrize("radius", [1, 2, 5])
    def test_median_blur_is_scipys(self, radius) -> None:
        images = noisy(2, 3, 40, 31)
        size = 2 * radius + 1
        expected = ndimage.median_filter(images.numpy(), (1, 1, size, size), mode="nearest")
        assert np.array_equal(median_blur(images, radius).numpy(), expected)

    @pytest.mark.parametrize(("side", "sigma", "radius"), [(300, 5.0, 5), (120, 2.0, 2), (32, 32 / 60, 1)])
    def test_the_papers_eleven_pixels_of_three_hundred_keep_their_share(self, side, sigma, radius) -> None:
        image = noisy(1, 1, side, side + 7).numpy()
        gaussian = ndimage.gaussian_filter(image, (0, 0, sigma, sigma), mode="mirror", truncate=radius / sigma)
        median = ndimage.median_filter(image, (1, 1, 2 * radius + 1, 2 * radius + 1), mode="nearest")
        found = RobustPerturbation().blend(torch.from_numpy(image))(torch.zeros(1, 1, side, side + 7))
        np.testing.assert_allclose(found.numpy(), (gaussian + median) / 2, atol=1e-6)

    def test_levels_are_linear_between_neighbors(self) -> None:
        levels = noisy(5, 2, 3, 6, 7)
        masks = noisy(2, 1, 6, 7, seed=4)
        masks[0, 0, 0, :3] = torch.tensor([0.0, 1.0, 0.25])
        expected = np.empty((2, 3, 6, 7))
        for copy, channel, row, column in np.ndindex(*expected.shape):
            along = levels[:, copy, channel, row, column].numpy()
            expected[copy, channel, row, column] = np.interp(4 * masks[copy, 0, row, column], range(5), along)
        np.testing.assert_allclose(through_levels(levels)(masks).numpy(), expected, atol=1e-6)

    def test_masks_that_round_off_pushed_outside_are_no_error(self) -> None:
        levels = noisy(3, 1, 1, 1, 2)
        found = through_levels(levels)(torch.tensor([-1e-7, 1 + 1e-7]).reshape(1, 1, 1, 2))
        torch.testing.assert_close(found[0, 0, 0], torch.stack([levels[0, ..., 0], levels[2, ..., 1]]).flatten())

    def test_the_levels_slope_is_their_difference(self) -> None:
        masks = noisy(2, 1, 4, 4).double().requires_grad_()
        assert torch.autograd.gradcheck(through_levels(noisy(4, 2, 1, 4, 4).double()), masks)

    @pytest.mark.parametrize("reference", ["blur", "mean"])
    def test_a_mask_of_ones_keeps_the_image_and_one_of_zeros_its_reference(self, method, reference) -> None:
        images = noisy(3, 2, 20, 24)
        blend = method(reference=reference).blend(images)
        kept, gone = (blend(torch.full((3, 1, 20, 24), value)) for value in (1.0, 0.0))
        torch.testing.assert_close(kept, images, atol=1e-6, rtol=0)
        if reference == "mean":
            torch.testing.assert_close(gone, images.mean(dim=(2, 3), keepdim=True).expand_as(images))
        else:
            assert gone.std() < 0.9 * images.std()
            assert torch.allclose(gone.mean(dim=(2, 3)), images.mean(dim=(2, 3)), atol=0.05)


class TestSmoothMaximum:
    def brute(self, values: np.ndarray, step: int, sigma: float) -> np.ndarray:
        """Each pixel over all grid points: those beyond the window are too far to count for a sigma this small."""
        reach = int(np.ceil(sigma / step))
        height, width = (n * step for n in values.shape)
        centers = [[step * i + (step - 1) / 2 for i in range(-9, n + 9)] for n in values.shape]
        padded = np.pad(values, 9)
        result = np.empty((height + 2 * reach * step, width + 2 * reach * step))
        for row, column in np.ndindex(*result.shape):
            y, x = row - reach * step, column - reach * step
            near = []
            for (i, center_y), (j, center_x) in itertools.product(*(list(enumerate(c)) for c in centers)):
                cells = abs(i - 9 - y // step), abs(j - 9 - x // step)
                if max(cells) <= reach + 1:
                    distance = np.hypot(y - center_y, x - center_x) / sigma
                    near.append(padded[i, j] * np.exp(-2 * max(distance - 0.5, 0) ** 2))
            result[row, column] = np.dot(near, softmax(20 * np.array(near)))
        return result

    @pytest.mark.parametrize(("step", "sigma"), [(1, 1.7), (3, 4.0), (2, 4.5)])
    def test_it_is_the_formula(self, step, sigma) -> None:
        values = noisy(2, 1, 5, 4)
        smooth = SmoothMaximum(step, sigma, device=values.device)
        expected = np.stack([self.brute(one[0].numpy().astype(float), step, sigma) for one in values])
        np.testing.assert_allclose(smooth(values)[:, 0].numpy(), expected, atol=2e-5)
        assert smooth.margin >= sigma

    def test_its_gradient_is_right(self) -> None:
        smooth = SmoothMaximum(2, 2.0, device=torch.device("cpu"))
        smooth.weights = smooth.weights.double()
        assert torch.autograd.gradcheck(smooth, noisy(1, 1, 2, 3).double().requires_grad_())

    def test_one_point_makes_a_round_spot(self) -> None:
        values = torch.zeros(1, 1, 9, 9)
        values[0, 0, 4, 4] = 1
        spot = SmoothMaximum(3, 6.0, device=values.device)(values)[0, 0]
        assert torch.allclose(spot, spot.T) and torch.allclose(spot, spot.flip(0), atol=1e-6)
        # Of 81 points in its window one counts; e^20 of it is all but the whole sum.
        assert float(spot.max()) == pytest.approx(1) and spot[19, 19] > 0.999 > 0.1 > spot[19, 19 + 9]


class TestMeaningfulParts:
    def test_the_mask_is_the_grid_interpolated_and_blurred(self) -> None:
        image = noisy(2, 1, 60, 90)
        problem = MeaningfulPerturbation().problem(image, torch.zeros(2, 2), 0)
        assert problem.parameters.shape == (2, 1, 28, 42)
        with torch.no_grad():
            problem.parameters.copy_(noisy(2, 1, 28, 42, seed=5))
            found = problem.masks()
        linear = nn.functional.interpolate(problem.parameters.detach(), size=(60, 90), mode="bilinear")
        sigma = 5 * 60 / 224
        expected = ndimage.gaussian_filter(linear.numpy(), (0, 0, sigma, sigma), mode="mirror")
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
        torch.testing.assert_close(problem.importance(), 1 - found, atol=1e-6, rtol=0)

    def test_cubed_gradient_of_one_cell(self) -> None:
        masks = torch.zeros(2, 1, 6, 7)
        masks[1, 0, 2, 3] = 1
        # Itself has both differences, the cell above and the one on the left have one.
        assert meaningful.cubed_gradient(masks).tolist() == pytest.approx([0, 2**1.5 + 2])

    def test_cubed_gradient_has_a_gradient_on_a_flat_mask(self) -> None:
        flat = torch.ones(1, 1, 4, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(meaningful.cubed_gradient(flat).sum(), flat)
        assert torch.equal(gradient, torch.zeros_like(flat))

    @pytest.mark.parametrize("shift", [[0, 0], [2, -1], [-2, 2]])
    def test_moved_repeats_the_border(self, shift) -> None:
        images = noisy(2, 1, 6, 7)
        padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
        expected = padded[..., 3 - shift[0] : 9 - shift[0], 3 - shift[1] : 10 - shift[1]]
        assert np.array_equal(meaningful.moved(images, shift).numpy(), expected)

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_the_loss_is_the_formula(self, tiny, activation) -> None:
        """At 32 pixels the jitter of four in 224 is less than one."""
        image = noisy(2, 1, SIDE, SIDE)
        problem = MeaningfulPerturbation(activation=activation, sparsity=0.3, smoothness=0.7).problem(
            image, tiny(image).detach(), 1
        )
        grid = noisy(2, 1, 28, 28, seed=5)
        with torch.no_grad():
            problem.parameters.copy_(grid)
            (found,) = problem.losses(tiny)
            mixed = tiny(problem.masks() * image + (1 - problem.masks()) * gaussian_blur(image, 10 * 32 / 224)).numpy()
        score = (softmax(mixed, axis=1) if activation == "softmax" else expit(mixed))[:, 1]
        a = grid[:, 0].numpy().astype(float)
        down, across = np.zeros_like(a), np.zeros_like(a)
        down[:, :-1], across[:, :, :-1] = np.diff(a, axis=1), np.diff(a, axis=2)
        rough = ((down**2 + across**2) ** 1.5).sum(axis=(1, 2))
        expected = score + 0.3 * np.abs(1 - a).sum(axis=(1, 2)) + 0.7 * rough
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5)

    def test_the_jitter_moves_image_and_reference_together(self) -> None:
        seen = []

        def network(images: torch.Tensor) -> torch.Tensor:
            seen.append(images.detach().clone())
            return images.mean(dim=(2, 3))

        image = noisy(1, 1, 224, 224)
        method = MeaningfulPerturbation(activation="sigmoid")
        reference = method.blend(image)(torch.zeros(1, 1, 224, 224))
        shifts = []
        for value, picture in ((1.0, image), (0.0, reference)):
            problem = method.problem(image, torch.zeros(1, 1), 0)
            with torch.no_grad():
                problem.parameters.fill_(value)
            seen.clear()
            for _ in range(12):
                list(problem.losses(network))
            candidates = {(i, j): meaningful.moved(picture, [i, j]) for i in range(-2, 3) for j in range(-2, 3)}
            shifts.append(
                [[at for at, moved in candidates.items() if torch.allclose(moved, x, atol=1e-5)] for x in seen]
            )
        assert shifts[0] == shifts[1] and all(len(found) == 1 for found in shifts[0])
        assert len({found[0] for found in shifts[0]}) > 6
        assert max(abs(number) for found in shifts[0] for number in found[0]) == 2


class TestExtremalParts:
    @pytest.mark.parametrize("variant", ["preserve", "delete"])
    def test_the_loss_is_the_formula(self, tiny, variant) -> None:
        image = noisy(2, 1, SIDE, SIDE)
        problem = ExtremalPerturbation(area=0.2, variant=variant).problem(image, tiny(image).detach(), 1)
        values = noisy(*problem.parameters.shape, seed=5)
        smooth = SmoothMaximum(1, 3.0, device=image.device)
        with torch.no_grad():
            problem.parameters.copy_(values)
            losses = [sum(problem.losses(tiny)) for _ in range(2)]
            region = smooth(values)
            inside = region[..., 3:-3, 3:-3]
            assert torch.equal(problem.importance(), inside)
            blurs = [gaussian_blur(image, 20 * SIDE / 224 * (1 - i / 7)) for i in range(7)]
            kept = inside if variant == "preserve" else 1 - inside
            logit = tiny(through_levels(torch.stack([*blurs, image]))(kept))[:, 1].numpy()
        ordered = np.sort(region.flatten(1).numpy().astype(float), axis=1)
        template = np.zeros(38 * 38)
        template[38 * 38 - round(0.2 * SIDE * SIDE) :] = 1
        misfit = ((ordered - template) ** 2).mean(axis=1)
        sign = -1 if variant == "preserve" else 1
        for number, loss in enumerate(losses):
            np.testing.assert_allclose(loss.numpy(), 300 * 1.0035**number * misfit + sign * logit, rtol=1e-5)

    def test_grid_and_smoothing_are_the_papers_at_its_size(self) -> None:
        image = noisy(1, 1, 224, 224)
        problem = ExtremalPerturbation().problem(image, torch.zeros(1, 2), 0)
        assert problem.parameters.shape == (1, 1, 32, 32) and problem.smooth.step == 7 and problem.smooth.margin == 21
        assert problem.wanted == round(0.1 * 224 * 224)


class TestRobustParts:
    def test_total_variation_closed_forms(self) -> None:
        checkered = (torch.arange(8)[:, None] + torch.arange(10)[None, :]) % 2
        half = (torch.arange(10) >= 5).expand(8, 10)
        masks = torch.stack([checkered.float(), half.float(), torch.ones(8, 10)])[:, None]
        assert robust.total_variation(masks).tolist() == pytest.approx([2, 1 / 9, 0])

    def test_the_same_slope_on_a_finer_grid_has_the_same_loss(self) -> None:
        losses = []
        for side in (64, 128, 300):
            image = noisy(1, 1, side, side)
            problem = RobustPerturbation(sparsity=0).problem(image, torch.zeros(1, 2), 0)
            with torch.no_grad():
                problem.parameters.copy_(torch.linspace(0, 1, side).expand(1, 1, side, side))
                losses.append(float(list(problem.losses(lambda x: x.mean(dim=(2, 3)).expand(-1, 2)))[2]))
        assert losses == pytest.approx([20 / 300**2] * 3, rel=0.04)

    def test_bernoulli_divergence_is_scipys(self) -> None:
        p, q = noisy(4, 5), noisy(4, 5, seed=4)
        expected = rel_entr(p.numpy(), q.numpy()) + rel_entr(1 - p.numpy(), 1 - q.numpy())
        np.testing.assert_allclose(robust.divergences(p, q, "kl").numpy(), expected, rtol=1e-3, atol=1e-6)

    def test_bernoulli_divergence_is_finite_at_the_ends(self) -> None:
        p, q = torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0, 1.0]])
        found = robust.divergences(p, q, "kl")
        assert torch.isfinite(found).all() and found[0, :2].min() > 15 and found[0, 2:].abs().max() < 1e-6

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    @pytest.mark.parametrize("divergence", ["bounded-log", "kl"])
    def test_the_loss_is_the_formula(self, tiny, activation, divergence) -> None:
        image, m = noisy(2, 1, SIDE, SIDE), noisy(2, 1, SIDE, SIDE, seed=5)
        method = RobustPerturbation(
            activation=activation, divergence=divergence, noise=0, reference="mean", sparsity=3, smoothness=11
        )
        with torch.no_grad():
            problem = method.problem(image, tiny(image), 1)
            problem.parameters.copy_(m)
            found = sum(problem.losses(tiny))
            gray = image.mean(dim=(2, 3), keepdim=True)
            outputs = [
                tiny(x).double().numpy() for x in (image, m * image + (1 - m) * gray, (1 - m) * image + m * gray)
            ]
        original, pt, rpt = (softmax(z, axis=1) if activation == "softmax" else expit(z) for z in outputs)
        others = [0, 2]

        def distance(p: np.ndarray, q: np.ndarray) -> np.ndarray:
            if divergence == "bounded-log":
                return np.log2(np.abs(p - q) + 1)
            return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))

        present = np.log2(rpt + 1) if divergence == "bounded-log" else rpt
        mask = m[:, 0].double().numpy()
        steps = (np.diff(mask, axis=1) ** 2).mean(axis=(1, 2)) + (np.diff(mask, axis=2) ** 2).mean(axis=(1, 2))
        expected = (
            -distance(original, pt)[:, 1]
            + distance(original, pt)[:, others].mean(axis=1)
            + distance(original, rpt)[:, 1]
            + present[:, others].mean(axis=1)
            + 3 * np.abs(1 - mask).mean(axis=(1, 2))
            + 11 * (SIDE / 300) ** 2 * steps
        )
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)

    def test_with_two_exclusive_classes_the_first_two_terms_cancel(self, dense) -> None:
        image = noisy(2, 1, SIDE, SIDE)
        with torch.no_grad():
            problem = RobustPerturbation().problem(image, dense(image), 1)
            first, second, _ = problem.losses(dense)
        assert first.abs().max() < 1e-6 < second.min()

    def test_noise_is_fresh_for_each_image_and_step_and_the_same_for_every_copy(self) -> None:
        seen = []

        def network(images: torch.Tensor) -> torch.Tensor:
            seen.append(images.detach().clone())
            return images.mean(dim=(2, 3)).expand(-1, 2)

        image = noisy(1, 1, SIDE, SIDE).expand(3, -1, -1, -1)
        for seed in (0, 0, 1):
            problem = RobustPerturbation(noise=0.045, reference="mean", seed=seed).problem(image, torch.zeros(3, 2), 0)
            for _ in range(2):
                list(problem.losses(network))
        gray = image.mean(dim=(2, 3), keepdim=True)
        noise = [x - (gray if i % 2 == 0 else image) for i, x in enumerate(seen)]
        assert all(torch.allclose(one, one[:1].expand_as(one), atol=1e-6) for one in noise)
        assert all(0.04 < float(one[0].std()) < 0.05 for one in noise)
        assert all(torch.equal(*pair) for pair in zip(seen[:4], seen[4:8]))
        distinct = noise[:4] + noise[8:]
        assert all(not torch.allclose(a, b, atol=0.01) for a, b in itertools.combinations(distinct, 2))


SETTINGS = {"meaningful_perturbation": {}, "extremal_perturbation": {}, "robust_perturbation": {"sparsity": 2.0}}


class TestPlantedRegions:
    """Class 0 looks at a square on the left, class 1 at one on the right: the mask for one must leave the other."""

    @pytest.fixture
    def image(self) -> torch.Tensor:
        return planted(A, B)

    @pytest.mark.parametrize("reference", ["blur", "mean"])
    @pytest.mark.parametrize("target", [0, 1])
    def test_robust_removes_the_targets_square_and_leaves_the_other(self, image, target, reference) -> None:
        network = Textures(image, [[A], [B]])
        method = RobustPerturbation(activation="sigmoid", reference=reference, sparsity=2)
        with explaining(network):
            run = method.optimize(network, image, target, snapshots=(150,))
        removed = run.attribution.maps[0, 0]
        own, other = ((A, B), (B, A))[target]
        outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
        outside[own[0].start - 1 : own[0].stop + 1, own[1].start - 1 : own[1].stop + 1] = False
        assert removed[own].mean() > 0.4 and removed[other].mean() < 0.05 and removed[outside].mean() < 0.02
        (last,) = run.snapshots
        before, after, back = (torch.sigmoid(z)[0] for z in (run.attribution.logits, last.perturbed, last.reversed))
        assert before.min() > 0.95
        assert after[target] < 0.5 and abs(after[1 - target] - before[1 - target]) < 0.02
        assert back[target] > 0.8 and back[1 - target] < (0.2 if reference == "mean" else 0.8)

    def test_kl_finds_the_same_square(self, image) -> None:
        network = Textures(image, [[A], [B]])
        method = RobustPerturbation(activation="sigmoid", reference="mean", divergence="kl", sparsity=2)
        with explaining(network):
            removed = method.attribute(network, image, 0).maps[0, 0]
        assert removed[A].mean() > 0.4 and removed[B].mean() < 0.05

    @pytest.mark.parametrize(
        ("variant", "reference", "area"),
        [("preserve", "blur", 0.1), ("delete", "mean", 0.1), ("preserve", "mean", 0.3)],
    )
    def test_extremal_finds_the_square_and_has_the_wanted_area(self, image, variant, reference, area) -> None:
        network = Textures(image, [[A], [B]])
        method = ExtremalPerturbation(area=area, variant=variant, reference=reference, iterations=400)
        with explaining(network):
            region = method.attribute(network, image, 0).maps[0, 0] > 0.5
        assert float(region.float().mean()) == pytest.approx(area, rel=0.25)
        assert region[A].float().mean() > 0.8 and (area > 0.1 or overlap(region, A) > 0.6)

    def test_meaningful_finds_the_square(self, image) -> None:
        network = Textures(image, [[A], [B]])
        method = MeaningfulPerturbation(activation="sigmoid", sparsity=2e-3)
        with explaining(network):
            removed = method.attribute(network, image, 0).maps[0, 0]
        assert overlap(removed > 0.5 * removed.max(), A) > 0.5

    def test_robust_distorts_the_other_class_less_than_meaningful(self) -> None:
        """The classes share a square. Without it class 0 falls further, and class 1 falls too: class distortion."""
        image = planted(A, B, SHARED)
        network = Textures(image, [[A, SHARED], [B, SHARED]])
        changes = {}
        for method in (
            RobustPerturbation(activation="sigmoid", reference="mean", sparsity=1),
            MeaningfulPerturbation(activation="sigmoid", reference="mean"),
        ):
            with explaining(network):
                run = method.optimize(network, image, 0, snapshots=(method.iterations,))
            pt = torch.sigmoid(run.snapshots[0].perturbed) - torch.sigmoid(run.attribution.logits)
            changes[method.name] = pt[0].tolist()
        assert all(change[0] < -0.3 for change in changes.values())
        assert abs(changes["robust_perturbation"][1]) < 0.1 < 0.3 < abs(changes["meaningful_perturbation"][1])


def overlap(found: torch.Tensor, square: tuple[slice, slice]) -> float:
    """Intersection over union."""
    planted_ = torch.zeros_like(found)
    planted_[square] = True
    return float((found & planted_).sum() / (found | planted_).sum())


class TestRun:
    def test_snapshots_go_from_the_initial_mask_to_the_result(self, method, tiny) -> None:
        images = noisy(2, 1, SIDE, SIDE)
        interpreter = method(iterations=4)
        with explaining(tiny):
            run = interpreter.optimize(tiny, images, 1, snapshots=(4, 0, 2))
            logits = tiny(images)
        assert [snapshot.iteration for snapshot in run.snapshots] == [0, 2, 4]
        first, last = run.snapshots[0], run.snapshots[-1]
        blend = interpreter.blend(images)
        for snapshot in run.snapshots:
            assert snapshot.masks.shape == (2, 1, SIDE, SIDE) and snapshot.perturbed.shape == (2, 3)
            assert float(snapshot.masks.min()) >= 0 and float(snapshot.masks.max()) <= 1
            assert not any(x.requires_grad for x in (snapshot.masks, snapshot.perturbed, snapshot.reversed))
            torch.testing.assert_close(snapshot.perturbed, tiny(blend(snapshot.masks)))
            torch.testing.assert_close(snapshot.reversed, tiny(blend(1 - snapshot.masks)))
        assert not torch.equal(first.masks, last.masks)
        kept = last.masks if method is ExtremalPerturbation else 1 - last.masks
        torch.testing.assert_close(run.attribution.maps, kept, atol=1e-6, rtol=0)
        if method is RobustPerturbation:
            assert torch.equal(first.masks, torch.zeros_like(first.masks))
            torch.testing.assert_close(first.reversed, logits)
        if method is MeaningfulPerturbation:
            assert torch.equal(first.masks, torch.ones_like(first.masks))
            torch.testing.assert_close(first.perturbed, logits)

    def test_extremal_deletion_keeps_what_it_does_not_delete(self, tiny) -> None:
        with explaining(tiny):
            run = ExtremalPerturbation(variant="delete", iterations=3).optimize(
                tiny, noisy(1, 1, SIDE, SIDE), 1, snapshots=(3,)
            )
        torch.testing.assert_close(run.attribution.maps, 1 - run.snapshots[0].masks, atol=1e-6, rtol=0)

    def test_snapshots_change_nothing(self, method, tiny) -> None:
        images = noisy(2, 1, SIDE, SIDE)
        with explaining(tiny):
            plain = method(iterations=5).attribute(tiny, images, 1)
            watched = method(iterations=5).optimize(tiny, images, 1, snapshots=range(6)).attribution
        assert torch.equal(plain.maps, watched.maps) and torch.equal(plain.logits, watched.logits)

    def test_a_snapshot_outside_is_refused(self, method, tiny) -> None:
        with collected() as case:
            for wrong in [-1, 4, 1.5]:
                rule = f"snapshot at iteration {wrong} was asked for.*to 3"
                with case(wrong), explaining(tiny), pytest.raises(ValueError, match=rule):
                    method(iterations=3).optimize(tiny, noisy(1, 1, SIDE, SIDE), 1, snapshots=(0, wrong))

    def test_progress_is_told_each_step(self, method, tiny) -> None:
        steps: list[int] = []
        with explaining(tiny):
            method(iterations=3).attribute(tiny, noisy(1, 1, SIDE, SIDE), 1, steps.append)
        assert steps == [1, 1, 1] and method(iterations=3).n_steps == 3

    def test_the_other_copies_of_a_batch_do_not_matter(self, method, dense) -> None:
        """Exactly, at the same batch size; between batch sizes up to round-off."""
        images, others = noisy(3, 1, SIDE, SIDE), noisy(3, 1, SIDE, SIDE, seed=9)
        others[1] = images[1]
        interpreter = method(iterations=12)
        with explaining(dense):
            first, second = (interpreter.attribute(dense, x, 0).maps[1] for x in (images, others))
            alone = interpreter.attribute(dense, images[1:2], 0).maps[0]
        assert torch.equal(first, second)
        torch.testing.assert_close(alone, first, atol=1e-4, rtol=0)

    def test_equal_copies_have_equal_maps(self, method, dense) -> None:
        images = noisy(1, 1, SIDE, SIDE).repeat(3, 1, 1, 1)
        with explaining(dense):
            maps = method(iterations=6).attribute(dense, images, 0).maps
        torch.testing.assert_close(maps, maps[:1].expand_as(maps), atol=1e-5, rtol=0)

    def test_the_seed_is_that_of_the_draws(self, dense) -> None:
        image = noisy(1, 1, 128, 128)
        for method in (RobustPerturbation, MeaningfulPerturbation):
            with explaining(dense):
                maps = [method(iterations=4, seed=seed).attribute(dense, image, 0).maps for seed in (0, 0, 1)]
            assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[0], maps[2])

    def test_a_network_that_ignores_the_image_has_no_pattern(self, method) -> None:
        """A pattern that follows from the method alone would be the same in every copy, and certified."""

        class Deaf(nn.Module):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return torch.relu(image.mean(dim=(2, 3)) - 9).expand(-1, 2) + torch.tensor([1.0, -1.0])

        with explaining(Deaf()):
            maps = method(iterations=30).attribute(Deaf(), noisy(2, 1, SIDE, 40), 0).maps
        assert all(float(one.max()) == float(one.min()) for one in maps)

    def test_a_network_that_fails_on_masked_images_is_refused(self, method, tiny) -> None:
        class Fragile(nn.Module):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                self.passes = getattr(self, "passes", 0) + 1
                return tiny(image) * (float("nan") if self.passes > 3 else 1)

        with pytest.raises(ValueError, match=r"gradient of a masked image is not finite.*NaN"):
            method(iterations=9).attribute(Fragile(), noisy(2, 1, SIDE, SIDE), 0)


class TestArguments:
    def test_wrong_ones_are_refused_with_their_name_and_value(self) -> None:
        cases = [
            (RobustPerturbation, "divergence", "js", "divergence is 'js'; it must be one of"),
            (RobustPerturbation, "activation", "relu", "activation is 'relu'"),
            (RobustPerturbation, "reference", "black", "reference is 'black'"),
            (RobustPerturbation, "iterations", 0, "iterations is 0; it must be an integer >= 1"),
            (RobustPerturbation, "iterations", 1.5, "iterations is 1.5"),
            (RobustPerturbation, "sparsity", -1.0, "sparsity is -1.0; it must be a number >= 0"),
            (RobustPerturbation, "smoothness", float("inf"), "smoothness is inf"),
            (RobustPerturbation, "noise", float("nan"), "noise is nan"),
            (MeaningfulPerturbation, "activation", "relu", "activation is 'relu'"),
            (MeaningfulPerturbation, "iterations", -1, "iterations is -1"),
            (MeaningfulPerturbation, "smoothness", -0.1, "smoothness is -0.1"),
            (ExtremalPerturbation, "area", 0.0, "area is 0.0; it must be a share"),
            (ExtremalPerturbation, "area", 1, "area is 1;"),
            (ExtremalPerturbation, "variant", "dual", "variant is 'dual'"),
        ]
        with collected() as case:
            for method, argument, value, message in cases:
                with case(method, argument, value, message), pytest.raises(ValueError, match=message):
                    method(**{argument: value})

    def test_one_logit_has_no_softmax_but_a_sigmoid(self, tiny) -> None:
        network = nn.Sequential(tiny, nn.Linear(3, 1))
        image = noisy(1, 1, SIDE, SIDE)
        for method in (RobustPerturbation, MeaningfulPerturbation):
            with explaining(network):
                with pytest.raises(ValueError, match="one logit and the activation is 'softmax'"):
                    method(iterations=2).attribute(network, image, 0)
                maps = method(iterations=2, activation="sigmoid").attribute(network, image, 0).maps
            assert torch.isfinite(maps).all() and maps.std() > 0

    def test_defaults_are_the_papers(self) -> None:
        assert RobustPerturbation().settings == {
            "activation": "softmax",
            "divergence": "bounded-log",
            "reference": "blur",
            "iterations": 150,
            "sparsity": 5.0,
            "smoothness": 20.0,
            "noise": 0.045,
            "seed": 0,
        }
        assert MeaningfulPerturbation().settings["iterations"] == 300
        assert ExtremalPerturbation().settings == {
            "area": 0.1,
            "variant": "preserve",
            "reference": "blur",
            "iterations": 800,
        }


def test_toward_is_linear() -> None:
    images, reference, masks = noisy(2, 1, 4, 4), noisy(2, 1, 4, 4, seed=1), noisy(2, 1, 4, 4, seed=2)
    torch.testing.assert_close(toward(images, reference)(masks), masks * images + (1 - masks) * reference)


def test_ties_of_the_extremal_region_are_not_broken_by_place() -> None:
    """All values are tied at the start: their push must be one and the same, and half-tied ranks share their target."""
    problem = ExtremalPerturbation(area=0.25).problem(noisy(1, 1, 32, 32), torch.zeros(1, 2), 0)
    problem.wanted = 2
    values = torch.tensor([[0.1, 0.5, 0.5, 0.5, 0.9]])
    torch.testing.assert_close(problem.template(values), torch.tensor([[0, 1 / 3, 1 / 3, 1 / 3, 1]]))
    torch.testing.assert_close(problem.template(torch.ones(1, 5)), torch.full((1, 5), 0.4))
    torch.testing.assert_close(problem.template(values.cumsum(1)), torch.tensor([[0.0, 0, 0, 1, 1]]))
