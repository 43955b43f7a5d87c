"""DenseNet-121 checkpoints: an independent forward pass over torchvision's names is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monai_robustinterp.networks import GrayscaleInput, densenet121_state_dict, load_densenet121
from tests.support.cases import collected
from tests.support.torchvision_densenet import State, chexnet, old_names, torchvision_forward, torchvision_state


@pytest.fixture(scope="module")
def state() -> State:
    return torchvision_state(5)


FORMATS: dict[str, Callable[[State], dict[str, object]]] = {
    "torchvision": dict,
    "torchvision before 0.3": old_names,
    "CheXNet": chexnet,
    **{
        prefix: lambda state, prefix=prefix: {prefix + key: value for key, value in state.items()}
        for prefix in ("module.", "densenet121.", "model.", "module.densenet121.")
    },
}


@pytest.mark.parametrize("layout", FORMATS)
def test_logits_are_those_of_torchvisions_network(state, layout, tmp_path) -> None:
    gray = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.save(FORMATS[layout](state), tmp_path / "model.pth")
    network = load_densenet121(tmp_path / "model.pth")
    assert isinstance(network, GrayscaleInput) and not network.training
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        logits = network(gray)
        expected = torchvision_forward(state, (gray.expand(2, 3, 64, 64) - mean) / std)
    assert logits.shape == (2, 5) and expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_normalization_is_a_choice_and_the_classes_are_read(state) -> None:
    one_class = dict(state) | {"classifier.weight": torch.ones(1, 1024), "classifier.bias": torch.zeros(1)}
    network = load_densenet121(one_class, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    gray = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = torchvision_forward(one_class, ((gray - 0.5) / 0.25).expand(1, 3, 64, 64))
        torch.testing.assert_close(network(gray), expected, rtol=1e-4, atol=1e-5)


def test_the_callers_state_dict_is_not_changed(state) -> None:
    before = list(state)
    densenet121_state_dict(state)
    assert list(state) == before


def without(name: str) -> Callable[[State], object]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def test_another_checkpoint_is_refused_with_what_was_found(state) -> None:
    cases = [
        (without("features.norm5.bias"), r"missing: features\.norm5\.bias; left over: none"),
        (without("classifier.weight"), r"missing: class_layers\.out\.weight; left over"),
        (without("features.conv0.weight"), "0 keys of the checkpoint end in"),
        (lambda s: s | {"classifier.2.weight": torch.ones(2, 2)}, r"left over: classifier\.2\.weight"),
        (lambda s: s | {"loss.weight": torch.ones(2)}, r"left over: loss\.weight"),
        (
            lambda s: s | {f"features.denseblock4.denselayer{i}.conv1.weight": torch.ones(2) for i in range(17, 25)},
            r"left over: features\.denseblock4\.denselayer17.* and 5 more; of another shape: none",
        ),
        (
            lambda s: s | {"features.conv0.weight": torch.ones(64, 1, 7, 7)},
            r"features\.conv0\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)",
        ),
        (lambda s: s | {"classifier.weight": torch.ones(1024)}, r"class_layers\.out\.weight \(1024,\) instead of"),
        (lambda s: {"epoch": 1, "model": s}, "is no state dict and has none under 'state_dict'"),
        (lambda s: list(s.values()), "is no state dict"),
        (lambda s: {}, "0 keys of the checkpoint"),
    ]
    with collected() as case:
        for damage, message in cases:
            with case(message), pytest.raises(ValueError, match=message):
                densenet121_state_dict(damage(dict(state)))


def test_a_file_with_code_is_refused_and_not_run(state, tmp_path) -> None:
    torch.save({"state_dict": state, "path": Path("anything")}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="can run code"):
        load_densenet121(tmp_path / "model.pth")


def test_the_adapter_can_be_scripted_with_its_network(tiny) -> None:
    network = GrayscaleInput(tiny, mean=(0.3,), std=(0.5,)).eval()
    script = torch.jit.script(network)
    gray = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(script(gray), network(gray))
    assert not torch.allclose(script(gray), tiny(gray))
