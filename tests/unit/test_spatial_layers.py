"""CAM methods that find their layer, and tokens laid out as channels: by hand, on MONAI's networks, and refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from monai.networks.nets import DenseNet, EfficientNetBN, ResNet, ViT
from torch import nn

from monai_robustinterp.interpreters import (
    CAM,
    LRP,
    GradCAM,
    GradCAMpp,
    Gradient,
    GuidedBackprop,
    RobustActivationMap,
    explaining,
)
from monai_robustinterp.interpreters.context.hooks import LayerNotFoundError
from monai_robustinterp.interpreters.spatial import as_channels, last_spatial_layer
from monai_robustinterp.networks.evidence import EvidenceDenseNet
from monai_robustinterp.networks.first_output import FirstOutput
from tests.support.cases import collected
from tests.support.interpreters import assert_close, noisy


def vit(size: tuple[int, int] = (32, 32)) -> nn.Module:
    settings = {"hidden_size": 12, "mlp_dim": 16, "num_layers": 3, "num_heads": 3, "num_classes": 2}
    return FirstOutput(ViT(1, size, 8, **settings, classification=True, spatial_dims=2, post_activation=None))


def efficient_net() -> nn.Module:
    return EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=1, num_classes=2)


def seeded(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build().eval()


class Blocks(nn.Module):
    """Residual sums and ReLUs that are functions, so that no leaf returns what is pooled; and a head beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.aside, self.head = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3), nn.Linear(3, 2)
        self.sum = Summed()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.sum(self.block(image))
        self.aside(features)
        return self.head(features.mean(dim=(2, 3)))


class Summed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.relu(values + self.conv(values))


def densenet() -> nn.Module:
    return DenseNet(2, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2))


def evidence() -> nn.Module:
    return EvidenceDenseNet(out_channels=2, init_features=8, growth_rate=4, block_config=(1, 1, 1, 1))


LAST = {
    "DenseNet": (densenet, None, "class_layers.relu"),
    "EvidenceDenseNet": (evidence, None, "evidence"),
    "EfficientNet": (efficient_net, None, "_swish"),
    "residual sum, with a layer that the logits do not come from": (Blocks, None, "sum"),
    "ViT": (vit, "tokens", "network.blocks.2.norm1"),
}


def images_for(name: str) -> torch.Tensor:
    """EfficientNet makes one position of 32 pixels."""
    return noisy(2, 1, 64, 64) if name == "EfficientNet" else noisy(2, 1, 32, 32)


def test_the_last_layer_that_the_logit_depends_on_is_found() -> None:
    with collected() as case:
        for name, (build, reshape, layer) in LAST.items():
            with case(name):
                network = seeded(build)
                with explaining(network):
                    assert last_spatial_layer(network, images_for(name), 1, reshape=reshape) == layer


def test_without_a_name_the_map_is_that_of_the_found_layer() -> None:
    with collected() as case:
        for name, (build, reshape, layer) in LAST.items():
            network, images = seeded(build), images_for(name)
            for method in (GradCAM, GradCAMpp) if reshape else (GradCAM, GradCAMpp, CAM, RobustActivationMap):
                build_method = partial(method, reshape=reshape) if reshape else method
                with case(name, method), explaining(network):
                    found = build_method().attribute(network, images, 1)
                    named = build_method(layer).attribute(network, images, 1)
                    assert torch.equal(found.maps, named.maps) and torch.equal(found.logits, named.logits)


