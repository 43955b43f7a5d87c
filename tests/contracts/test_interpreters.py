"""What every registered interpreter must do, and one external number for each."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, Saliency
from torch import nn

from monai_robustinterp.interpreters import (
    INTERPRETERS,
    GradCAM,
    Gradient,
    Interpreter,
    explaining,
    without_hooks,
)
from monai_robustinterp.interpreters.model_context import LayerNotFoundError

ARGUMENTS = {"grad_cam": {"target_layer": "features.norm5"}}


@pytest.fixture(params=sorted(INTERPRETERS))
def interpreter(request: pytest.FixtureRequest) -> Interpreter:
    return INTERPRETERS[request.param](**ARGUMENTS.get(request.param, {}))


@pytest.fixture(params=["scripted", "traced", "inside a module"])
def torchscript(request: pytest.FixtureRequest, dense: nn.Module) -> nn.Module:
    """The network ``dense`` as TorchScript, with its in-place ReLUs compiled in."""
    if request.param == "traced":
        return torch.jit.trace(copy.deepcopy(dense), torch.rand(1, 1, 32, 32))
    script = torch.jit.script(copy.deepcopy(dense))
    return script if request.param == "scripted" else nn.Sequential(OrderedDict(script=script))


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(3))


class TestEveryInterpreter:
    def test_is_registered_under_its_name(self, interpreter: Interpreter) -> None:
        assert INTERPRETERS[interpreter.name] is type(interpreter)

    def test_returns_one_finite_map_and_the_logits_of_the_network(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            result = interpreter.attribute(dense, batch, 1)
        assert result.maps.shape == (5, 1, 32, 32) and result.maps.dtype == torch.float32
        assert torch.isfinite(result.maps).all() and result.maps.std() > 0
        assert not result.maps.requires_grad and not result.logits.requires_grad
        assert torch.allclose(result.logits, dense(batch), atol=1e-5)

    def test_a_copy_is_interpreted_alone(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            together = interpreter.attribute(dense, batch, 0).maps
            alone = torch.cat([interpreter.attribute(dense, batch[i : i + 1], 0).maps for i in range(5)])
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-6 * together.abs().max())

    def test_explains_the_target(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            first, second = (interpreter.attribute(dense, batch, target).maps for target in (0, 1))
        assert not torch.allclose(first, second)

    def test_repeats_exactly_and_leaves_the_inputs(self, interpreter, dense, batch) -> None:
        before = batch.clone()
        with explaining(dense):
            first = interpreter.attribute(dense, batch, 1).maps
            second = interpreter.attribute(dense, batch, 1).maps
        assert torch.equal(first, second)
        assert torch.equal(batch, before) and not batch.requires_grad and batch.grad is None

    @pytest.mark.parametrize("target", [-1, 2])
    def test_refuses_a_target_out_of_range(self, interpreter, dense, batch, target) -> None:
        with explaining(dense), pytest.raises(ValueError, match="2 logits"):
            interpreter.attribute(dense, batch, target)

    def test_refuses_a_network_without_logits(self, interpreter, dense, batch) -> None:
        class Wrapped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.features = dense.features

            def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
                return {"logits": dense(x)}

        network = Wrapped()
        with explaining(network), pytest.raises(ValueError, match="returned dict"):
            interpreter.attribute(network, batch, 0)

    def test_works_under_no_grad_and_inference_mode(self, interpreter, dense, batch) -> None:
        with explaining(dense):
            expected = interpreter.attribute(dense, batch, 1).maps
        for mode in (torch.no_grad, torch.inference_mode):
            with mode(), explaining(dense):
                assert torch.equal(interpreter.attribute(dense, batch.clone(), 1).maps, expected)

    def test_leaves_no_trace_after_many_calls(self, interpreter, dense, batch) -> None:
        hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in dense.modules())
        for _ in range(20):
            with explaining(dense):
                interpreter.attribute(dense, batch[:1], 0)
        assert sum(len(m._forward_hooks) + len(m._backward_hooks) for m in dense.modules()) == hooks
        assert all(p.grad is None for p in dense.parameters())

    def test_a_network_that_lets_no_gradient_through_is_refused(self, interpreter, dense, batch) -> None:
        dense.class_layers.register_forward_hook(lambda module, inputs, output: output.detach())
        with explaining(dense), pytest.raises(ValueError, match="no gradient with respect to its input"):
            interpreter.attribute(dense, batch, 1)


class TestTorchScript:
    @pytest.mark.parametrize("name", without_hooks())
    def test_without_hooks_the_maps_are_those_of_the_eager_network(self, name, dense, torchscript, batch) -> None:
        interpreter = INTERPRETERS[name](**ARGUMENTS.get(name, {}))
        with explaining(dense):
            expected = interpreter.attribute(dense, batch, 1)
        atol = 1e-6 * float(expected.maps.abs().max())
        for _ in range(3):  # the compiler optimizes after the first runs
            with explaining(torchscript):
                found = interpreter.attribute(torchscript, batch, 1)
            torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=atol)
            torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", sorted(INTERPRETERS.keys() - set(without_hooks())))
    @pytest.mark.parametrize("layer", [None, "features.norm5", "script.features.norm5", "nothing"])
    def test_with_hooks_it_is_refused_with_the_interpreters_that_work(self, name, layer, torchscript, batch) -> None:
        interpreter = INTERPRETERS[name](target_layer=layer)
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


@pytest.mark.parametrize("layer", [None, "features.nothing", ""])
def test_grad_cam_lists_the_candidates_for_a_wrong_layer(dense, batch, layer) -> None:
    with explaining(dense), pytest.raises(LayerNotFoundError, match=r"features\.norm5"):
        GradCAM(layer).attribute(dense, batch, 0)


def test_grad_cam_refuses_a_layer_without_space(dense, batch) -> None:
    with explaining(dense), pytest.raises(ValueError, match="before the pooling"):
        GradCAM("class_layers.out").attribute(dense, batch, 0)
