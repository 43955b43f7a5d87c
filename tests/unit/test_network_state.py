"""The network after an explanation is the network of before, whatever happened in between."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from monai_robustinterp import load_bundle
from monai_robustinterp.interpreters import GradCAM, Gradient, explaining
from tests.support.bundles import OPACITY
from tests.support.cases import collected
from tests.support.network_state import assert_same, state


@pytest.fixture
def busy(tiny):
    """A network in the middle of somebody's training, with a hook of their own."""
    tiny.train()
    tiny.dropout.eval()
    tiny.head.weight.requires_grad_(False)
    tiny(torch.rand(4, 1, 32, 32)).sum().backward()
    tiny.features[0].register_forward_hook(lambda module, inputs, output: None)
    return tiny


def test_a_second_run_waits_for_the_first(busy) -> None:
    """What the first puts back would be the second one's network in training mode."""
    before, order, entered = state(busy), [], threading.Event()

    def second() -> None:
        entered.set()
        with explaining(busy) as network:
            order.append("second" if not any(m.training for m in network.modules()) else "training")

    with explaining(busy), explaining(busy):  # the same thread may enter again
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait()
        thread.join(0.2)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"] and not thread.is_alive()
    assert_same(before, state(busy))


class Stubborn(nn.Sequential):
    """Its layers do not follow train() and eval(), as in Monte-Carlo dropout."""

    def train(self, mode: bool = True) -> Stubborn:
        self.training = mode
        return self


@pytest.mark.parametrize("layer", [nn.Dropout2d(0.5), nn.BatchNorm2d(2), nn.RReLU(), nn.InstanceNorm2d(2)])
def test_a_layer_that_stays_in_training_mode_is_refused(layer) -> None:
    network = Stubborn(nn.Conv2d(1, 2, 3), layer, nn.Flatten(), nn.Linear(2 * 30 * 30, 2))
    match = rf"layer '1', a {type(layer).__name__}, stays in training"
    with pytest.raises(ValueError, match=match), explaining(network):
        pass
    assert network.training and layer.training
    layer.eval()
    with explaining(network):
        pass


@pytest.mark.parametrize("failing", [False, True])
def test_everything_is_restored(busy, failing) -> None:
    before = state(busy)
    try:
        with explaining(busy) as network:
            assert not any(m.training for m in network.modules())
            assert not any(p.requires_grad for p in network.parameters())
            GradCAM("features.3").attribute(network, torch.rand(2, 1, 32, 32), 0)
            network.features[0].register_forward_hook(lambda module, inputs, output: output * 0)
            network.head.register_forward_pre_hook(lambda module, inputs: None)
            if failing:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert failing
    assert_same(before, state(busy))


def test_gradients_are_possible_inside_whatever_the_caller_disabled(tiny) -> None:
    with torch.inference_mode(), explaining(tiny) as network:
        x = torch.rand(1, 1, 32, 32, requires_grad=True)
        assert torch.autograd.grad(network(x).sum(), x)[0].abs().sum() > 0
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_a_batch_norm_that_mixes_copies_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)).train()
    with pytest.raises(ValueError, match="running statistics"), explaining(network):
        pass
    assert network.training


@pytest.mark.parametrize("exported", ["scripted", "traced", "loaded"])
@pytest.mark.parametrize("failing", [False, True])
def test_torchscript_is_restored(tiny, exported, failing, tmp_path) -> None:
    network = torch.jit.trace(tiny, torch.rand(1, 1, 32, 32)) if exported == "traced" else torch.jit.script(tiny)
    if exported == "loaded":
        torch.jit.save(network, tmp_path / "network.ts")
        network = torch.jit.load(tmp_path / "network.ts")
    network.train()
    network.head.eval()
    network.head.bias.requires_grad_(False)
    network(torch.rand(4, 1, 32, 32)).sum().backward()
    before = state(network)
    assert set(before["training"]) == {True, False} and set(before["requires_grad"]) == {True, False}
    try:
        with explaining(network):
            assert not any(m.training for m in network.modules())
            assert not any(p.requires_grad for p in network.parameters())
            Gradient().attribute(network, torch.rand(2, 1, 32, 32), 0)
            if failing:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert failing
    assert_same(before, state(network))


def test_a_frozen_torchscript_network_has_no_mode_before_and_after(tiny, image) -> None:
    with explaining(tiny):
        expected = Gradient().attribute(tiny, image[None], 1).maps
    frozen = torch.jit.freeze(torch.jit.script(tiny))
    with explaining(frozen):
        found = Gradient().attribute(frozen, image[None], 1).maps
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)
    assert not hasattr(frozen, "training")


