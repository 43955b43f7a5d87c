"""The network is looked at before any vote: what would void certificate or decision is refused with the fix."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from monai_robustinterp import CertifiedSaliencyInferer, GrayscaleInput
from monai_robustinterp.errors import refusal_reason
from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.networks import CallableClassifier
from tests.support.cases import collected
from tests.support.networks import TinyClassifier


class Around(nn.Module):
    """A network, and what comes before and after it."""

    def __init__(self, network: nn.Module, after: Callable = lambda x: x, before: Callable = lambda x: x) -> None:
        super().__init__()
        self.network, self.after, self.before = network, after, before

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.after(self.network(self.before(image)))


class Casts(nn.Module):
    def __init__(self, network: nn.Module, dtype: torch.dtype, *, autocast: bool) -> None:
        super().__init__()
        self.network, self.dtype, self.autocast = network, dtype, autocast

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not self.autocast:
            return self.network(image.to(self.dtype).float())
        with torch.autocast("cpu", dtype=self.dtype):
            return self.network(image).float()


class Rounds(nn.Module):
    """Rounds its input in a way that TorchScript knows too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image.to(torch.bfloat16).float()).mean(dim=(2, 3))


class FunctionalDropout(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, 0.1)


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    return CertifiedSaliencyInferer(**({"n_samples": 8, "cell_size": 4, "top_k": 6, "target": 0} | changes))


