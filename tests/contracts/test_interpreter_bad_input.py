"""What every registered interpreter says to networks, targets and arguments that it cannot take."""

from __future__ import annotations

import inspect
from ast import literal_eval
from typing import Any

import pytest
import torch
from torch import nn

from monai_robustinterp.interpreters import INTERPRETERS, GradCAM, Interpreter, explaining
from monai_robustinterp.interpreters.context.hooks import LayerNotFoundError
from tests.support.cases import collected
from tests.support.interpreters import ARGUMENTS, assert_close, make, noisy


@pytest.fixture(params=sorted(INTERPRETERS))
def interpreter(request: pytest.FixtureRequest) -> Interpreter:
    return make(request.param)


@pytest.fixture
def batch() -> torch.Tensor:
    return noisy(3, 1, 32, 32)


class Wrapped(nn.Module):
    """The network ``dense`` with something done to its input and output; its layers keep their names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features, self.class_layers = network.features, network.class_layers

    def before(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def after(self, logits: torch.Tensor) -> Any:
        return logits

    def forward(self, image: torch.Tensor) -> Any:
        return self.after(self.class_layers(self.features(self.before(image))))


def test_a_target_out_of_range_is_refused(interpreter, dense, batch) -> None:
    with collected() as case:
        for target in [-1, 2]:
            rule = rf"target is {target} and the network has 2 logits"
            with case(target), explaining(dense), pytest.raises(ValueError, match=rule):
                interpreter.attribute(dense, batch, target)


def test_an_output_that_is_no_logits_is_refused(interpreter, dense, batch) -> None:
    cases = [
        (lambda logits: {"logits": logits}, "returned dict"),
        (lambda logits: (logits, logits), "returned tuple"),
        (lambda logits: [logits], "returned list"),
        (lambda logits: None, "returned NoneType"),
        (lambda logits: logits[:, 0], r"returned shape \(\d,\)"),
        (lambda logits: logits[..., None, None], r"returned shape \(\d, 2, 1, 1\)"),
    ]
    with collected() as case:
        for answer, found in cases:
            with case(found):
                network = Wrapped(dense)
                network.after = answer
                rule = rf"{found}; an interpreter needs logits of shape"
                with explaining(network), pytest.raises(ValueError, match=rule):
                    interpreter.attribute(network, batch, 0)


def test_a_network_that_answers_nan_is_seen_in_map_or_logits(interpreter, dense, batch) -> None:
    network = Wrapped(dense)
    network.after = lambda logits: logits * float("nan")
    with explaining(network):
        try:
            found = interpreter.attribute(network, batch, 1)
        except ValueError as error:
            assert "NaN" in str(error) or "finite" in str(error)
        else:
            for maps, logits in zip(found.maps, found.logits):
                assert not (torch.isfinite(maps).all() and torch.isfinite(logits).all())


def test_a_network_that_overwrites_its_input_does_no_harm(interpreter, dense, batch) -> None:
    """Torch refuses it where the input is differentiated or repeated; elsewhere the right map is due."""
    plain, overwriting = Wrapped(dense), Wrapped(dense)
    plain.before = lambda image: image * 2
    overwriting.before = lambda image: image.mul_(2)
    with explaining(plain):
        expected = interpreter.attribute(plain, batch, 1)
    before = batch.clone()
    with explaining(overwriting):
        try:
            found = interpreter.attribute(overwriting, batch, 1)
        except RuntimeError as error:
            assert "in-place" in str(error) or "single memory location" in str(error)
        else:
            assert_close(found.maps, expected.maps)
            assert_close(found.logits, expected.logits)
    assert torch.equal(batch, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_refused_before_any_interpreter(dense, dtype) -> None:
    rule = rf"weight 'features.conv0.weight' is {dtype}.*Pass network\.float\(\)"
    with pytest.raises(ValueError, match=rule), explaining(dense.to(dtype)):
        pytest.fail("this must not be reached")
    assert all(parameter.requires_grad for parameter in dense.parameters())


def wrong_values() -> list[tuple[str, str, object]]:
    """For each number or word that an interpreter takes, one that is certainly wrong."""
    wrong = []
    for name in sorted(INTERPRETERS):
        for argument, value in make(name).settings.items():
            # Any integer is a seed. A layer can be checked only with a network.
            if argument in ("seed", "target_layer") or isinstance(value, bool):
                continue
            if isinstance(value, int | float):
                wrong.append((name, argument, float("nan")))
            if isinstance(value, int):
                wrong.append((name, argument, -1))
            if isinstance(value, str):
                wrong.append((name, argument, "nonsense"))
    return wrong


def test_a_wrong_argument_is_refused_at_once_and_named() -> None:
    with collected() as case:
        for name, argument, value in wrong_values():
            with case(name, argument, value), pytest.raises(ValueError, match=argument):
                INTERPRETERS[name](**ARGUMENTS.get(name, {}) | {argument: value})


@pytest.mark.parametrize(
    "name", sorted(n for n, cls in INTERPRETERS.items() if "target_layer" in inspect.signature(cls).parameters)
)
def test_a_wrong_layer_is_answered_with_the_candidates(dense, batch, name) -> None:
    with collected() as case:
        for layer in ["features.nothing", ""]:
            with case(layer):
                with explaining(dense), pytest.raises(LayerNotFoundError, match=r"features\.norm5") as refused:
                    make(name, target_layer=layer).attribute(dense, batch, 0)
                # Each candidate gives a map, unless the head's kind is at fault; none is inside of a block.
                candidates = literal_eval(str(refused.value).partition("network are ")[2].rstrip("."))
                assert "features.denseblock2" in candidates and not any(name.count(".") > 1 for name in candidates)
                with explaining(dense):
                    for candidate in candidates:
                        GradCAM(candidate).attribute(dense, batch, 0)


@pytest.mark.parametrize(
    "name", sorted(n for n, cls in INTERPRETERS.items() if "target_layer" in inspect.signature(cls).parameters)
)
def test_a_layer_of_one_position_is_refused(dense, batch, name) -> None:
    """Its map would be the same everywhere."""
    with explaining(dense), pytest.raises(ValueError, match=r"class_layers\.pool.*one position.*before the pooling"):
        make(name, target_layer="class_layers.pool").attribute(dense, batch, 0)


def test_grad_cam_refuses_a_layer_without_space(dense, batch) -> None:
    with explaining(dense), pytest.raises(ValueError, match="before the pooling"):
        GradCAM("class_layers.out").attribute(dense, batch, 0)
