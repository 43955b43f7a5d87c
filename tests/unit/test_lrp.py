"""LRP: by hand, against the definition on matrices, by conservation, and on the layers that it refuses."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DenseNet, EfficientNetBN
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import LRP, InputXGradient, explaining
from monai_robustinterp.networks.evidence import EvidenceDenseNet
from monai_robustinterp.networks.grayscale import GrayscaleInput
from tests.support.cases import collected


def seeded(build, seed: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                # Scales of both signs, and shifts: what folding could get wrong.
                module.weight.data.normal_()
                module.bias.data.normal_()
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        return network


def relevance(network: nn.Module, inputs: torch.Tensor, target: int = 0, **settings):
    with explaining(network):
        return LRP(**settings).relevance(network, inputs, target)


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(5)) - 0.1


class TestByHand:
    """Two 1 x 1 convolutions on an image of two pixels, and a linear layer."""

    def network(self) -> nn.Module:
        network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, (1, 2)), nn.ReLU(), nn.Flatten())
        network.append(nn.Linear(1, 2))
        values = {0: ([1.0, -1.0], [0.0, 3.0]), 2: ([2.0, -1.0, 3.0, 1.0], [1.0]), 5: ([4.0, -2.0], [5.0, 0.0])}
        for at, (weight, bias) in values.items():
            network[at].weight.data = torch.tensor(weight).reshape(network[at].weight.shape)
            network[at].bias.data = torch.tensor(bias)
        return network.eval()

    # The image (1, 2) gives channels (1, 2) and (2, 1), then 2 - 2 + 6 + 1 + 1 = 8, and the logits 37 and -16.
    image = torch.tensor([[[[1.0, 2.0]]]])

    def test_epsilon_then_zplus_then_flat(self) -> None:
        # Head: 32 of 37. z-plus: 2, 6 and 1 of 9 to pixel 1 of both channels and pixel 2 of the second. Flat hands on.
        found = relevance(self.network(), self.image, epsilon=0)
        torch.testing.assert_close(found.maps.flatten(), torch.tensor([32 * 8 / 9, 32 * 1 / 9]))
        torch.testing.assert_close(found.absorbed, torch.tensor([5.0]))
        assert found.logits.tolist() == [[37.0, -16.0]]

    def test_zplus_in_the_first_convolution_loses_what_only_a_bias_made(self) -> None:
        found = relevance(self.network(), self.image, first="same", epsilon=0)
        torch.testing.assert_close(found.maps.flatten(), torch.tensor([32 * 2 / 9, 0.0]))
        torch.testing.assert_close(found.absorbed, torch.tensor([5 + 32 * 7 / 9]))

    def test_epsilon_everywhere_lets_biases_keep_their_shares(self) -> None:
        # Of 32: 2 and 6 of 8 to pixel 1 by the channels, -2 and 1 of 8 to pixel 2; of the second channel -1/2, -2/1.
        found = relevance(self.network(), self.image, convolution="epsilon", first="same", epsilon=0)
        torch.testing.assert_close(found.maps.flatten(), 4 * torch.tensor([2 - 6 / 2, -2 + 1 * -2.0]))
        torch.testing.assert_close(found.maps.sum() + found.absorbed, torch.tensor([37.0]))

    def test_epsilon_takes_its_part_of_each_sum(self) -> None:
        found = relevance(self.network(), self.image, target=1, epsilon=1.0)
        # -16 of -17 from the head; p / (p + 1) = 9/10 through the convolution; flat takes nothing.
        expected = -16 * 16 / 17 * 9 / 10
        torch.testing.assert_close(found.maps.flatten(), expected * torch.tensor([8 / 9, 1 / 9]))


def test_without_biases_the_epsilon_rule_at_0_is_input_times_gradient(batch) -> None:
    def build() -> nn.Module:
        first, second = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Conv2d(4, 6, 3, stride=2, bias=False)
        head = [nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3, bias=False)]
        return nn.Sequential(first, nn.ReLU(inplace=True), nn.AvgPool2d(2), second, nn.ReLU(), *head)

    network = seeded(build)
    found = relevance(network, batch, 2, convolution="epsilon", first="same", epsilon=0)
    with explaining(network):
        expected = InputXGradient().attribute(network, batch, 2)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.maps.sum(dim=(1, 2, 3)), expected.logits[:, 2], rtol=1e-4, atol=1e-6)


def test_zplus_with_inputs_of_both_signs_is_its_definition_on_matrices() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 5, 4), nn.Flatten(), nn.Linear(5, 1)))
    image = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    weight, head = network[0].weight.detach().flatten(1), network[2].weight.detach()[0]
    outputs = network[0](image).detach().flatten()
    received = outputs * head
    positive = (weight * image.flatten()).clamp(min=0)
    expected = (positive / positive.sum(dim=1, keepdim=True) * received[:, None]).sum(dim=0)
    found = relevance(network, image, first="same", epsilon=0)
    torch.testing.assert_close(found.maps.flatten(), expected, rtol=1e-4, atol=1e-6)


class TestFolding:
    def test_a_batch_norm_behind_a_convolution_is_the_convolution_that_it_makes(self, batch) -> None:
        network = seeded(
            lambda: nn.Sequential(
                *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)),
                *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
            )
        )
        fused = nn.Sequential(
            *(nn.utils.fuse_conv_bn_eval(*network[:2]), nn.ReLU(), nn.utils.fuse_conv_bn_eval(*network[3:5])),
            *network[5:],
        ).eval()
        with collected() as case:
            for settings in ({}, {"first": "same"}, {"convolution": "epsilon", "first": "same", "epsilon": 1e-3}):
                with case(settings):
                    found, expected = (relevance(one, batch, 1, **settings) for one in (network, fused))
                    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-3, atol=1e-5)

    def test_average_pooling_right_behind_a_convolution_is_one_convolution_of_larger_steps(self, batch) -> None:
        network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.AvgPool2d(32), nn.Flatten(), nn.Linear(4, 2)))
        joined = nn.Sequential(nn.Conv2d(1, 4, 32), *network[2:])
        joined[0].weight.data = network[0].weight.detach().expand(-1, -1, 32, 32) / 32**2
        joined[0].bias = network[0].bias
        found, expected = (relevance(one, batch, 1, first="same") for one in (network, joined))
        torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-7)

    def test_an_output_that_was_overwritten_is_not_folded(self, batch) -> None:
        class Overwritten(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                values = self.conv(image)
                values.relu_()
                return self.head(self.norm(values).mean(dim=(2, 3)))

        network = seeded(Overwritten)
        apart = nn.Sequential(
            network.conv, nn.ReLU(), network.norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.head
        )
        found, expected = relevance(network, batch), relevance(apart.eval(), batch)
        torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-6)


NETWORKS = {
    "DenseNet": lambda: DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2), bn_size=2),
    "gray DenseNet of three channels": lambda: GrayscaleInput(
        DenseNet(2, 3, 3, init_features=8, growth_rate=4, block_config=(2, 2)),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
    ),
    "EvidenceDenseNet": lambda: EvidenceDenseNet(
        out_channels=3, n_maps=2, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2)
    ),
}


def test_relevance_is_conserved_or_absorbed(batch) -> None:
    with collected() as case:
        for name, build in NETWORKS.items():
            for settings in ({}, {"first": "same"}, {"epsilon": 1e-2}):
                with case(name, settings):
                    found = relevance(seeded(build), batch, 1, **settings)
                    total = found.maps.sum(dim=(1, 2, 3)) + found.absorbed
                    torch.testing.assert_close(total, found.logits[:, 1], rtol=1e-4, atol=1e-5)


def test_without_shifts_in_between_only_the_last_bias_is_absorbed(batch) -> None:
    """What passes a ReLU then has a positive contribution, which the z-plus rule can give it back to."""
    with collected() as case:
        for name, build in NETWORKS.items():
            with case(name):
                network = seeded(build)
                for module in network.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.weight.data.abs_()
                        module.bias.data.zero_()
                        module.running_mean.zero_()
                found = relevance(network, batch, 1, epsilon=0)
                (*_, head) = (module for module in network.modules() if isinstance(module, nn.Linear))
                expected = found.logits[:, 1] - head.bias[1].detach()
                torch.testing.assert_close(found.maps.sum(dim=(1, 2, 3)), expected, rtol=1e-4, atol=1e-5)
                assert float(found.maps.abs().sum(dim=(1, 2, 3)).min()) > 1e-3


def test_functional_calls_give_the_map_of_modules(batch) -> None:
    class Functional(nn.Module):
        def __init__(self, modules: nn.Module) -> None:
            super().__init__()
            self.first, self.norm, self.second, self.head = modules[0], modules[1], modules[4], modules[8]

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            hidden = nn.functional.max_pool2d(nn.functional.relu(self.norm(self.first(image)), inplace=True), 2)
            return self.head(torch.relu_(self.second(hidden)).mean((2, 3)))

    modules = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
        )
    )
    found, expected = relevance(Functional(modules).eval(), batch), relevance(modules, batch)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-6)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(1, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head((image + self.conv(image)).mean(dim=(2, 3)))


def test_what_has_no_rule_is_refused_with_its_layer(batch) -> None:
    cases = {
        r"layer '1' \(SiLU\) of the network calls 'silu', and LRP has no rule": nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
        ),
        r"the network calls 'add' of several features": Residual(),
        r"layer '_swish' \(MemoryEfficientSwish\)": EfficientNetBN(
            "efficientnet-b0", pretrained=False, in_channels=1, num_classes=2
        ),
        "over the images of a batch": nn.Sequential(nn.Flatten(0, 2), nn.Linear(32, 2)),
    }
    with collected() as case:
        for rule, network in cases.items():
            with case(rule), explaining(network.eval()), pytest.raises(InputRefused, match=rule):
                LRP().attribute(network, batch, 1)


class Doubled(torch.autograd.Function):
    """Code that no rule sees."""

    @staticmethod
    def forward(ctx, values):
        return 2 * values

    @staticmethod
    def backward(ctx, slope):
        return 2 * slope


def test_code_that_no_rule_sees_is_refused_by_the_sum(batch) -> None:
    class Hidden(Residual):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.head(Doubled.apply(self.conv(image)).mean(dim=(2, 3)))

    network = seeded(Hidden)
    with (
        explaining(network),
        pytest.raises(InputRefused, match=r"sum to .* and the explained logit is .* code of its own"),
    ):
        LRP().attribute(network, batch, 1)