def batch_norm(tracks: bool) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=tracks))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_that_mixes_copies_is_refused() -> None:
    x = torch.rand(3, 1, 32, 32)
    scripts = {
        "scripted batch norm": torch.jit.script(batch_norm(False).eval()),
        "traced batch norm": torch.jit.trace(batch_norm(False).eval(), x),
        "traced in training": torch.jit.trace(batch_norm(True).train(), x),
        "traced dropout": torch.jit.trace(nn.Dropout(0.5).train(), x, check_trace=False),
    }
    rule = r"training mode.*Export it again"
    with collected() as case:
        for name, script in scripts.items():
            for network in (script, nn.Sequential(script)):
                with case(name, type(network)), pytest.raises(ValueError, match=rule), explaining(network):
                    pytest.fail("this must not be reached")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_that_mixes_no_copies_is_explained() -> None:
    x = torch.rand(3, 1, 32, 32)
    scripts = {
        "traced dropout": torch.jit.trace(nn.Dropout(0.5).eval(), x),
        "traced batch norm": torch.jit.trace(batch_norm(True).eval(), x),
        "scripted in training": torch.jit.script(batch_norm(True).train()),
    }
    with collected() as case:
        for name, script in scripts.items():
            for network in (script, nn.Sequential(script)):
                with case(name, type(network)), explaining(network):
                    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-6)


def test_a_function_is_no_network() -> None:
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"), explaining(lambda x: x):
        pass


def test_a_layer_that_returns_no_tensor_is_refused(tiny) -> None:
    class Pair(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    tiny.features[2] = Pair()
    tiny.features.insert(3, Second())
    with explaining(tiny), pytest.raises(ValueError, match="returns a tuple"):
        GradCAM("features.2").attribute(tiny, torch.rand(2, 1, 32, 32), 0)


class Second(torch.nn.Module):
    def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return pair[1]


def test_a_layer_beside_the_way_to_the_logits_is_refused(tiny) -> None:
    class Beside(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside, self.network = torch.nn.Conv2d(1, 2, 3), tiny

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.aside(x)
            return self.network(x)

    network = Beside().eval()
    with explaining(network), pytest.raises(ValueError, match="does not depend on the layer"):
        GradCAM("aside").attribute(network, torch.rand(2, 1, 32, 32), 0)


# ---- batch norms as affine maps


def random_norm(norm: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for tensor in (norm.running_var, *([norm.weight] if norm.affine else [])):
        tensor.data.uniform_(0.1, 3, generator=generator)
    for tensor in (norm.running_mean, *([norm.bias] if norm.affine else [])):
        tensor.data.normal_(generator=generator)
    return norm.eval()


NORMS = [
    (nn.BatchNorm2d(6), (4, 6, 9, 7)),
    (nn.BatchNorm2d(6, affine=False, eps=1e-3), (4, 6, 9, 7)),
    (nn.BatchNorm1d(6), (4, 6)),
    (nn.BatchNorm1d(6), (4, 6, 5)),
    (nn.BatchNorm3d(6), (2, 6, 3, 4, 5)),
]


@pytest.mark.parametrize(("norm", "shape"), NORMS, ids=range(len(NORMS)))
def test_a_batch_norm_gives_the_same_values(norm, shape) -> None:
    random_norm(norm)
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    expected = norm(x)
    (slope,) = torch.autograd.grad((expected * weights).sum(), x)
    with explaining(norm):
        found = norm(x)
        (gradient,) = torch.autograd.grad((found * weights).sum(), x)
        assert "Addcmul" in type(found.grad_fn).__name__
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=1e-6)
    assert "forward" not in vars(norm) and "BatchNorm" in type(norm(x).grad_fn).__name__


def test_the_shipped_network_gives_the_same_logits() -> None:
    network = load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"}).network
    images = torch.rand(3, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
    with explaining(network), torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-6, atol=1e-6)


def test_a_batch_norm_that_somebody_changed_is_left_alone() -> None:
    class Own(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    patched = nn.BatchNorm2d(2).eval()
    patched.forward = forward = lambda x: x + 2
    network = nn.Sequential(Own(2), patched).eval()
    with explaining(network):
        assert torch.equal(network(torch.zeros(1, 2, 3, 3)), torch.full((1, 2, 3, 3), 3.0))
    assert patched.forward is forward


def test_hooks_of_a_batch_norm_still_run(tiny) -> None:
    seen = []
    tiny.features[1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with explaining(tiny):
        tiny(torch.rand(2, 1, 32, 32))
    assert seen == [(2, 4, 16, 16)]
