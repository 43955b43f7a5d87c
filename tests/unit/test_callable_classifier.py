"""A function as a network: what it gets, what it may return, and what is said when it does not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer, GrayscaleInput
from monai_robustinterp.interpreters import INTERPRETERS, RISE, explaining, without_gradient
from monai_robustinterp.networks import CallableClassifier
from tests.support.cases import collected
from tests.support.interpreters import ARGUMENTS


def returning(scores: object, **arguments: str) -> CallableClassifier:
    return CallableClassifier(lambda batch: scores, **arguments)


@pytest.fixture
def local(tiny):
    """The small network behind a function of numpy arrays."""

    def predict(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return tiny(torch.from_numpy(batch)).numpy()

    return CallableClassifier(predict)


def test_the_function_gets_a_plain_array_of_its_own() -> None:
    seen = []

    def predict(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        batch += 1000  # and what it does to it stays there
        return np.zeros((len(batch), 2))

    image = torch.rand(3, 2, 8, 6).to(memory_format=torch.channels_last)
    before = image.clone()
    CallableClassifier(predict)(image.requires_grad_())
    (batch,) = seen
    assert type(batch) is np.ndarray and batch.dtype == np.float32 and batch.shape == (3, 2, 8, 6)
    assert batch.flags.c_contiguous and batch.flags.owndata and batch.flags.writeable
    assert torch.equal(image, before) and np.array_equal(batch, before.numpy() + 1000)


def test_the_logits_are_float32_without_gradient_and_not_the_functions_buffer() -> None:
    buffer = np.arange(6, dtype=np.float32).reshape(2, 3)
    network = CallableClassifier(lambda batch: buffer)
    first = network(torch.rand(2, 1, 8, 8, requires_grad=True))
    buffer += 1
    assert first.dtype == torch.float32 and not first.requires_grad and first.device.type == "cpu"
    assert first.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert network(torch.rand(2, 1, 8, 8)).tolist() == [[1, 2, 3], [4, 5, 6]]


class ArrayLike:
    """As other frameworks' tensors: numpy can read it."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.array([[1.0, -2.0]], dtype=np.float64)


def test_scores_may_come_as_any_array() -> None:
    every_scores = [
        [[1, -2]],
        ((1.0, -2.0),),
        [np.array([1.0, -2.0])],
        np.array([[1, -2]], dtype=np.int8),
        np.array([[1, -2]], dtype=np.float16),
        np.array([[1, -2]], dtype=">f8"),
        np.asfortranarray([[1.0, -2.0]]),
        torch.tensor([[1.0, -2.0]], dtype=torch.float64, requires_grad=True),
        ArrayLike(),
    ]
    with collected() as case:
        for scores in every_scores:
            with case(type(scores), scores):
                assert returning(scores)(torch.zeros(1, 1, 4, 4)).tolist() == [[1.0, -2.0]]