def three_channels() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def wrong_networks(tiny: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    plain = copy.deepcopy(tiny)
    ensemble = Around(plain, lambda logits: torch.stack([logits.sigmoid(), (2 * logits).sigmoid()]).mean(dim=0))
    return {
        "softmax": (Around(plain, lambda logits: logits.softmax(dim=1)), r"each row sums to 1.*last softmax out"),
        "sigmoid": (Around(plain, torch.sigmoid), r"all lie in \[0, 1\].*last sigmoid out"),
        "one sigmoid": (Around(TinyClassifier(1).eval(), torch.sigmoid), "last sigmoid out"),
        "saturated": (Around(plain, lambda logits: (1e4 * logits).sigmoid()), "probabilities already"),
        "mean of sigmoids": (ensemble, "last sigmoid out"),
        "hard sigmoid": (Around(plain, nn.Hardsigmoid()), "last sigmoid out"),
        "script": (torch.jit.script(nn.Sequential(copy.deepcopy(plain), nn.Softmax(dim=1))), "last softmax out"),
        "dropout": (nn.Sequential(FunctionalDropout(), copy.deepcopy(plain)), "each time: a dropout"),
        "noise": (Around(plain, before=lambda x: x + 10 * torch.randn_like(x)), "each time: a dropout"),
        "mean of the batch": (Around(plain, before=lambda x: x - x.mean(dim=0)), "in a batch with another one"),
        "norm of the batch": (Around(plain, lambda out: out / out.norm()), "in a batch with another one"),
        "functional batch norm": (Around(plain, lambda out: batch_norm(out)), "in a batch"),
        "one row for all": (
            Around(plain, lambda out: out.mean(dim=0, keepdim=True)),
            "1 rows of logits for a batch of 2",
        ),
        "autocast": (Casts(plain, torch.bfloat16, autocast=True), "computes in bfloat16 by itself"),
        "float16": (Casts(plain, torch.float16, autocast=False), "computes in float16 by itself"),
        "rounding, script": (torch.jit.script(Rounds()), "computes in bfloat16 by itself"),
        "autocast, trace": (
            torch.jit.trace(Casts(plain, torch.bfloat16, autocast=True), torch.rand(1, 1, 32, 32)),
            "computes in bfloat16 by itself",
        ),
        "three channels": (three_channels(), r"takes 3 channels.*GrayscaleInput\(network"),
        "four channels": (nn.Sequential(nn.Conv2d(4, 2, 32), nn.Flatten()), "takes 4 channels"),
        "three channels, script": (torch.jit.script(three_channels()), "takes 3 channels"),
        "two outputs": (Around(plain, lambda out: (out, out)), "returned tuple"),
        "a map": (plain.features, r"returned shape \(1, 6, 16, 16\)"),
    }


def batch_norm(logits: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(logits, None, None, training=True) if len(logits) > 1 else logits


def head() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def test_a_network_that_cannot_be_certified_is_refused_with_what_to_do(tiny, image) -> None:
    with collected() as case:
        for activation in ("softmax", "sigmoid"):
            for name, (network, said) in wrong_networks(tiny).items():
                # One class is refused under softmax for being one.
                if name != "one sigmoid" or activation == "sigmoid":
                    with case(activation, name), pytest.raises(ValueError, match=f"(?s){said}"):
                        make_inferer(activation=activation).certify(image, network.eval())


class Between(nn.Module):
    """Logits of images that lie in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.3, 0.6]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(dim=(2, 3)) * self.scale


def function_of(scale: float, returns: str) -> CallableClassifier:
    def function(batch: np.ndarray) -> np.ndarray:
        mean = batch.mean(axis=(1, 2, 3))[:, None]
        if returns == "softmax":
            return np.concatenate([mean, 1 - mean], axis=1) if scale == 1 else mean
        return scale * mean

    return CallableClassifier(function, returns=returns)


def test_a_network_that_only_looks_like_it_is_not_refused(tiny, dense, image) -> None:
    networks = {
        "logits in [0, 1]": Between(),
        "log-probabilities": Around(tiny, lambda logits: logits.log_softmax(dim=1)),
        "small logits": Around(tiny, lambda logits: 1e-3 * logits),
        "large logits": Around(tiny, lambda logits: 1e4 * logits),
        "all zero": Around(tiny, lambda logits: 0 * logits),
        "layer norm": Around(tiny, lambda logits: functional.layer_norm(logits, (3,))),
        "dense": dense,
        "script": torch.jit.script(copy.deepcopy(tiny)),
        "gray input": GrayscaleInput(three_channels(), mean=[0.4] * 3, std=[0.2] * 3),
    }
    with collected() as case:
        for name, network in networks.items():
            for activation in ("softmax", "sigmoid"):
                with case(name, activation):
                    result = make_inferer(activation=activation).certify(image, network.eval())
                    assert result.votes.n_samples == 8


def test_a_function_is_asked_for_images_only_and_told_how_to_declare_probabilities(image) -> None:
    settings = {"activation": "sigmoid", "interpreter": "rise", "n_samples": 2}
    with pytest.raises(ValueError, match=r"CallableClassifier\(function, returns='sigmoid'\)"):
        make_inferer(**settings).certify(image, function_of(1, "logits"))
    # log(p / (1 - p)) of probabilities from 0.5 to 0.73 lies in [0, 1], and so may a logit times 10 not.
    for network in (function_of(1.2, "sigmoid"), function_of(10, "logits")):
        assert make_inferer(**settings).certify(image, network).votes.n_samples == 2


def test_bfloat16_may_be_asked_for_and_float16_hidden_in_it_may_not(tiny, image) -> None:
    assert make_inferer(precision="bfloat16").certify(image, Casts(tiny, torch.bfloat16, autocast=True))
    with pytest.raises(ValueError, match=r"computes in float16 by itself"):
        make_inferer(precision="bfloat16").certify(image, Casts(tiny, torch.float16, autocast=False))


def test_it_costs_one_forward_pass_of_two_images(tiny, image) -> None:
    rows: list[int] = []
    tiny.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    make_inferer(n_samples=8, batch_size=8).certify(image, tiny)
    assert rows == [1, 2, 8]


# ---- a user's own error


class Fails(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise self.error


class FailsLater(Fails):
    """Only for many copies."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if len(image) > 2:
            raise self.error
        return image.mean(dim=(2, 3)) * torch.tensor([1.0, -1.0])


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * 2

    @staticmethod
    def backward(context, gradient):
        raise KeyError("my own backward")


class FailsBackward(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return _Backward.apply(image.mean(dim=(2, 3))) * torch.tensor([1.0, -1.0])


class FailingInterpreter(Interpreter):
    name = "failing"

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        raise ZeroDivisionError("no baseline")


def raised(network: nn.Module, image: torch.Tensor, **settings: object) -> Exception:
    with pytest.raises(Exception) as caught:
        make_inferer(**settings).certify(image, network)
    return caught.value


def test_a_users_own_error_stays_itself_and_is_said_in_one_line(tiny, image) -> None:
    """The same object in Python; its type and words in a cohort, where nobody is asked to report it."""
    long = "one\ntwo " + "x" * 1000
    with collected() as case:
        for make in (Fails, FailsLater):
            for error in (
                RuntimeError("shape '[1]' is invalid"),
                ValueError("my rule"),
                KeyError("layer"),
                Exception(long),
            ):
                with case(make.__name__, type(error).__name__):
                    found = raised(make(error), image)
                    assert found is error
                    reason = refusal_reason(found)
                    said = " ".join(str(error).split())[:300]
                    assert reason == f"the network raised {type(error).__name__}: {said}"
        with case("backward"):
            reason = refusal_reason(raised(FailsBackward(), image))
            assert reason == "the network raised KeyError: 'my own backward'"
        with case("wrong size"):
            network = nn.Sequential(nn.Flatten(), nn.Linear(99, 2))
            assert refusal_reason(raised(network, image)).startswith("the network raised RuntimeError: mat1 and mat2")
        with case("interpreter"):
            reason = refusal_reason(raised(tiny, image, interpreter=FailingInterpreter()))
            assert reason == "the interpreter raised ZeroDivisionError: no baseline"
        with case("memory"):
            error = torch.OutOfMemoryError("CUDA out of memory.")
            assert "ran out of memory" in refusal_reason(raised(Fails(error), image))
