"""Input x gradient, integrated gradients, DeepLIFT, guided backpropagation, GradientSHAP and SmoothGrad."""

from __future__ import annotations

import itertools
import math

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from monai_robustinterp.interpreters import Gradient, Interpreter, explaining
from monai_robustinterp.interpreters.context.hooks import LayerNotFoundError
from monai_robustinterp.interpreters.deep_lift import ELEMENTWISE, DeepLift
from monai_robustinterp.interpreters.gradient_shap import GradientShap
from monai_robustinterp.interpreters.guided_backprop import GuidedBackprop
from monai_robustinterp.interpreters.input_x_gradient import InputXGradient
from monai_robustinterp.interpreters.integrated_gradients import IntegratedGradients
from monai_robustinterp.interpreters.smooth_grad import SmoothGrad
from tests.support.cases import collected

FAMILY = [InputXGradient, IntegratedGradients, DeepLift, GuidedBackprop, GradientShap, SmoothGrad]
COMPLETE = [IntegratedGradients, DeepLift]


def seeded(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    """The layers with fixed weights of some size."""
    network = nn.Sequential(*layers).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return network


def two_convolutions(*between: nn.Module, last: nn.Module | None = None, channels: int = 1, seed: int = 0) -> nn.Module:
    head = (last or nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 2))
    return seeded(nn.Conv2d(channels, 4, 3), *between, nn.Conv2d(4, 4, 3, padding=1), *head, seed=seed)


def images(channels: int = 1, copies: int = 3, size: int = 12, seed: int = 5) -> torch.Tensor:
    """Some values are outside [0, 1], as those of noisy copies are."""
    return 0.4 + 0.4 * torch.randn(copies, channels, size, size, generator=torch.Generator().manual_seed(seed))


def maps_of(interpreter: Interpreter, network: nn.Module, inputs: torch.Tensor, target: int = 1) -> torch.Tensor:
    with explaining(network):
        return interpreter.attribute(network, inputs, target).maps