def test_what_is_no_row_of_scores_an_image_is_refused() -> None:
    cases = [
        (np.zeros(2), r"shape \(2,\)"),
        (np.zeros((3, 2)), r"shape \(3, 2\)"),
        (np.zeros((1, 2)), r"shape \(1, 2\)"),
        (np.zeros((2, 0)), r"shape \(2, 0\)"),
        (np.zeros((2, 3, 1)), r"shape \(2, 3, 1\)"),
        (0.5, r"shape \(\)"),
        ([[1.0, 2.0], [3.0]], "a list that is no array"),
        ([["a", "b"], ["c", "d"]], "values of type <U1"),
        (np.zeros((2, 2), dtype=bool), "values of type bool"),
        (np.zeros((2, 2), dtype=complex), "values of type complex128"),
        ({"logits": [[1, 2], [3, 4]]}, "values of type object"),
        (None, "values of type object"),
        (torch.zeros(2, 2, dtype=torch.bfloat16), "a Tensor that is no array"),
    ]
    with collected() as case:
        for scores, found in cases:
            with case(found):
                message = rf"returned {found} for a batch of 2; .*shape \[2, classes\]"
                with pytest.raises(ValueError, match=message):
                    returning(scores)(torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize("returns", ["logits", "softmax", "sigmoid"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_that_are_not_finite_are_refused(returns, dtype) -> None:
    scores = np.array([[0.5, 0.5], [np.nan, np.nan]], dtype=dtype)
    with pytest.raises(ValueError, match="2 of 4 scores of the classifier function are NaN"):
        returning(scores, returns=returns)(torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_scores_beyond_float32_are_refused(value) -> None:
    with pytest.raises(ValueError, match="1 of 2 scores"):
        returning([[0.0, value]])(torch.zeros(1, 1, 4, 4))


def test_an_exception_of_the_function_is_chained_and_not_quoted(local, image) -> None:
    def predict(batch: np.ndarray) -> np.ndarray:
        raise ConnectionError("http://archive/patients/Doe^John refused")

    inferer = CertifiedSaliencyInferer(interpreter=RISE(20), n_samples=2, cell_size=4, top_k=5)
    with pytest.raises(ValueError, match="the classifier function failed with ConnectionError") as failure:
        inferer.certify(image, CallableClassifier(predict))
    assert "Doe" not in str(failure.value) and isinstance(failure.value.__cause__, ConnectionError)


def test_an_interrupt_of_the_user_passes() -> None:
    def predict(batch: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CallableClassifier(predict)(torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("returns", ["softmax", "sigmoid"])
def test_probabilities_become_the_logits_that_give_them(tiny, returns) -> None:
    batch = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def probabilities(logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(dim=1) if returns == "softmax" else logits.sigmoid()

    def predict(array: np.ndarray) -> np.ndarray:
        return probabilities(tiny(torch.from_numpy(array))).detach().numpy()

    logits = CallableClassifier(predict, returns=returns)(batch)
    expected = tiny(batch).detach()
    torch.testing.assert_close(probabilities(logits), probabilities(expected))
    assert torch.equal(logits.argmax(dim=1), expected.argmax(dim=1))
    if returns == "sigmoid":
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(logits > 0, expected > 0)


def test_a_finding_below_one_half_is_not_found_whatever_the_others_are() -> None:
    """As raw scores probabilities would all be above 0, and the decision could never change."""
    inferer = CertifiedSaliencyInferer(activation="sigmoid")
    scores = np.array([[0.4, 0.9], [0.6, 0.1]])
    image = torch.zeros(2, 1, 4, 4)
    assert inferer.recipe.findings.finds(returning(scores, returns="sigmoid")(image), 0).tolist() == [False, True]
    assert inferer.recipe.findings.finds(returning(scores)(image), 0).tolist() == [True, True]


def test_probabilities_0_and_1_become_what_their_precision_can_tell() -> None:
    with collected() as case:
        for returns, (dtype, largest) in itertools.product(
            ["softmax", "sigmoid"], [(np.float16, 7), (np.float32, 16), (np.float64, 37), (np.int64, 37)]
        ):
            with case(returns, dtype, largest):
                logits = returning(np.array([[0, 1], [1, 0]], dtype=dtype), returns=returns)(torch.zeros(2, 1, 4, 4))
                assert torch.isfinite(logits).all() and largest - 1 < float(logits.abs().max()) < largest
                assert float(logits[0, 0]) < -largest + 1 and float(logits[0, 1]) > float(logits[0, 0]) + largest - 1


@pytest.mark.parametrize("returns", ["softmax", "sigmoid"])
@pytest.mark.parametrize("scores", [[[-0.1, 1.1]], [[3.0, -2.0]]])
def test_scores_that_are_no_probabilities_are_refused(returns, scores) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\].*returns='logits'"):
        returning(scores, returns=returns)(torch.zeros(1, 1, 4, 4))


def test_findings_are_not_taken_for_exclusive_classes() -> None:
    with pytest.raises(ValueError, match=r"do not sum to 1 \(the first: 1\.5\).*returns='sigmoid'"):
        returning([[0.9, 0.6]], returns="softmax")(torch.zeros(1, 1, 4, 4))
    returning([[0.333, 0.333, 0.333]], returns="softmax")(torch.zeros(1, 1, 4, 4))


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="function is a str"):
        CallableClassifier("my_module.predict")
    with pytest.raises(ValueError, match="returns is 'probability'"):
        CallableClassifier(lambda batch: batch, returns="probability")


@pytest.mark.parametrize("name", without_gradient())
def test_it_is_explained_like_the_network_behind_it(tiny, local, name) -> None:
    interpreter = INTERPRETERS[name](**ARGUMENTS.get(name, {}))
    batch = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with explaining(tiny):
        expected = interpreter.attribute(tiny, batch, 1)
    with explaining(local):
        found = interpreter.attribute(local, batch, 1)
    assert torch.equal(found.maps, expected.maps) and torch.equal(found.logits, expected.logits)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_it_is_certified_like_the_network_behind_it(tiny, local, image, activation) -> None:
    settings = {"n_samples": 200, "cell_size": 8, "top_k": 2, "sigma": 0.05, "target": 1, "activation": activation}
    inferer = CertifiedSaliencyInferer(interpreter=RISE(20, grid=4), **settings)
    (votes, certificate), (expected, expected_certificate) = (inferer.certify(image, net) for net in (local, tiny))
    assert np.array_equal(votes.counts, expected.counts) and np.array_equal(votes.logits, expected.logits)
    assert certificate == expected_certificate
    assert inferer.record(votes, certificate) == inferer.record(expected, expected_certificate)


def test_channels_and_normalization_can_go_before_it(image) -> None:
    seen = []

    def predict(batch: np.ndarray) -> list[list[float]]:
        seen.append(batch)
        return [[float(row.mean())] for row in batch]

    network = GrayscaleInput(CallableClassifier(predict), mean=(0.2, 0.3, 0.4), std=(0.5, 0.5, 0.5))
    network(image[None])
    expected = (image.numpy()[None] - np.array([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1)) / 0.5
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6, atol=1e-6)


def test_it_is_a_module_that_moves_and_changes_mode(local) -> None:
    network = nn.Sequential(local.to("cpu", memory_format=torch.channels_last)).train()
    with explaining(network):
        assert not local.training
    assert local.training and not list(local.parameters())
