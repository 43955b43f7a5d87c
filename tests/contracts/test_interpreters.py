"""What every registered interpreter must do, and one external number for each."""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, Saliency
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from monai_robustinterp.interpreters import (
    INTERPRETERS,
    GradCAM,
    Gradient,
    Interpreter,
    explaining,
    without_gradient,
    without_hooks,
)
from monai_robustinterp.interpreters.base import ROWS, IterativeInterpreter
from monai_robustinterp.interpreters.context.hooks import LayerNotFoundError
from tests.support.cases import collected
from tests.support.interpreters import assert_close, make, noisy
from tests.support.network_state import assert_same, state


@pytest.fixture(params=sorted(INTERPRETERS))
def interpreter(request: pytest.FixtureRequest) -> Interpreter:
    return make(request.param)


_EXPORTS: dict[str, nn.Module] = {}


@pytest.fixture(params=["scripted", "traced", "inside a module"])
def torchscript(request: pytest.FixtureRequest, dense: nn.Module) -> nn.Module:
    """The network ``dense`` as TorchScript, with its in-place ReLUs compiled in; exported once."""
    kind = request.param
    if kind not in _EXPORTS:
        if kind == "traced":
            _EXPORTS[kind] = torch.jit.trace(copy.deepcopy(dense), torch.rand(1, 1, 32, 32), check_trace=False)
        else:
            script = torch.jit.script(copy.deepcopy(dense))
            _EXPORTS[kind] = script if kind == "scripted" else nn.Sequential(OrderedDict(script=script))
    return _EXPORTS[kind]


@pytest.fixture
def batch() -> torch.Tensor:
    return noisy(4, 1, 32, 32)


