"""Captum by name: its own numbers copy by copy, whatever the batch, and refused where it is wrong."""

from __future__ import annotations

import gc
import importlib.util
import random
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from monai_robustinterp.cli.arguments import interpreter as parsed
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import INTERPRETERS, Interpreter, explaining, interpreter_class, make_interpreter
from monai_robustinterp.interpreters.base import ROWS
from monai_robustinterp.interpreters.captum_table import METHODS
from monai_robustinterp.networks.callable_classifier import CallableClassifier
from tests.support.cases import collected
from tests.support.interpreters import assert_close, noisy
from tests.support.network_state import assert_same, state

SETTINGS: dict[str, dict[str, Any]] = {
    "IntegratedGradients": {"n_steps": 4, "baselines": 0.5},
    "GradientShap": {"n_samples": 3, "stdevs": 0.1, "seed": 7},
    "NoiseTunnel": {"attribution_method": "InputXGradient", "nt_samples": 3, "stdevs": 0.1, "nt_type": "vargrad"},
    "Occlusion": {"sliding_window_shapes": [1, 8, 8], "strides": [1, 4, 8], "perturbations_per_eval": 3},
    "FeatureAblation": {"feature_mask": 8, "baselines": 0.5},
    "ShapleyValueSampling": {"feature_mask": 16, "n_samples": 2},
    "ShapleyValues": {"feature_mask": 16},
    "KernelShap": {"feature_mask": 8, "n_samples": 20},
    "Lime": {"feature_mask": 8, "n_samples": 20},
}
RUN = [name for name in METHODS if importlib.util.find_spec("sklearn") or name not in ("KernelShap", "Lime")]
HOOKED = [name for name, method in METHODS.items() if method.oracle is not None]


class Modules(nn.Module):
    """A network in which Captum sees every operation, made of modules that are called once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()
        self.second, self.last, self.pool, self.head = (
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(6, 3),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = self.relu(self.norm(self.conv(image)))
        return self.head(self.pool(self.last(self.second(hidden))).flatten(1))


class Functions(Modules):
    """The same values from functions."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.relu(self.norm(self.conv(image)), inplace=True)
        return self.head(torch.relu(self.second(hidden)).mean(dim=(2, 3)))


@pytest.fixture
def network() -> nn.Module:
    return seeded(Modules)


@pytest.fixture
def batch() -> torch.Tensor:
    return noisy(3, 1, 32, 32)