def sums_and_changes(interpreter: Interpreter, network: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The maps' sums and the changes of logit 1 from the interpreter's baseline."""
    sums = maps_of(interpreter, network, inputs).sum(dim=(1, 2, 3))
    with torch.no_grad():
        logits = network(torch.cat([inputs, torch.full_like(inputs[:1], interpreter.baseline)]))[:, 1]
    return sums, logits[:-1] - logits[-1]


def assert_close(found: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-5) -> None:
    """Up to a share of the largest value."""
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=rtol * float(expected.abs().max()))


def summed(attribution: torch.Tensor) -> torch.Tensor:
    return attribution.detach().sum(dim=1, keepdim=True)


class Functional(nn.Module):
    """The layers of :func:`two_convolutions` with activations by call, not by module."""

    def __init__(self, activation: object, seed: int = 0) -> None:
        super().__init__()
        self.first, _, self.second, _, *head = two_convolutions(nn.ReLU(), seed=seed)
        self.head, self.activation = nn.Sequential(*head), activation

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.activation(self.second(self.activation(self.first(image)))))


def overwritten(values: torch.Tensor) -> torch.Tensor:
    """An in-place ReLU whose result is not used, only what it overwrote, and that by way of a view."""
    values[:, :2].relu_()
    F.relu(values[:, 2:], inplace=True)
    return values


RELU_CALLS = {
    "functional": F.relu,
    "functional in place": lambda x: F.relu(x, inplace=True),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": torch.Tensor.relu,
    "method in place": lambda x: x.relu_(),
    "by name": lambda x: torch.relu(input=x),
    "overwritten views": overwritten,
    "one module": nn.ReLU(),
    "one module in place": nn.ReLU(inplace=True),
}


ACTIVATIONS = [
    *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(4), nn.RReLU().eval(), nn.ELU(), nn.CELU(), nn.SELU(), nn.GELU()),
    *(nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Hardsigmoid(), nn.LogSigmoid(), nn.Hardswish()),
    *(nn.Tanh(), nn.Hardtanh(), nn.Tanhshrink(), nn.Hardshrink(0.1), nn.Softshrink(0.1), nn.Softsign()),
    *(nn.Softplus(), nn.Threshold(0.1, 0.0), F.relu6, F.logsigmoid, torch.special.expit, abs, torch.abs),
    *(lambda x: x.clamp(-0.3, 0.4), lambda x: F.leaky_relu(x, 0.2, True), lambda x: F.hardtanh(x, inplace=True)),
    *(torch.Tensor.sigmoid_, torch.Tensor.tanh, lambda x: x.clamp_min(0.1), lambda x: x.clamp_max_(0.3)),
]


class TestAll:
    @pytest.mark.parametrize("cls", FAMILY)
    def test_three_channels_give_one_map_and_the_logits(self, cls) -> None:
        with explaining(two_convolutions(nn.ReLU(), channels=3)) as network:
            result = cls().attribute(network, images(3), 1)
        assert result.maps.shape == (3, 1, 12, 12) and result.maps.std() > 0
        assert_close(result.logits, network(images(3)).detach())

    @pytest.mark.parametrize("cls", FAMILY)
    def test_no_pass_has_more_images_than_the_batch_and_a_baseline(self, cls) -> None:
        network, rows = two_convolutions(nn.ReLU()), []
        network.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
        interpreter = cls()
        maps_of(interpreter, network, images())
        samples = getattr(interpreter, "n_steps", getattr(interpreter, "n_samples", None))
        if samples is not None:
            assert rows == [3] * (samples + 1)
        else:
            assert rows == [4 if cls is DeepLift else 3]

    @pytest.mark.parametrize("cls", FAMILY)
    def test_the_global_generators_are_not_touched(self, cls) -> None:
        network = two_convolutions(nn.ReLU())
        before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
        maps_of(cls(), network, images())
        assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == of_numpy).all()

    @pytest.mark.parametrize("cls", FAMILY)
    def test_a_network_that_fails_leaves_nothing_behind(self, cls) -> None:
        def fail(module: nn.Module, inputs: object, output: object) -> None:
            raise RuntimeError("out of order")

        network = two_convolutions(nn.ReLU())
        expected = maps_of(Gradient(), network, images())
        handle = network[3].register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of order"):
            maps_of(cls(), network, images())
        handle.remove()
        assert not torch.overrides._get_current_function_mode_stack()
        assert torch.equal(maps_of(Gradient(), network, images()), expected)

    @pytest.mark.parametrize("cls", [IntegratedGradients, GradientShap, SmoothGrad])
    def test_logits_are_of_the_clean_inputs_even_if_the_network_overwrites_its_own(self, cls) -> None:
        class Overwriting(nn.Module):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                image = image if torch.is_grad_enabled() else image.mul_(2)
                return (image * image).sum(dim=(2, 3)).expand(-1, 2)

        inputs = images()
        with explaining(Overwriting()) as network:
            result = cls().attribute(network, inputs, 0)
        assert torch.equal(inputs, images())
        torch.testing.assert_close(result.logits[:, 0], 4 * (inputs**2).sum(dim=(1, 2, 3)))

    def test_arguments_out_of_range_are_refused(self) -> None:
        cases = [
            *((IntegratedGradients, "n_steps", value) for value in (0, -1, 2.5)),
            *((cls, "n_samples", value) for cls in (GradientShap, SmoothGrad) for value in (0, 2.0)),
            *((cls, "sigma", value) for cls in (GradientShap, SmoothGrad) for value in (-0.1, math.inf, math.nan)),
            *((cls, "baseline", value) for cls in (*COMPLETE, GradientShap) for value in (math.nan, -math.inf)),
            *((DeepLift, "tolerance", value) for value in (0.0, 1.0, -1e-3, math.nan)),
        ]
        with collected() as case:
            for cls, argument, value in cases:
                rule = f"^{argument} is {value}; it .*must be"
                with case(cls, argument, value), pytest.raises(ValueError, match=rule):
                    cls(**{argument: value})

    @pytest.mark.parametrize("cls", FAMILY)
    def test_the_settings_make_the_same_interpreter(self, cls, dense) -> None:
        inputs = images(size=32)
        expected = maps_of(cls(), dense, inputs)
        assert torch.equal(maps_of(cls(**cls().settings), dense, inputs), expected)


def test_input_x_gradient_is_captums() -> None:
    network, inputs = two_convolutions(nn.ReLU(), channels=3), images(3)
    expected = captum.attr.InputXGradient(network).attribute(inputs.clone().requires_grad_(), target=1)
    assert_close(maps_of(InputXGradient(), network, inputs), summed(expected))


class TestIntegratedGradients:
    @pytest.mark.parametrize(("n_steps", "baseline"), [(1, 0.0), (5, 0.3), (32, -1.0)])
    def test_is_captums(self, n_steps, baseline) -> None:
        network, inputs = two_convolutions(nn.ReLU(), channels=3), images(3)
        integrated = captum.attr.IntegratedGradients(network)
        expected = integrated.attribute(inputs, baseline, target=1, n_steps=n_steps, method="gausslegendre")
        assert_close(maps_of(IntegratedGradients(n_steps, baseline=baseline), network, inputs), summed(expected))

    @pytest.mark.parametrize("baseline", [0.0, 0.5])
    def test_one_step_is_exact_for_a_linear_network(self, baseline) -> None:
        network, inputs = seeded(nn.Flatten(), nn.Linear(144, 2)), images()
        weights = network[1].weight[1].detach().reshape(1, 1, 12, 12)
        found = maps_of(IntegratedGradients(1, baseline=baseline), network, inputs)
        assert_close(found, weights * (inputs - baseline))

    def test_is_complete_to_round_off_for_a_smooth_network(self) -> None:
        interpreter = IntegratedGradients(16, baseline=0.2)
        assert_close(*sums_and_changes(interpreter, two_convolutions(nn.Tanh(), last=nn.Softplus()), images()))

    def test_is_complete_up_to_the_kinks_of_a_network_with_relus(self, dense) -> None:
        def error(n_steps: int) -> float:
            sums, changes = sums_and_changes(IntegratedGradients(n_steps, baseline=0.5), dense, images(size=32))
            return float((sums - changes).abs().max() / changes.abs().max())

        assert error(64) < 0.05 < 0.2 < error(2)


class TestGradientShap:
    def test_is_the_closed_form_for_a_quadratic_network(self) -> None:
        """The logit sum v x^2 has the gradient 2 v x, at the point that each sample draws."""
        weights = 1 + torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1))

        class Quadratic(nn.Module):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return (weights * image**2).sum(dim=(1, 2, 3))[:, None]

        inputs = images(3)
        found = maps_of(GradientShap(3, sigma=0.2, baseline=0.1, seed=7), Quadratic(), inputs, target=0)
        draws = torch.Generator().manual_seed(7)
        expected = torch.zeros_like(inputs)
        for _ in range(3):
            share, noise = torch.rand((), generator=draws), torch.randn(3, 12, 12, generator=draws)
            change = inputs + 0.2 * noise - 0.1
            expected += change * 2 * weights * (0.1 + share * change) / 3
        assert_close(found, summed(expected))

    def test_is_captums_on_average(self) -> None:
        network, inputs = two_convolutions(nn.Tanh(), last=nn.Tanh()), images(copies=1, size=6)
        found = maps_of(GradientShap(1500, sigma=0.3, baseline=0.2), network, inputs)
        state = np.random.get_state()
        np.random.seed(1)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            runs = torch.stack([self.captums(network, inputs) for _ in range(20)])
        np.random.set_state(state)
        error = runs.std(dim=0) / math.sqrt(20) * math.sqrt(2)
        # 36 pixels, each within 5 standard errors of a difference of two means of 1500 draws.
        assert float(((found - runs.mean(dim=0)).abs() / error).max()) < 5
        assert float(error.max() / found.abs().max()) < 0.05

    @staticmethod
    def captums(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        shap = captum.attr.GradientShap(network)
        return shap.attribute(inputs, torch.full_like(inputs, 0.2), target=1, n_samples=75, stdevs=0.3).detach()

    def test_is_complete_on_average(self) -> None:
        network, inputs = two_convolutions(nn.ReLU()), images(copies=2)
        found = [
            sums_and_changes(GradientShap(25, sigma=0.0, baseline=0.1, seed=seed), network, inputs)
            for seed in range(20)
        ]
        errors = torch.stack([sums - changes for sums, changes in found])
        assert float((errors.mean(dim=0) / errors.std(dim=0) * math.sqrt(20)).abs().max()) < 4
        assert float((errors.std(dim=0) / math.sqrt(20) / found[0][1].abs()).max()) < 0.1


def test_smooth_grad_is_captums_for_the_same_noise(monkeypatch) -> None:
    network, inputs = two_convolutions(nn.ReLU(), channels=3), images(3)
    draws = torch.Generator().manual_seed(3)
    noise = torch.stack([0.2 * torch.randn(3, 12, 12, generator=draws) for _ in range(4)])
    monkeypatch.setattr(torch, "normal", lambda mean, deviations: noise.repeat(3, 1, 1, 1))
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(network))
    expected = tunnel.attribute(inputs, target=1, nt_type="smoothgrad", nt_samples=4, stdevs=0.2)
    assert_close(maps_of(SmoothGrad(4, sigma=0.2, seed=3), network, inputs), summed(expected))


def test_smooth_grad_of_one_sample_without_noise_is_the_gradient(dense) -> None:
    inputs = images(size=32)
    found = maps_of(SmoothGrad(1, sigma=0.0), dense, inputs)
    assert torch.equal(found, maps_of(Gradient(), dense, inputs))


@pytest.mark.parametrize("cls", [GradientShap, SmoothGrad])
def test_all_copies_get_the_draws_of_the_seed(cls) -> None:
    network, inputs = two_convolutions(nn.ReLU()), images(copies=1).expand(4, -1, -1, -1)
    maps = maps_of(cls(3, sigma=0.3), network, inputs)
    assert_close(maps, maps[:1].expand_as(maps))
    assert not torch.allclose(maps_of(cls(3, sigma=0.3, seed=1), network, inputs), maps, rtol=0.01)


class TestDeepLift:
    def test_is_captums_where_captums_is_right(self) -> None:
        every_between = [
            *([cls()] for cls in (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Softplus)),
            [nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)],
            [nn.MaxPool2d(2)],
        ]
        with collected() as case:
            for between, channels in itertools.product(every_between, [1, 3]):
                with case(between, channels):
                    network, inputs = two_convolutions(*between, channels=channels), images(channels)
                    with pytest.warns(UserWarning, match="Setting forward, backward hooks"):
                        expected, delta = captum.attr.DeepLift(network).attribute(
                            inputs.clone().requires_grad_(),
                            torch.full_like(inputs, 0.3),
                            target=1,
                            return_convergence_delta=True,
                        )
                    assert float(delta.abs().max()) < 1e-5
                    assert_close(maps_of(DeepLift(baseline=0.3), network, inputs), summed(expected))

    def test_is_the_same_however_the_relu_is_called(self) -> None:
        with collected() as case:
            for name, call in RELU_CALLS.items():
                with case(name):
                    expected = maps_of(DeepLift(baseline=0.3), two_convolutions(nn.ReLU()), images())
                    assert_close(maps_of(DeepLift(baseline=0.3), Functional(call), images()), expected)

    def test_slopes_of_an_activation_are_those_of_its_values(self) -> None:
        """One layer of units: the sum over units of weight in * slope * weight out, times the change of the input."""
        with collected() as case:
            for activation in ACTIVATIONS:
                with case(activation):
                    network = Activated(activation).eval()
                    inputs = images()
                    with torch.no_grad():
                        hidden, start = network.convolution(inputs), network.convolution(torch.full_like(inputs, 0.3))
                        slopes = (network.activate(hidden.clone()) - network.activate(start.clone())) / (hidden - start)
                        weights = slopes * network.linear.weight[1].reshape(4, 10, 10)
                        back = F.conv_transpose2d(weights, network.convolution.weight)
                    assert_close(maps_of(DeepLift(baseline=0.3), network, inputs), (inputs - 0.3) * back, rtol=1e-4)

    def test_those_activations_are_all_that_have_a_rule(self) -> None:
        seen: set[str] = set()

        class Recorded(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                seen.add(func.__name__.strip("_"))
                return func(*args, **(kwargs or {}))

        with Recorded():
            for activation in ACTIVATIONS:
                activation(torch.ones(1, 4, 1, 1))
        assert set(ELEMENTWISE) - seen == {"logsigmoid"}

    def test_where_changes_cancel_the_multiplier_is_the_derivative(self) -> None:
        """tanh(first - second pixel) of two equal pixels: evidence for and against."""
        network = seeded(nn.Flatten(), nn.Linear(2, 1, bias=False), nn.Tanh(), nn.Linear(1, 2))
        with torch.no_grad():
            network[1].weight.copy_(torch.tensor([[1.0, -1.0]]))
        found = maps_of(DeepLift(baseline=0.25), network, torch.full((1, 1, 1, 2), 0.75))
        assert_close(found, network[3].weight[1].item() * torch.tensor([[[[0.5, -0.5]]]]))

    def test_an_image_that_is_the_baseline_in_a_part_has_no_evidence_there(self) -> None:
        inputs = images()
        inputs[..., :6] = 0.3
        maps = maps_of(DeepLift(baseline=0.3), two_convolutions(nn.Sigmoid(), last=nn.Tanh()), inputs)
        assert maps[..., :6].abs().max() == 0 and (maps[..., 6:] != 0).all()

    @pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AdaptiveMaxPool2d(4)], ids=str)
    @pytest.mark.parametrize("before", [nn.Identity(), nn.ReLU()], ids=str)
    def test_max_pool_is_the_rule_by_hand(self, pool, before) -> None:
        inputs = images()
        side = pool(inputs).shape[-1]
        network = seeded(nn.Conv2d(1, 2, 3, padding=1), before, pool, nn.Flatten(), nn.Linear(2 * side**2, 2))
        expected = (inputs - 0.3) * pulled_through_pool(network, inputs, 0.3)
        assert_close(maps_of(DeepLift(baseline=0.3), network, inputs), expected)

    @pytest.mark.parametrize("baseline", [0.0, 0.6])
    def test_is_complete_for_a_densenet(self, dense, baseline) -> None:
        assert_close(*sums_and_changes(DeepLift(baseline=baseline), dense, images(size=32)))

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: x * torch.sigmoid(x),
            lambda x: x * torch.sigmoid(x.mean(dim=(2, 3), keepdim=True)),
            lambda x: F.instance_norm(x),
            lambda x: x * x.flatten(2).softmax(dim=-1).reshape(x.shape) * 100,
            lambda x: torch.where(x > 0, x, 0.2 * x),
        ],
        ids=["swish", "squeeze and excitation", "instance norm", "attention", "handmade leaky ReLU"],
    )
    def test_an_operation_without_a_rule_is_refused(self, change) -> None:
        with pytest.raises(ValueError, match=r"operation that the rescale rule does not know.*integrated_gradients"):
            maps_of(DeepLift(), Functional(change), images())

    def test_one_wrong_copy_is_enough(self) -> None:
        network = Functional(lambda x: x * torch.sigmoid(x))
        inputs = images()
        inputs[1:] = 0.0
        assert maps_of(DeepLift(), network, inputs[1:]).abs().max() == 0
        with pytest.raises(ValueError, match="DeepLIFT's map sums to another value"):
            maps_of(DeepLift(), network, inputs)

    def test_the_tolerance_is_of_the_maps_absolute_sum(self) -> None:
        network, inputs = Functional(lambda x: x * torch.sigmoid(x)), images(copies=1)
        maps = maps_of(DeepLift(tolerance=0.999), network, inputs)
        sums, changes = sums_and_changes(DeepLift(tolerance=0.999), network, inputs)
        share = float((sums - changes).abs() / maps.abs().sum())
        assert torch.equal(maps_of(DeepLift(tolerance=1.01 * share), network, inputs), maps)
        with pytest.raises(ValueError, match=f"by {float((sums - changes).abs()):.2g} for"):
            maps_of(DeepLift(tolerance=0.99 * share), network, inputs)

    def test_values_that_are_no_numbers_are_not_called_a_missing_rule(self) -> None:
        inputs = images()
        inputs[0, 0, 5, 5] = math.nan
        maps = maps_of(DeepLift(), two_convolutions(nn.ReLU()), inputs)
        assert maps[0].isnan().any() and torch.isfinite(maps[1:]).all()


class Activated(nn.Module):
    """Linear, one activation, linear."""

    def __init__(self, activation: object) -> None:
        super().__init__()
        self.convolution, _, self.linear = seeded(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(400, 2))
        self.activate = activation

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.linear(self.activate(self.convolution(image)).flatten(1))


def pulled_through_pool(network: nn.Sequential, inputs: torch.Tensor, baseline: float) -> torch.Tensor:
    """DeepLIFT's multipliers for (convolution, activation, pool, flatten, linear), window by window."""
    convolution, before, pool, _, linear = network
    with torch.no_grad():
        rows = convolution(torch.cat([inputs, torch.full_like(inputs[:1], baseline)]))
        hidden = before(rows)
        pooled, where = type(pool)(**{**settings_of(pool), "return_indices": True})(hidden)
        weights = linear.weight[1].reshape(pooled.shape[1:])
        contribution = torch.zeros_like(hidden[:-1]).flatten(2)
        for copy, channel, i, j in np.ndindex(*pooled[:-1].shape):
            change = pooled[copy, channel, i, j] - pooled[-1, channel, i, j]
            winner = where[copy if change > 0 else -1, channel, i, j]
            contribution[copy, channel, winner] += weights[channel, i, j] * change
        change = hidden[:-1] - hidden[-1:]
        multipliers = torch.where(change == 0, 0.0, contribution.reshape(change.shape) / change)
        slopes = change / (rows[:-1] - rows[-1:])
        return F.conv_transpose2d(multipliers * slopes, convolution.weight, padding=1)


def settings_of(pool: nn.Module) -> dict[str, object]:
    names = ("output_size",) if isinstance(pool, nn.AdaptiveMaxPool2d) else ("kernel_size", "stride", "padding")
    return {name: getattr(pool, name) for name in names}


class TestGuidedBackprop:
    def test_is_captums_for_modules(self) -> None:
        with collected() as case:
            for last, channels in itertools.product([nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.Tanh()], [1, 3]):
                with case(last, channels):
                    network, inputs = two_convolutions(nn.ReLU(), last=last, channels=channels), images(channels)
                    with pytest.warns(UserWarning, match="Setting backward hooks"):
                        expected = captum.attr.GuidedBackprop(network).attribute(
                            inputs.clone().requires_grad_(), target=1
                        )
                    assert_close(maps_of(GuidedBackprop(), network, inputs), summed(expected.abs()))

    def test_is_the_rule_by_hand_however_the_relu_is_called(self) -> None:
        with collected() as case:
            for name, call in RELU_CALLS.items():
                with case(name):
                    network, inputs = Functional(call), images()
                    with torch.no_grad():
                        first = network.first(inputs)
                        second = network.second(first.relu())
                        weights = network.head[2].weight[1].reshape(1, 4, 3, 3).expand(3, -1, -1, -1) * 9 / 100
                        shape = (3, 4, 10, 10)
                    averaged = torch.zeros(shape, requires_grad=True)
                    (back,) = torch.autograd.grad(F.adaptive_avg_pool2d(averaged, 3), averaged, weights * 100 / 9)
                    with torch.no_grad():
                        back = F.conv_transpose2d(back.relu() * (second > 0), network.second.weight, padding=1)
                        expected = F.conv_transpose2d(back.relu() * (first > 0), network.first.weight)
                    assert_close(maps_of(GuidedBackprop(), network, inputs), expected.abs())

    def test_a_network_without_relu_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no ReLU between its input and its logits"):
            maps_of(GuidedBackprop(), two_convolutions(nn.Tanh(), last=nn.Tanh()), images())


@pytest.mark.parametrize("cls", [DeepLift, GuidedBackprop])
def test_torchscript_is_refused_where_activations_get_a_rule(cls) -> None:
    network = torch.jit.script(two_convolutions(nn.ReLU()))
    with pytest.raises(LayerNotFoundError, match="TorchScript"):
        maps_of(cls(), network, images())


class Checkpointed(nn.Module):
    """Its first activations are computed a second time, in the backward pass."""

    def __init__(self, plain: nn.Sequential) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = torch.utils.checkpoint.checkpoint(self.plain[:3], image, use_reentrant=False)
        return self.plain[3:](hidden)


def test_guided_backprop_through_checkpointed_layers_is_right() -> None:
    plain = two_convolutions(nn.ReLU())
    expected = maps_of(GuidedBackprop(), plain, images())
    assert_close(maps_of(GuidedBackprop(), Checkpointed(plain), images()), expected)


def test_deep_lift_refuses_checkpointed_layers() -> None:
    with pytest.raises(ValueError, match="a layer that is checkpointed"):
        maps_of(DeepLift(), Checkpointed(two_convolutions(nn.ReLU())), images())