def surroundings(network: nn.Module) -> list[Any]:
    """What one interpretation could leave behind, in the network and around it."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        [list(getattr(module, kind)) for module in network.modules() for kind in kinds],
        [(type(module), module.training, vars(module).get("forward")) for module in network.modules()],
        [(parameter.requires_grad, parameter.grad) for parameter in network.parameters()],
        [_get_current_function_mode_stack(), _get_current_dispatch_mode_stack()],
        [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()],
        [nn.functional.relu, torch.relu, torch.Tensor.relu, nn.ReLU.forward, nn.Module.__call__],
    ]


class Stopped(Exception):
    """Raised by a network in the middle of a pass."""


class TestEveryInterpreter:
    def test_is_registered_under_its_name(self, interpreter: Interpreter) -> None:
        assert INTERPRETERS[interpreter.name] is type(interpreter)

    def test_returns_one_finite_map_and_the_logits_of_the_network(self, interpreter, dense) -> None:
        with collected() as case:
            for shape in [(4, 1, 32, 32), (1, 1, 32, 32), (2, 1, 32, 48)]:
                with case(shape):
                    images = noisy(*shape)
                    with explaining(dense):
                        result = interpreter.attribute(dense, images, 1)
                    assert result.maps.shape == shape and result.maps.dtype == torch.float32
                    assert torch.isfinite(result.maps).all() and all(float(one.std()) > 0 for one in result.maps)
                    assert not result.maps.requires_grad and not result.logits.requires_grad
                    assert result.logits.dtype == torch.float32
                    assert torch.allclose(result.logits, dense(images), atol=1e-5)

    def test_a_copy_is_interpreted_alone(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            together = interpreter.attribute(dense, batch, 0).maps
            alone = torch.cat([interpreter.attribute(dense, batch[i : i + 1], 0).maps for i in range(4)])
            backwards = interpreter.attribute(dense, batch.flip(0), 0).maps.flip(0)
        for i in range(4):
            assert_close(alone[i], together[i])
            assert_close(backwards[i], together[i])

    def test_says_whether_it_explains_the_target(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            first, second = (interpreter.attribute(dense, batch, target).maps for target in (0, 1))
        assert torch.equal(first, second) is not interpreter.explains_target
        assert torch.allclose(first, second) is not interpreter.explains_target

    def test_repeats_exactly_and_leaves_the_inputs(self, interpreter, dense, batch) -> None:
        before = batch.clone()
        with explaining(dense):
            first = interpreter.attribute(dense, batch, 1).maps
            second = interpreter.attribute(dense, batch, 1).maps
        assert torch.equal(first, second)
        assert torch.equal(batch, before) and not batch.requires_grad and batch.grad is None

    def test_its_settings_as_json_are_all_that_it_is(self, interpreter, dense, batch) -> None:
        settings = json.loads(json.dumps(interpreter.settings, allow_nan=False))
        assert list(settings) == list(inspect.signature(type(interpreter)).parameters)
        again = type(interpreter)(**settings)
        assert again.settings == interpreter.settings == settings
        with explaining(dense):
            maps = [one.attribute(dense, batch, 1).maps for one in (interpreter, again)]
        assert torch.equal(*maps)
        assert interpreter.settings == settings

    def test_neither_reads_nor_moves_the_global_random_state(self, interpreter, dense, batch) -> None:
        maps = []
        for seed in (1, 2):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
                fresh = make(interpreter.name)
                with explaining(dense):
                    maps.append(fresh.attribute(dense, batch, 1).maps)
                assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
                assert np.array_equal(np.random.get_state()[1], states[2])
        assert torch.equal(*maps)

    def test_works_under_no_grad_and_inference_mode(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            expected = interpreter.attribute(dense, batch, 1).maps
        for mode in (torch.no_grad, torch.inference_mode):
            with mode(), explaining(dense):
                assert torch.equal(interpreter.attribute(dense, batch.clone(), 1).maps, expected)

    def test_a_network_in_training_gives_the_same_and_stays_in_training(self, interpreter, tiny, batch) -> None:
        interpreter = make(interpreter.name, target_layer="features.3")
        with explaining(tiny):
            expected = interpreter.attribute(tiny, batch, 1)
        tiny.train()
        before = state(tiny)
        with explaining(tiny):
            found = interpreter.attribute(tiny, batch, 1)
        assert torch.equal(found.maps, expected.maps) and torch.equal(found.logits, expected.logits)
        assert tiny.training
        assert_same(before, state(tiny))

    def test_frozen_parameters_give_the_same(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            expected = interpreter.attribute(dense, batch, 1).maps
        dense.requires_grad_(False)
        with explaining(dense):
            assert torch.equal(interpreter.attribute(dense, batch, 1).maps, expected)

    def test_the_layout_in_memory_changes_nothing(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            expected = interpreter.attribute(dense, batch, 1).maps
        channels_last = copy.deepcopy(dense).to(memory_format=torch.channels_last)
        layouts = {
            "channels last": (channels_last, batch.to(memory_format=torch.channels_last)),
            "columns first": (dense, batch.transpose(2, 3).contiguous().transpose(2, 3)),
            "every second pixel": (dense, batch.repeat_interleave(2, dim=3)[..., ::2]),
        }
        with collected() as case:
            for layout, (network, images) in layouts.items():
                with case(layout):
                    assert images.stride() != batch.stride() and torch.equal(images, batch)
                    with explaining(network):
                        assert_close(interpreter.attribute(network, images, 1).maps, expected)

    def test_a_forward_pass_holds_a_bounded_number_of_images(self, interpreter, dense) -> None:
        seen = []
        dense.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
        for copies in (1, 5, 36):
            seen.clear()
            with explaining(dense):
                interpreter.attribute(dense, noisy(copies, 1, 16, 16), 1)
            # One more for a reference image.
            assert max(seen) <= max(copies, ROWS) + 1, copies

    def test_leaves_no_trace_after_many_calls(self, interpreter, dense, batch) -> None:
        outside = surroundings(dense)
        with explaining(dense):
            inside = surroundings(dense)
            for _ in range(3):
                interpreter.attribute(dense, batch[:1], 0)
                assert surroundings(dense) == inside
        assert surroundings(dense) == outside

    @pytest.mark.parametrize("when", ["first pass", "last pass"])
    def test_an_exception_in_the_network_leaves_no_trace(self, interpreter, dense, batch, when) -> None:
        passes, last = [], 0

        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            passes.append(1)
            if len(passes) == last:
                raise Stopped

        dense.class_layers.register_forward_hook(hook)
        before = state(dense)
        with explaining(dense):
            # What a network is asked once is known afterwards.
            interpreter.attribute(dense, batch[:2], 1)
            passes.clear()
            expected = interpreter.attribute(dense, batch[:2], 1).maps
            last = 1 if when == "first pass" else len(passes)
            passes.clear()
            inside = surroundings(dense)
            with pytest.raises(Stopped):
                interpreter.attribute(dense, batch[:2], 1)
            assert surroundings(dense) == inside
            last = 0
            assert torch.equal(interpreter.attribute(dense, batch[:2], 1).maps, expected)
        assert_same(before, state(dense))

    def test_a_network_that_lets_no_gradient_through(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            expected = interpreter.attribute(dense, batch, 1)
        dense.class_layers.register_forward_hook(lambda module, inputs, output: output.detach())
        if interpreter.needs_gradient:
            assert interpreter.name not in without_gradient()
            with explaining(dense), pytest.raises(ValueError, match="no gradient with respect to its input") as refusal:
                interpreter.attribute(dense, batch, 1)
            assert str(without_gradient()) in str(refusal.value)
        else:
            assert (interpreter.name in without_gradient()) is not interpreter.needs_hooks
            with explaining(dense):
                found = interpreter.attribute(dense, batch, 1)
            assert torch.equal(found.maps, expected.maps) and torch.equal(found.logits, expected.logits)


@pytest.mark.parametrize("name", sorted(name for name, cls in INTERPRETERS.items() if cls.needs_gradient))
def test_an_exception_in_the_backward_pass_leaves_no_trace(name, dense, batch) -> None:
    interpreter, stopping = make(name), False

    def stop(*_: object) -> None:
        raise Stopped

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        if stopping and output.requires_grad:
            output.register_hook(stop)

    dense.class_layers.register_forward_hook(hook)
    before = state(dense)
    with explaining(dense):
        expected = interpreter.attribute(dense, batch[:2], 1).maps
        inside = surroundings(dense)
        stopping = True
        with pytest.raises(Stopped):
            interpreter.attribute(dense, batch[:2], 1)
        assert surroundings(dense) == inside
        stopping = False
        assert torch.equal(interpreter.attribute(dense, batch[:2], 1).maps, expected)
    assert_same(before, state(dense))


ITERATIVE = sorted(name for name, cls in INTERPRETERS.items() if issubclass(cls, IterativeInterpreter))


@pytest.mark.parametrize("name", ITERATIVE)
def test_progress_adds_up(name, dense, batch) -> None:
    interpreter = make(name)
    steps: list[int] = []
    with explaining(dense):
        quiet = interpreter.attribute(dense, batch, 1).maps
        maps = interpreter.attribute(dense, batch, 1, steps.append).maps
    assert torch.equal(maps, quiet)
    assert sum(steps) == interpreter.n_steps and all(type(step) is int and step > 0 for step in steps)
    assert len(steps) > 1


def test_only_what_iterates_takes_a_progress_function() -> None:
    taking = [name for name in sorted(INTERPRETERS) if "progress" in inspect.signature(make(name).attribute).parameters]
    assert taking == ITERATIVE


class TestTorchScript:
    @pytest.mark.parametrize("name", without_hooks())
    def test_without_hooks_the_maps_are_those_of_the_eager_network(self, name, dense, torchscript, batch) -> None:
        interpreter = make(name)
        with explaining(dense):
            expected = interpreter.attribute(dense, batch, 1)
        for _ in range(3):  # the compiler optimizes after the first runs
            with explaining(torchscript):
                found = interpreter.attribute(torchscript, batch, 1)
            assert_close(found.maps, expected.maps)
            torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-6)

    def test_with_hooks_it_is_refused_with_the_interpreters_that_work(self, torchscript, batch) -> None:
        with collected() as case:
            for name, layer in itertools.product(
                sorted(INTERPRETERS.keys() - set(without_hooks())),
                [None, "features.norm5", "script.features.norm5", "nothing"],
            ):
                with case(name, layer):
                    interpreter = make(name, target_layer=layer)
                    with explaining(torchscript), pytest.raises(LayerNotFoundError, match="TorchScript") as refusal:
                        interpreter.attribute(torchscript, batch, 1)
                    assert str(without_hooks()) in str(refusal.value)

    def test_an_eager_layer_beside_torchscript_can_be_hooked(self, dense, batch) -> None:
        with explaining(dense):
            expected = GradCAM("features.norm5").attribute(dense, batch, 1).maps
        dense.class_layers = torch.jit.script(dense.class_layers)
        with explaining(dense):
            found = GradCAM("features.norm5").attribute(dense, batch, 1).maps
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)

    def test_interpreters_without_hooks_are_those_of_the_registry(self) -> None:
        assert "gradient" in without_hooks() and "grad_cam" not in without_hooks()
        assert not any(INTERPRETERS[name].needs_hooks for name in without_hooks())

    def test_interpreters_without_gradient_are_those_of_the_registry(self) -> None:
        assert "rise" in without_gradient() and "gradient" not in without_gradient()
        assert not any(INTERPRETERS[name].needs_gradient for name in without_gradient())
        assert set(without_gradient()) < set(without_hooks())


def test_gradient_is_captums_saliency(dense, batch) -> None:
    with explaining(dense):
        ours = Gradient().attribute(dense, batch, 1).maps
    assert torch.allclose(
        ours, Saliency(dense).attribute(batch.clone().requires_grad_(), target=1), rtol=1e-5, atol=1e-9
    )


def without_inplace(network: nn.Module) -> nn.Module:
    """Captum's hooks see post-ReLU values where an in-place ReLU follows the layer."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


def test_grad_cam_is_captums_before_the_inplace_relu(dense, batch) -> None:
    with explaining(dense):
        ours = GradCAM("features.norm5").attribute(dense, batch, 1).maps
    plain = without_inplace(dense)
    cam = LayerGradCam(plain, plain.features.norm5).attribute(batch, target=1, relu_attributions=True)
    assert torch.allclose(ours, LayerAttribution.interpolate(cam, (32, 32), "bilinear"), rtol=1e-4, atol=1e-8)


def test_grad_cam_is_right_behind_a_functional_inplace_relu(dense, batch) -> None:
    """Nothing but a clone in the hook helps there: the flag of no module says it."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = dense.features
            self.head = dense.class_layers.out

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(nn.functional.relu(self.features(x), inplace=True).mean(dim=(2, 3)))

    network = Functional().eval()
    with explaining(dense):
        expected = GradCAM("features.norm5").attribute(dense, batch, 1).maps
    with explaining(network):
        found = GradCAM("features.norm5").attribute(network, batch, 1).maps
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-8)