def seeded(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = build()
        network.norm.running_mean.normal_(0, 0.3)
        network.norm.bias.data.normal_(0, 0.3)
        # Lime's lasso leaves nothing of logits that hardly change.
        network.head.weight.data.mul_(100)
    return network.eval()


def make(name: str, **changes: Any) -> Interpreter:
    return make_interpreter(f"captum:{name}", settings=SETTINGS.get(name, {}) | changes)


def squares(side: int) -> torch.Tensor:
    row = torch.arange(32) // side
    return (row[:, None] * (32 // side) + row)[None, None]


def captums(name: str, network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """What a user of Captum gets of one image [1, 1, 32, 32]."""
    settings = {
        key: tuple(value) if isinstance(value, list) else value for key, value in SETTINGS.get(name, {}).items()
    }
    torch.manual_seed(settings.get("seed", 0))
    np.random.seed(settings.pop("seed", 0))
    if "feature_mask" in settings:
        settings["feature_mask"] = squares(settings["feature_mask"])
    if name == "GradientShap":
        settings["baselines"] = torch.zeros(1, 1, 32, 32)
    given = getattr(captum.attr, settings.pop("attribution_method"))(network) if name == "NoiseTunnel" else network
    image = image.clone().requires_grad_(METHODS[name].gradient)
    found: torch.Tensor = getattr(captum.attr, name)(given).attribute(image, target=1, **settings)
    return found.detach()


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_each_copy_has_the_map_that_captum_gives_it_alone(network, batch) -> None:
    with collected() as case:
        for name in RUN:
            with case(name), explaining(network), torch.random.fork_rng():
                found = make(name).attribute(network, batch, 1)
                expected = torch.cat([captums(name, network, image[None]) for image in batch])
                assert_close(found.maps, expected.to(found.maps.dtype))
                assert float(found.maps.std()) > 0
                torch.testing.assert_close(found.logits, network(batch))


def test_maps_do_not_depend_on_the_batch_and_repeat_exactly(network, batch) -> None:
    with collected() as case:
        for name in RUN:
            with case(name), explaining(network):
                together, again = (make(name).attribute(network, batch, 1).maps for _ in range(2))
                alone = [make(name).attribute(network, batch[i : i + 1], 1).maps for i in (2, 1, 0)]
                assert torch.equal(together, again)
                assert_close(torch.cat(alone).flip(0), together)


def test_copies_of_one_image_get_the_same_draws_and_another_seed_others(network, batch) -> None:
    with collected() as case:
        for name in (name for name in RUN if METHODS[name].draws):
            with case(name), explaining(network):
                maps = make(name).attribute(network, batch[:1].expand(3, -1, -1, -1), 1).maps
                assert torch.equal(maps[0], maps[1]) and torch.equal(maps[0], maps[2])
                assert not torch.allclose(maps, make(name, seed=8).attribute(network, batch[:1], 1).maps)


def test_networks_and_generators_are_left_as_they_were(network, batch) -> None:
    network.train()
    with collected() as case:
        for name in RUN:
            with case(name):
                before, inputs = state(network), batch.clone()
                drawn = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
                with explaining(network):
                    inside = state(network)
                    make(name).attribute(network, inputs, 1)
                    assert_same(inside, state(network))
                assert_same(before, state(network))
                assert torch.equal(inputs, batch) and not inputs.requires_grad
                assert torch.equal(torch.get_rng_state(), drawn[0]) and random.getstate() == drawn[1]
                assert np.array_equal(np.random.get_state()[1], drawn[2])


def test_a_pass_holds_a_bounded_number_of_images(network) -> None:
    rows: list[int] = []
    network.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))
    cases = {
        "IntegratedGradients": {"n_steps": 40},
        "NoiseTunnel": {"nt_samples": 70},
        "GradientShap": {},
        "Saliency": {},
    }
    with collected() as case:
        for name, settings in cases.items():
            rows.clear()
            with case(name), explaining(network):
                make(name, **settings).attribute(network, noisy(5, 1, 16, 16), 1)
                assert max(rows) <= ROWS


def test_captum_is_refused_where_its_hooks_miss_a_function(batch) -> None:
    network = seeded(Functions)
    with collected() as case:
        for name in HOOKED:
            rule = f"Captum's {name} is wrong for this network: it differs from the method's own rule"
            with case(name), explaining(network), pytest.raises(InputRefused, match=rule):
                make(name).attribute(network, batch, 1)


def test_captum_is_refused_where_it_refuses(batch, dense) -> None:
    class Twice(Modules):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            hidden = self.relu(self.norm(self.conv(image)))
            return self.head(self.pool(self.relu(self.second(hidden))).flatten(1))

    cases = [
        ("LRP", dense, {}, "refuses this with TypeError: Module of type .*Flatten"),
        ("DeepLift", seeded(Twice), {}, "refuses this with RuntimeError: A Module ReLU"),
    ]
    cases.append(("Occlusion", seeded(Modules), {"strides": [1, 99, 99]}, "refuses this with AssertionError"))
    cases.append(
        ("FeatureAblation", seeded(Modules), {"feature_mask": [[0, 1]]}, r"shape \(1, 2\) for images of 32 x 32")
    )
    cases.append(
        (
            "FeatureAblation",
            seeded(Modules),
            {"feature_mask": "left"},
            "feature_mask is neither a whole number nor lists",
        )
    )
    with collected() as case:
        for name, network, settings, rule in cases:
            with case(name, settings), explaining(network), pytest.raises(InputRefused, match=rule):
                make(name, **settings).attribute(network, batch, 1)


@pytest.mark.skipif(list(METHODS) == RUN, reason="scikit-learn is installed")
def test_what_needs_scikit_learn_says_so(network, batch) -> None:
    with explaining(network), pytest.raises(InputRefused, match="sklearn is not available"):
        make("KernelShap").attribute(network, batch, 1)


def test_a_mask_of_lists_is_that_of_squares(network, batch) -> None:
    lists = squares(8)[0, 0].tolist()
    with explaining(network):
        maps = [make("FeatureAblation", feature_mask=mask).attribute(network, batch, 1).maps for mask in (8, lists)]
    assert torch.equal(*maps)


def test_perturbations_need_no_gradient(network, batch) -> None:
    function = CallableClassifier(lambda images: network(torch.from_numpy(images)).detach().numpy(), returns="logits")
    with explaining(network):
        expected = make("Occlusion").attribute(network, batch, 1).maps
    with explaining(function):
        assert_close(make("Occlusion").attribute(function, batch, 1).maps, expected)
        with pytest.raises(ValueError, match="no gradient with respect to its input"):
            make("Saliency").attribute(function, batch, 1)


def test_a_network_that_overwrites_its_input_does_no_harm(network, batch) -> None:
    class Overwriting(Modules):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image.mul_(2))

    class Doubling(Modules):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image * 2)

    with collected() as case:
        for name in (name for name in RUN if name not in HOOKED):
            with case(name):
                maps = []
                for build in (Doubling, Overwriting):
                    made = seeded(build)
                    with explaining(made):
                        maps.append(make(name).attribute(made, batch, 1).maps)
                assert_close(maps[1], maps[0])