class TestTokens:
    def test_rows_come_first_and_a_class_token_is_dropped(self) -> None:
        grid = torch.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4)
        tokens = grid.flatten(2).transpose(1, 2)
        size = torch.Size((32, 64))
        assert torch.equal(as_channels(tokens, "tokens", size=size), grid)
        with_class = torch.cat([torch.full((2, 1, 3), -1), tokens], dim=1)
        assert torch.equal(as_channels(with_class, "tokens", size=size), grid)

    def test_other_numbers_of_tokens_are_refused(self) -> None:
        with collected() as case:
            for shape in [(2, 8, 3), (2, 18, 3), (2, 3), (2, 0, 3), (2, 3, 4, 4)]:
                with case(shape), pytest.raises(ValueError, match=r"'tokens' and the layer returned shape"):
                    as_channels(torch.zeros(shape), "tokens", size=torch.Size((32, 32)))

    def test_grad_cam_of_tokens_is_its_definition(self) -> None:
        network, images = seeded(partial(vit, (32, 64))), noisy(2, 1, 32, 64)
        kept = []
        handle = network.network.blocks[1].register_forward_hook(lambda _m, _i, output: kept.append(output))
        logits = network(images.requires_grad_())
        handle.remove()
        (slope,) = torch.autograd.grad(logits[:, 1].sum(), kept[0])
        expected = torch.zeros(2, 4, 8)
        for row in range(4):
            for column in range(8):
                token = kept[0][:, 1 + 8 * row + column].detach()
                expected[:, row, column] = (token * slope[:, 1:].mean(dim=1)).sum(dim=1).relu()
        enlarged = nn.functional.interpolate(expected[:, None], size=(32, 64), mode="bilinear")
        with explaining(network):
            found = GradCAM("network.blocks.1", reshape="tokens").attribute(network, images.detach(), 1)
        assert float(expected.max()) > 0
        assert_close(found.maps, enlarged)

    def test_a_function_lays_out_what_it_likes(self) -> None:
        network, images = seeded(vit), noisy(2, 1, 32, 32)
        by_hand = GradCAMpp("network.blocks.1", reshape=without_class_token)
        with explaining(network):
            found = by_hand.attribute(network, images, 1).maps
            expected = GradCAMpp("network.blocks.1", reshape="tokens").attribute(network, images, 1).maps
        assert torch.equal(found, expected)
        assert by_hand.settings["reshape"].endswith("test_spatial_layers.without_class_token")


def without_class_token(output: torch.Tensor) -> torch.Tensor:
    return output[:, 1:].transpose(1, 2).unflatten(2, (4, 4))


def test_a_transformer_without_reshape_is_refused_with_the_way_out() -> None:
    network = seeded(vit)
    with explaining(network), pytest.raises(LayerNotFoundError, match="pass reshape='tokens'"):
        GradCAM().attribute(network, noisy(2, 1, 32, 32), 1)


def test_a_layer_of_tokens_without_reshape_is_refused() -> None:
    network = seeded(vit)
    with explaining(network), pytest.raises(ValueError, match="of a transformer's tokens pass a reshape"):
        GradCAM("network.blocks.1").attribute(network, noisy(2, 1, 32, 32), 1)


def test_a_network_without_such_a_layer_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    with explaining(network), pytest.raises(LayerNotFoundError, match="no layer with an output"):
        CAM().attribute(network, noisy(2, 1, 8, 8), 1)


def test_a_wrong_reshape_is_refused() -> None:
    with collected() as case:
        for wrong in ("grid", 3, ""):
            with case(wrong), pytest.raises(ValueError, match=r"reshape is .*; it must be None, 'tokens'"):
                GradCAM(reshape=wrong)


def resnet() -> nn.Module:
    return ResNet("basic", [1, 1, 1, 1], [4, 4, 8, 8], spatial_dims=2, n_input_channels=1, num_classes=2)


WORKS = {
    "DenseNet": (densenet, "lrp guided_backprop gradient cam robust_activation_map grad_cam grad_cam_pp"),
    "EvidenceDenseNet": (
        evidence,
        "lrp guided_backprop gradient cam robust_activation_map grad_cam grad_cam_pp",
    ),
    "ResNet": (resnet, "guided_backprop gradient cam robust_activation_map grad_cam grad_cam_pp"),
    "EfficientNet": (efficient_net, "gradient cam robust_activation_map grad_cam grad_cam_pp"),
    "ViT": (vit, "gradient"),
}


def test_what_the_how_to_says_of_networks_and_methods_is_so() -> None:
    """docs/how-to/transformers-and-other-networks.md: the rest is refused."""
    methods = [LRP, GuidedBackprop, Gradient, CAM, RobustActivationMap, GradCAM, GradCAMpp]
    with collected() as case:
        for name, (build, working) in WORKS.items():
            network, images = seeded(build), images_for("EfficientNet" if name == "ResNet" else name)
            for method in methods:
                with case(name, method.name), explaining(network):
                    if method.name in working.split():
                        assert method().attribute(network, images, 1).maps.isfinite().all()
                    else:
                        with pytest.raises(ValueError):
                            method().attribute(network, images, 1)
