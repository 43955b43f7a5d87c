"""The attacks against maps whose exact worst case is known, and the parts that they are made of."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.optimize import nnls
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.attacks import attack_certificate, attack_plain, judge
from monai_robustinterp.attacks.ascent import ascend, project
from monai_robustinterp.attacks.judge import fresh_votes
from monai_robustinterp.attacks.maps import CellMap
from monai_robustinterp.attacks.objective import Evaluation, SwapObjective, soft_votes, swap_loss
from monai_robustinterp.attacks.plain import top_k_mask
from monai_robustinterp.attacks.surrogate import SoftplusCurvature
from monai_robustinterp.interpreters import GradCAM, Gradient, Interpreter, explaining
from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.noise.white import WhiteNoise
from tests.support.vote_factory import vote_map


class Quadratic(nn.Module):
    """Logit 1 is x'Mx/2 + b'x, so its gradient map is Mx + b; positive where the tests go."""

    def __init__(self, matrix: torch.Tensor, offset: torch.Tensor) -> None:
        super().__init__()
        self.matrix, self.offset = nn.Parameter(matrix.float()), nn.Parameter(offset.float())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.flatten(1)
        logit = ((x @ self.matrix) * x).sum(dim=1) / 2 + x @ self.offset
        return torch.stack([torch.full_like(logit, -1e6), logit], dim=1)


def linear_map(seed: int, *, cells: int = 12) -> tuple[Quadratic, torch.Tensor, np.ndarray, np.ndarray]:
    """Network, image [1, 3, 4], its map u and the matrix M of a random linear map."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(cells, cells))
    matrix = (raw + raw.T) / 2
    image, u = rng.uniform(size=cells), 100 + 2 * rng.normal(size=cells)
    network = Quadratic(torch.from_numpy(matrix), torch.from_numpy(u - matrix @ image))
    return network, torch.from_numpy(image).float().reshape(1, 3, cells // 3), u, matrix


def breaking_radius(u: np.ndarray, matrix: np.ndarray, *, top_k: int, swaps: int) -> float:
    """Exact smallest norm at which the top-k of u + M delta swaps s cells: least-distance programming over all sets.

    min |delta| with C delta >= d is a non-negative least-squares problem (Lawson & Hanson 1974, chapter 23).
    """
    order = np.argsort(-u)
    best = np.inf
    for inside in itertools.combinations(order[:top_k], swaps):
        for outside in itertools.combinations(order[top_k:], swaps):
            pairs = list(itertools.product(inside, outside))
            rows = np.array([matrix[b] - matrix[a] for a, b in pairs])
            gaps = np.array([u[a] - u[b] for a, b in pairs])
            system = np.vstack([rows.T, gaps[None]])
            goal = np.zeros(len(system))
            goal[-1] = 1
            residual = system @ nnls(system, goal)[0] - goal
            if np.linalg.norm(residual) > 1e-9:
                best = min(best, float(np.linalg.norm(residual[:-1] / residual[-1])))
    return best


def always(_delta: torch.Tensor) -> bool:
    return True


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("swaps", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_on_a_linear_map_the_plain_attack_reaches_95_percent_of_the_exact_worst_case(seed, swaps) -> None:
    network, image, u, matrix = linear_map(seed)
    exact = breaking_radius(u, matrix, top_k=4, swaps=swaps)

    def overlap(radius: float) -> int:
        with explaining(network):
            cells = CellMap(network, Gradient(), 1, 1)
            starts = normal(8, *image.shape)
            options = {"top_k": 4, "swaps": swaps, "starts": starts, "steps": 40}
            return attack_plain(cells, image, always, noise=WhiteNoise(1.0), radius=radius, **options)[1]

    assert overlap(exact / 0.95) <= 4 - swaps
    assert overlap(exact * 0.99) > 4 - swaps


SHARES = np.array([3.0, 2.2, 1.9, 1.5, 0.9, 0.6, 0.4, 0.2, 0.0, -0.2, -0.5, -0.9])


def identity_run(**changes: object) -> tuple[CertifiedSaliencyInferer, Quadratic, torch.Tensor]:
    """The map is x + 100: with equal independent noise a cell's expected share rises with its own value alone."""
    network = Quadratic(torch.eye(12), torch.full((12,), 100.0))
    image = torch.from_numpy(SHARES).float().reshape(1, 3, 4)
    settings = {"sigma": 0.5, "n_samples": 4000, "top_k": 4, "cell_size": 1, "beta": "0.75", "batch_size": 2000}
    inferer = CertifiedSaliencyInferer(target=1, **(settings | changes))
    inferer.recipe = dataclasses.replace(inferer.recipe, any_input=True)
    return inferer, network, image


def identity_breaking_radius() -> float:
    """Two cells of {1.9, 1.5} and {0.9, 0.6} must meet: the distance to their mean."""
    boundary = SHARES[2:6]
    return float(np.linalg.norm(boundary - boundary.mean()))


def test_a_certificate_holds_inside_and_is_broken_beyond_the_true_radius() -> None:
    inferer, network, image = identity_run()
    certified = inferer.certify(image, network)
    certificate = certified.certificate
    truth = identity_breaking_radius() / certificate.l_max
    assert certificate.swap_count == 2 and truth > 1
    results = attack_certificate(
        inferer,
        network,
        image,
        certified,
        factors=(0.5, 1.0, 0.97 * truth, 1.4 * truth),
        guide_draws=256,
        steps=30,
        fresh_samples=4000,
    )
    assert [result.broken for result in results] == [False, False, False, True]
    assert results[-1].overlap <= 2 and results[-1].plain_overlap <= 2 and results[1].overlap == 4
    assert "broken at" in results[-1].verdict and "not broken at 1 times" in results[1].verdict
    for result in results:
        assert result.radius == pytest.approx(result.factor * certificate.l_max)
        assert result.norm <= result.radius and result.plain_norm <= result.radius
        assert result.norm > 0.9 * result.radius or result.broken
        assert result.label_kept and result.certified_overlap == 3 and result.budget.fresh_samples == 4000


def test_the_smoothed_attack_comes_near_the_exact_worst_case() -> None:
    """Within 15 % of the true breaking radius the verdict turns, when enough fresh copies judge."""
    inferer, network, image = identity_run()
    certified = inferer.certify(image, network)
    certificate = certified.certificate
    factor = 1.15 * identity_breaking_radius() / certificate.l_max
    options = {"factors": (factor,), "guide_draws": 512, "steps": 30, "fresh_samples": 100_000}
    (result,) = attack_certificate(inferer, network, image, certified, **options)
    assert result.broken


def test_the_result_depends_on_the_arguments_alone(tiny, image) -> None:
    inferer = CertifiedSaliencyInferer(
        n_samples=600, top_k=10, cell_size=4, target=1, sigma=0.2, eta=0.05, beta="0.2", batch_size=16
    )
    certified = inferer.certify(image, tiny)
    certificate = certified.certificate
    assert certificate.l_max > 0
    options = {"factors": (4.0,), "guide_draws": 24, "restarts": 2, "steps": 2, "plain_steps": 3, "fresh_samples": 64}
    before = copy.deepcopy(tiny.state_dict())

    def attack(other: CertifiedSaliencyInferer, **changes: object) -> object:
        return attack_certificate(other, tiny, image, certified, **(options | changes))

    first = attack(inferer)
    torch.randn(3)
    assert attack(inferer) == first
    with torch.no_grad():
        assert attack_certificate(inferer, tiny, MetaTensor(image), certified, **options) == first
    assert attack(inferer, seed=2) != first
    assert (inferer.recipe.seed, inferer.recipe.n_samples, inferer.recipe.target) == (0, 600, 1)
    assert all(torch.equal(before[name], value) for name, value in tiny.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in tiny.parameters())


@pytest.mark.parametrize("interpreter", [Gradient(), GradCAM("features.3")])
def test_the_attack_runs_in_the_certificates_precision(tiny, image, interpreter) -> None:
    seen = set()
    tiny.features[0].register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    inferer = CertifiedSaliencyInferer(
        n_samples=600, top_k=10, cell_size=4, target=1, sigma=0.2, eta=0.05, beta="0.2", batch_size=16,
        interpreter=interpreter, precision="bfloat16",
    )  # fmt: skip
    certified = inferer.certify(image, tiny)
    certificate = certified.certificate
    assert certificate.l_max > 0
    options = {"factors": (4.0,), "guide_draws": 24, "restarts": 2, "steps": 2, "plain_steps": 3, "fresh_samples": 64}
    (result,) = attack_certificate(inferer, tiny, image, certified, **options)
    assert seen == {torch.bfloat16} and 0 < result.norm <= result.radius


def objective(network: nn.Module, image: torch.Tensor, *, n_draws: int, batch_size: int) -> SwapObjective:
    noise = CounterNoise(seed=3, image_hash="0", protocol="test")
    cells = CellMap(network, Gradient(), 1, 4)
    return SwapObjective(
        cells,
        image,
        draws=lambda samples: 0.2 * noise.normal(samples, tuple(image.shape)),
        n_draws=n_draws,
        reported=top_k_mask(cells(image[None], differentiable=False)[0], 10),
        swaps=5,
        batch_size=batch_size,
    )


@pytest.mark.parametrize("batch_size", [1, 5, 24])
def test_the_guides_gradient_is_autograds_for_every_batch_size(tiny, image, batch_size) -> None:
    """Against one graph over all draws."""
    delta = 0.01 * normal(1, 32, 32)
    with explaining(tiny):
        guide = objective(tiny, image, n_draws=24, batch_size=batch_size)
        found = guide.evaluate(delta, 0.0)
        x = delta.clone().requires_grad_()
        cells = guide.cells(image + x + guide.draws(torch.arange(24)), differentiable=True)
        loss, gap = swap_loss(soft_votes(cells, 10).mean(dim=0), guide.reported, 5, 0.2)
        (expected,) = torch.autograd.grad(loss, x)
    assert found.gap == pytest.approx(gap, abs=1e-5)
    assert torch.allclose(found.gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert expected.abs().max() > 0


def test_the_swap_loss_is_zero_exactly_where_the_claim_is_broken() -> None:
    reported = torch.tensor([True, True, True, False, False, False])
    for order in itertools.permutations(range(6)):
        shares = torch.tensor(order, dtype=torch.float32) / 6
        loss, gap = swap_loss(shares, reported, 2, 0.0)
        kept = int((shares > 2.5 / 6)[reported].sum())
        assert (float(loss) == 0) == (gap < 0) == (kept <= 1)


def test_soft_votes_agree_with_hard_ones_at_any_scale() -> None:
    cells = normal(5, 40).abs()
    for scale in (1e-12, 1.0, 1e12):
        votes = soft_votes(cells * scale, 7)
        assert torch.allclose(votes, soft_votes(cells, 7), atol=1e-5)
        hard = torch.zeros(5, 40, dtype=torch.bool).scatter_(1, cells.topk(7).indices, True)
        assert torch.equal(votes > 0.5, hard)


@pytest.mark.parametrize("interpreter", [Gradient(), GradCAM("features.norm5")], ids=lambda i: i.name)
def test_the_differentiable_map_is_the_interpreters_own(dense, image, interpreter) -> None:
    batch = image[None] + 0.1 * normal(3, 1, 32, 32)
    with explaining(dense):
        cells = CellMap(dense, interpreter, 1, 4)
        smooth = cells(batch.clone().requires_grad_(), differentiable=True)
        assert torch.allclose(smooth.detach(), cells(batch, differentiable=False), rtol=1e-5)
        x = batch.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cells(x, differentiable=True)[:, :9].sum(), x)
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
    assert not any(module._forward_hooks for module in dense.modules())


def relu_calls() -> list[object]:
    functional = torch.nn.functional

    def in_place(function):
        def call(x: torch.Tensor) -> torch.Tensor:
            y = x.clone()
            function(y)
            return y

        return call

    return [
        torch.relu,
        functional.relu,
        torch.Tensor.relu,
        nn.ReLU(),
        lambda x: functional.relu(input=x),
        in_place(torch.relu_),
        in_place(torch.Tensor.relu_),
        in_place(nn.ReLU(inplace=True)),
        in_place(lambda y: functional.relu(y, True)),
        in_place(lambda y: functional.relu(y, inplace=True)),
    ]


@pytest.mark.parametrize("call", relu_calls())
def test_every_way_to_call_a_relu_keeps_its_values_and_gains_a_curvature(call) -> None:
    values = torch.tensor([-1.0, -0.03, 0.02, 0.5])
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    x = values.clone().requires_grad_()
    with SoftplusCurvature(20.0):
        y = call(x)
        (first,) = torch.autograd.grad((weight * y).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(y.detach(), values.relu())
    assert torch.equal(first.detach(), weight * (values > 0))
    s = torch.sigmoid(20 * values)
    assert torch.allclose(second, weight * 20 * s * (1 - s))
    assert call(values.clone().requires_grad_()).grad_fn.name() != y.grad_fn.name() or "Copy" in y.grad_fn.name()


def test_after_the_surrogate_a_relu_has_no_curvature_even_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="stop"), SoftplusCurvature():
        raise RuntimeError("stop")
    x = torch.ones(2, requires_grad=True)
    (first,) = torch.autograd.grad(torch.relu(x).square().sum(), x, create_graph=True)
    assert torch.autograd.grad(first.sum(), x)[0].tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="> 0"):
        SoftplusCurvature(0.0)


class Downhill:
    """Gap = height of a plane; it remembers where it was asked."""

    def __init__(self) -> None:
        self.slope, self.seen = normal(1, 6, 6, seed=5), []

    def evaluate(self, delta: torch.Tensor, progress: float) -> Evaluation:
        self.seen.append((delta, progress))
        return Evaluation(gap=float((self.slope * delta).sum()), gradient=self.slope)


def test_no_iterate_leaves_the_ball_and_the_best_is_kept() -> None:
    plane = Downhill()
    reached = ascend(plane, always, noise=WhiteNoise(1.0), radius=0.3, starts=normal(3, 1, 6, 6), steps=7)
    norms = [float(delta.double().norm()) for delta, _ in plane.seen]
    assert len(norms) == 3 * 8 and max(norms) <= 0.3 and min(norms) > 0.29
    assert reached.gap == min(float((plane.slope * delta).sum()) for delta, _ in plane.seen)
    assert reached.gap == pytest.approx(-0.3 * float(plane.slope.norm()), rel=1e-2)
    assert [progress for _, progress in plane.seen][:8] == pytest.approx([i / 7 for i in range(8)])
    for scale in (1e-3, 0.3, 1e6):
        assert project(scale * normal(1, 50, 50), WhiteNoise(1.0), 0.3).double().norm() <= 0.3
    assert torch.equal(project(torch.zeros(1, 2, 2), WhiteNoise(1.0), 0.3), torch.zeros(1, 2, 2))


def test_steps_that_flip_the_label_are_halved_or_left_out() -> None:
    plane = Downhill()

    def keeps(delta: torch.Tensor) -> bool:
        return float((plane.slope * delta).sum()) > -0.1

    reached = ascend(plane, keeps, noise=WhiteNoise(1.0), radius=0.3, starts=normal(2, 1, 6, 6), steps=20)
    assert all(keeps(delta) for delta, _ in plane.seen)
    assert reached.gap == pytest.approx(-0.1, abs=0.02)


def test_an_attack_without_anything_to_climb_is_an_error_and_no_evidence() -> None:
    class Flat:
        def evaluate(self, delta: torch.Tensor, progress: float) -> Evaluation:
            return Evaluation(gap=0.4, gradient=torch.zeros_like(delta))

    with pytest.raises(ValueError, match="nothing to climb"):
        ascend(Flat(), always, noise=WhiteNoise(1.0), radius=0.3, starts=normal(2, 1, 4, 4), steps=3)


def test_a_label_flip_bounds_the_whole_attack() -> None:
    """The other logit overtakes at a hyperplane half-way to the swap."""

    class Close(Quadratic):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = super().forward(image)
            moved = (image.flatten(1) - torch.from_numpy(SHARES).float())[:, 2:4].sum(dim=1)
            return torch.stack([logits[:, 1].detach() - 0.05 - moved, logits[:, 1]], dim=1)

    inferer, _, image = identity_run(n_samples=1000)
    network = Close(torch.eye(12), torch.full((12,), 100.0))
    certified = inferer.certify(image, network)
    votes, certificate = certified.votes, certified.certificate
    factor = 1.4 * identity_breaking_radius() / certificate.l_max
    options = {"factors": (factor,), "steps": 10, "fresh_samples": 1000}
    (result,) = attack_certificate(inferer, network, image, certified, **options)
    assert votes.decision and result.label_kept


def test_a_claim_that_barely_holds_is_called_broken_no_oftener_than_stated() -> None:
    """Cells 0-3 reported, all shares equal: the claim holds by an infinitesimal, and half the samples deny it."""
    rng = np.random.default_rng(0)
    reported = (np.arange(8) < 4)[None]
    broken = below = 0
    for _ in range(400):
        counts = np.argsort(rng.random((200, 8)), axis=1)[:, :4]
        verdict = judge(
            vote_map(np.bincount(counts.ravel(), minlength=8), n_samples=200, top_k=4), reported, swaps=2, gamma=0.05
        )
        broken, below = broken + verdict.broken, below + (verdict.overlap <= 2)
    assert below > 200
    # P[Bin(400, 0.05) > 34] < 0.001
    assert broken <= 34


@pytest.mark.parametrize(
    ("counts", "broken", "overlap"),
    [
        ([0, 0, 600, 600, 1000, 1000, 400, 400], True, 2),
        ([0, 460, 600, 600, 1000, 540, 400, 400], False, 2),
        ([0, 900, 600, 600, 1000, 100, 400, 400], False, 3),
    ],
    ids=["s clear swaps", "one clear and one within sampling error", "one clear swap only"],
)
def test_broken_takes_s_swaps_beyond_sampling_error(counts, broken, overlap) -> None:
    votes = vote_map(np.array(counts), n_samples=1000, top_k=4)
    verdict = judge(votes, (np.arange(8) < 4)[None], swaps=2, gamma=0.001)
    assert (verdict.broken, verdict.overlap) == (broken, overlap)


def test_fresh_votes_are_the_inferers_own_with_another_seed() -> None:
    inferer, network, image = identity_run(n_samples=50)
    fresh = fresh_votes(inferer.recipe, network, image, target=1, seed=9, n_samples=70)
    expected, spec = identity_run(n_samples=70, seed=9)[0].vote(image, network)
    assert np.array_equal(fresh.counts, expected.counts) and spec.seed == 9
    assert not np.array_equal(fresh.counts, identity_run(n_samples=70)[0].vote(image, network)[0].counts)


class Other(Interpreter):
    name = "other"

    def attribute(self, network, inputs, target):
        raise NotImplementedError


class Doubled(Gradient):
    name = "doubled"


@pytest.mark.parametrize("interpreter", [Other(), Doubled()])
def test_interpreters_without_a_differentiable_form_are_refused(tiny, interpreter) -> None:
    with pytest.raises(ValueError, match=f"'{interpreter.name}'; only 'gradient' and 'grad_cam'"):
        CellMap(tiny, interpreter, 1, 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tiny) -> None:
    with pytest.raises(ValueError, match="TorchScript"):
        CellMap(torch.jit.trace(tiny, torch.zeros(1, 1, 32, 32)), Gradient(), 1, 4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"factors": ()}, "factors"),
        ({"factors": (0.0,)}, "factors"),
        ({"seed": 0}, "another"),
        ({"restarts": 0}, "restarts is 0"),
        ({"guide_draws": 0}, "guide_draws is 0"),
        ({"gamma": 1.0}, "gamma"),
    ],
)
def test_settings_out_of_range_are_refused(changes, match) -> None:
    inferer, network, image = identity_run()
    certified = inferer.certify(image, network)
    with pytest.raises(ValueError, match=match):
        attack_certificate(inferer, network, image, certified, **changes)


def test_arguments_of_different_runs_and_an_abstaining_certificate_are_refused() -> None:
    inferer, network, image = identity_run()
    certified = inferer.certify(image, network)
    with pytest.raises(ValueError, match="another image"):
        attack_certificate(inferer, network, image + 1, certified)
    with pytest.raises(ValueError, match="one run"):
        attack_certificate(identity_run(sigma=0.4)[0], network, image, certified)
    other = identity_run(precision="bfloat16")[0]
    with pytest.raises(ValueError, match=r"precision\) = .*'bfloat16'\) and the certificate .*'float32'\)"):
        attack_certificate(other, network, image, certified)
    few = identity_run(n_samples=10)[0]
    with pytest.raises(ValueError, match="abstains"):
        attack_certificate(few, network, image, few.certify(image, network))