class Stopped(Exception):
    """Raised by a network in the middle of a pass."""


def test_an_exception_in_the_network_comes_through_and_leaves_no_trace(network, batch) -> None:
    passes: list[int] = []

    def hook(*_: object) -> None:
        passes.append(1)
        if len(passes) == 2:
            raise Stopped

    network.head.register_forward_hook(hook)
    with collected() as case:
        for name in RUN:
            with case(name):
                before = state(network)
                passes.clear()
                with explaining(network), pytest.raises(Stopped):
                    make(name).attribute(network, batch, 1)
                assert_same(before, state(network))


REFUSALS = [
    ("captum:FeaturePermutation", {}, "swaps features between the images of a batch"),
    ("captum:DeepLiftShap", {}, "Use 'gradient_shap'"),
    ("captum:GuidedGradCam", {}, "Use 'grad_cam'"),
    ("captum:LayerGradCam", {}, "explains with a layer or a neuron"),
    ("captum:NeuronGradient", {}, "explains with a layer or a neuron"),
    ("captum:Grad", {}, "takes one of .*'Saliency'"),
    ("captum:", {}, "takes one of"),
    ("captum", {}, "or captum:NAME"),
    ("captum:Occlusion", {}, "lacks a setting.*sliding_window_shapes"),
    ("captum:KernelShap", {}, "lacks a setting.*feature_mask"),
    ("captum:NoiseTunnel", {}, "lacks a setting.*attribution_method"),
    ("captum:NoiseTunnel", {"attribution_method": "DeepLift"}, "attribution_method is 'DeepLift'"),
    ("captum:Saliency", {"steps": 3}, "no setting 'steps'; its settings are .*abs"),
    ("captum:Saliency", {"target": 3}, "no setting 'target'"),
    ("captum:DeepLift", {"eps": 3}, "no setting 'eps'"),
    ("captum:FeatureAblation", {"feature_mask": 0}, "feature_mask is 0"),
    ("captum:FeatureAblation", {"feature_mask": 8, "baselines": "black"}, "baselines is 'black'"),
    ("captum:Lime", {"feature_mask": 8, "seed": "x"}, "seed is 'x'"),
    ("captum:Saliency", {"abs": torch.zeros(1)}, "no JSON value"),
]


def test_wrong_names_and_settings_are_refused_at_once() -> None:
    with collected() as case:
        for name, settings, rule in REFUSALS:
            with case(name, settings), pytest.raises(ValueError, match=rule):
                make_interpreter(name, settings=settings)


def test_settings_are_what_was_given_and_make_the_same_again() -> None:
    made = make("Occlusion")
    assert made.name == "captum:Occlusion" and made.settings == SETTINGS["Occlusion"]
    assert make_interpreter(made.name, known={"target_layer": "conv"}, settings=made.settings).settings == made.settings
    assert interpreter_class("captum:Occlusion") is type(made) and made.name not in INTERPRETERS


def test_the_command_line_takes_lists() -> None:
    text = "captum:Occlusion:sliding_window_shapes=[1,32,32]:strides=[1, 16, 16]:baselines=0.5"
    settings = {"sliding_window_shapes": [1, 32, 32], "strides": [1, 16, 16], "baselines": 0.5}
    assert parsed(text) == ("captum:Occlusion", settings)
    assert parsed("captum:Saliency") == ("captum:Saliency", {})


def test_nothing_accumulates(network) -> None:
    image = noisy(1, 1, 16, 16)

    def live_after(calls: int) -> int:
        for name in RUN * calls:
            with explaining(network):
                make(name).attribute(network, image, 1)
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    gc.collect()
    gc.freeze()
    try:
        assert live_after(1) == live_after(2)
    finally:
        gc.unfreeze()
