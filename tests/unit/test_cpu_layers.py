"""Layers that are faster on a CPU give what torch's own give; torch and finite differences are the oracle."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from monai_robustinterp import load_bundle
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.context.cpu_layers import faster_forward, input_gradient
from tests.support.cases import collected

PAIRS = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)]


def random(*shape: int, seed: int = 0, **options: object) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **options)


def test_the_gradient_is_that_of_torch() -> None:
    """Rows and columns alone, steps beyond the kernel, and rows that no kernel reaches, among them."""
    with collected() as case:
        for kernel, channels in itertools.product([(1, 1), (2, 2), (3, 3), (7, 7), (1, 5), (5, 2)], [1, 3]):
            with case(kernel, channels):
                for stride, padding, size in itertools.product(PAIRS, [(0, 0), (3, 1), (1, 3)], [(9, 12), (12, 7)]):
                    image, weight = (
                        random(2, channels, *size, dtype=torch.float64),
                        random(5, channels, *kernel, dtype=torch.float64),
                    )
                    slope = random(
                        *functional.conv2d(image, weight, None, stride, padding).shape, dtype=torch.float64, seed=1
                    )
                    expected = nn.grad.conv2d_input(image.shape, weight, slope, stride, padding)
                    found = input_gradient(slope, weight, size, stride, padding)
                    torch.testing.assert_close(
                        found, expected, rtol=1e-12, atol=1e-12, msg=f"{stride} {padding} {size}"
                    )


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 6, 5, stride=2, padding=2), nn.Softplus(), nn.Conv2d(6, 3, 3)).eval()


def slope_of(layer: nn.Module, image: torch.Tensor, *, lower: bool = False) -> torch.Tensor:
    image = image.clone().requires_grad_()
    # As a network does that lowers its precision by itself.
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        output = layer(image)
    return torch.autograd.grad((output * random(*output.shape, seed=5)).sum(), image)[0]


def test_inside_explaining_the_first_convolution_alone_is_another_and_its_values_are_the_same() -> None:
    plain, image = network(), random(3, 2, 17, 20)
    expected, slope = plain(image), slope_of(plain, image)
    with explaining(plain):
        image.requires_grad_()
        assert "FewChannels" in type(plain[0](image).grad_fn).__name__
        assert "ConvolutionBackward" in type(plain[2](random(1, 6, 5, 5, requires_grad=True)).grad_fn).__name__
        assert torch.equal(plain(image), expected)
        torch.testing.assert_close(slope_of(plain, image.detach()), slope, rtol=1e-6, atol=1e-6)
    assert not any("forward" in vars(module) for module in plain)


def test_the_shipped_network_gives_the_same_gradient() -> None:
    shipped = load_bundle("chest_xray_findings", {"device": "$torch.device('cpu')"}).network
    images = torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    expected = slope_of(shipped.requires_grad_(False), images)
    with explaining(shipped):
        found = slope_of(shipped, images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_gradients_of_the_gradient_are_right() -> None:
    """Attacks on maps need them."""
    plain = network().double()
    for parameter in plain.parameters():
        parameter.requires_grad_(False)
    first = plain[0]
    first.forward = faster_forward(first)
    image = random(1, 2, 7, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(plain, image) and torch.autograd.gradgradcheck(plain, image)


class Own(nn.Conv2d):
    def _conv_forward(self, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return super()._conv_forward(inputs, weight, bias) + 1


OTHERS = {
    "dilated": nn.Conv2d(1, 4, 3, dilation=2),
    "grouped": nn.Conv2d(2, 4, 3, groups=2),
    "reflecting": nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
    "padded by a word": nn.Conv2d(1, 4, 3, padding="same"),
    "of many channels": nn.Conv2d(4, 4, 3),
    "somebody's own": Own(1, 4, 3),
}


@pytest.mark.parametrize("layer", OTHERS.values(), ids=OTHERS)
def test_other_convolutions_are_left_alone(layer) -> None:
    image = random(2, layer.in_channels, 9, 9)
    expected, slope = layer(image), slope_of(layer, image)
    with explaining(layer):
        assert "forward" not in vars(layer)
        assert torch.equal(layer(image), expected) and torch.equal(slope_of(layer, image), slope)


def test_a_convolution_that_computes_its_weight_follows_it() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3))
    image = random(2, 1, 9, 9)
    slope = slope_of(layer, image)
    with explaining(layer):
        assert "forward" in vars(layer)
        torch.testing.assert_close(slope_of(layer, image), slope, rtol=1e-6, atol=1e-6)
        layer.parametrizations.weight.original0.data.mul_(2)
        torch.testing.assert_close(slope_of(layer, image), 2 * slope, rtol=1e-6, atol=1e-6)


def test_what_else_a_convolution_can_be_asked() -> None:
    """One image without a batch, a network's own lower precision, and torch.func."""
    plain, image = network(), random(3, 2, 17, 20)
    alone, many = slope_of(plain, image[0]), slope_of(plain, image)
    lower = slope_of(plain, image, lower=True)
    with explaining(plain):
        torch.testing.assert_close(slope_of(plain, image[0]), alone, rtol=1e-6, atol=1e-6)
        mapped = torch.func.vmap(torch.func.grad(lambda one: plain(one[None]).sum()))(image)
        found = slope_of(plain, image, lower=True)
        ones = torch.autograd.grad(plain(image.requires_grad_()).sum(), image)[0]
    torch.testing.assert_close(mapped, ones, rtol=1e-5, atol=1e-6)
    assert found.dtype == torch.float32
    assert (found - lower).abs().max() <= 0.02 * many.abs().max()
