"""Votes and certificate from a network, inside and outside MONAI's engines."""

from __future__ import annotations

import gc
import json
import tracemalloc

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from torch import nn

from monai_robustinterp import CertifiedSaliency, CertifiedSaliencyd, CertifiedSaliencyInferer
from monai_robustinterp.certificates import Status, certificate_from_json, certify_votes
from monai_robustinterp.interpreters import RISE, GradCAM, Gradient, MeaningfulPerturbation, explaining
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.smoothing.voting import NonFiniteMapError


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    settings = {"n_samples": 48, "top_k": 10, "cell_size": 4, "target": 1, "batch_size": 16, "sigma": 0.2}
    return CertifiedSaliencyInferer(**(settings | changes))


@pytest.mark.parametrize("interpreter", [Gradient(), GradCAM("features.3")])
@pytest.mark.parametrize("batch_size", [1, 7, 48, 1000])
def test_results_do_not_depend_on_the_batch_size(tiny, image, interpreter, batch_size) -> None:
    reference, _ = make_inferer(interpreter=interpreter).vote(image, tiny)
    votes, _ = make_inferer(interpreter=interpreter, batch_size=batch_size).vote(image, tiny)
    assert np.array_equal(votes.counts, reference.counts)
    assert (votes.found_copies, votes.tied_copies) == (reference.found_copies, reference.tied_copies)


def test_the_votes_are_those_of_the_written_definition(tiny, image) -> None:
    """Copy by copy, with plain loops and sorting."""
    inferer = make_inferer()
    votes, spec = inferer.vote(image, tiny)
    stages = inferer.recipe.stages(image, tiny, target=1, n_copies=48)
    counts = np.zeros(64, dtype=int)
    found = 0
    for copy in torch.from_numpy(stages.copies):
        x = copy[None, None].clone().requires_grad_()
        logits = tiny(x)
        logits[0, 1].backward()
        found += int(logits.argmax() == 1)
        magnitude = x.grad[0, 0].abs().numpy()
        cells = [magnitude[r : r + 4, c : c + 4].sum() for r in range(0, 32, 4) for c in range(0, 32, 4)]
        counts[np.argsort(cells)[-10:]] += 1
    assert np.array_equal(votes.counts.ravel(), counts)
    assert votes.found_copies == found
    assert votes.label_agreement == (found if votes.decision else 48 - found) / 48
    assert spec.target == 1 and votes.counts.sum() == 480


def test_another_seed_or_image_gives_other_votes(tiny, image) -> None:
    first, _ = make_inferer().vote(image, tiny)
    assert np.array_equal(make_inferer().vote(image, tiny)[0].counts, first.counts)
    assert not np.array_equal(make_inferer(seed=1).vote(image, tiny)[0].counts, first.counts)
    moved = image + 1e-6
    assert make_inferer().vote(moved, tiny)[0].image_sha256 != first.image_sha256


def test_one_copy_without_noise_is_the_base_method(tiny, image) -> None:
    votes, _ = make_inferer(n_samples=1, sigma=1e-9).vote(image, tiny)
    with explaining(tiny):
        plain = Gradient().attribute(tiny, image[None], 1).maps[0, 0]
    cells = plain.unfold(0, 4, 4).unfold(1, 4, 4).sum(dim=(2, 3)).flatten()
    expected = torch.zeros(64, dtype=torch.bool).scatter_(0, cells.topk(10).indices, True)
    assert np.array_equal(votes.counts.ravel().astype(bool), expected.numpy())


def test_a_batch_of_images_keeps_its_metadata_and_decollates(tiny, image) -> None:
    batch = MetaTensor(torch.stack([image, image.flip(-1)]), meta={"filename_or_obj": ["a", "b"]})
    batch.is_batch = True
    inferer = make_inferer()
    out = inferer(batch, tiny)
    assert isinstance(out, MetaTensor) and out.shape == (2, 2, 32, 32) and out.dtype == torch.float32
    singles = decollate_batch(out)
    for name, single, x in zip("ab", singles, batch.as_tensor()):
        result = inferer.certify(x, tiny)
        votes, certificate = result.votes, result.certificate
        record = json.loads(single.meta["certificate"])
        assert single.meta["filename_or_obj"] == name
        assert certificate_from_json(record) == certificate
        assert np.array_equal(single.meta["vote_counts"], votes.counts)
        share = single.numpy()[0]
        assert share[::4, ::4] == pytest.approx(votes.counts / 48)
        assert (share == share[::4, ::4].repeat(4, 0).repeat(4, 1)).all()
        assert single.numpy()[1].sum() == 10 * 16


def test_it_runs_in_an_evaluator_in_eval_mode(tiny, image) -> None:
    loader = DataLoader(Dataset([{"image": MetaTensor(image)}, {"image": MetaTensor(image.flip(-1))}]), batch_size=2)
    inferer = make_inferer()
    seen = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=tiny,
        inferer=inferer,
        postprocessing=lambda data: seen.append(data["pred"]) or data,
    )
    evaluator.run()
    assert len(seen) == 2
    expected, _ = inferer.vote(image, tiny)
    assert np.array_equal(seen[0].meta["vote_counts"], expected.counts)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_runs_where_gradients_are_disabled(tiny, image, mode) -> None:
    expected = make_inferer()(image[None], tiny)
    with mode():
        assert torch.equal(make_inferer()(image[None].clone(), tiny), expected)


def test_the_transforms_give_an_element_of_the_inferers_batch(tiny, image) -> None:
    loaded = MetaTensor(image, meta={"filename_or_obj": "a", "spatial_shape": (32, 32)})
    alone = CertifiedSaliency(tiny, make_inferer())(loaded)
    assert alone.shape == (2, 32, 32) and alone.meta["filename_or_obj"] == "a"
    data = CertifiedSaliencyd("image", tiny, make_inferer())({"image": loaded, "other": 1})
    assert set(data) == {"image", "other", "image_saliency"}
    assert torch.equal(data["image_saliency"], alone)
    assert json.loads(alone.meta["certificate"])["claim"]["top_k"] == 10
    assert torch.equal(alone, make_inferer()(image[None], tiny)[0])


@pytest.mark.parametrize(("activation", "expected"), [("softmax", "arg-max"), ("sigmoid", "positive logit")])
def test_the_decision_on_the_finding_follows_the_activation(activation, expected) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 2.0, -3.0]]) + 0 * x.mean(dim=(1, 2, 3))[:, None]

    findings = make_inferer(activation=activation).recipe.findings
    found = [bool(findings.finds(Fixed()(torch.zeros(1, 1, 8, 8)), target)) for target in range(3)]
    assert found == ([False, True, False] if expected == "arg-max" else [True, True, False])
    # A score of exactly one half finds nothing.
    assert not Findings("sigmoid").finds(torch.zeros(1, 1), 0)


def test_a_cut_off_is_said_only_where_one_score_decides() -> None:
    cut_offs = {
        (activation, n): Findings(activation).cut_off(n) for activation in ("softmax", "sigmoid") for n in (2, 3)
    }
    assert cut_offs == {("softmax", 2): 0.5, ("softmax", 3): None, ("sigmoid", 2): 0.5, ("sigmoid", 3): 0.5}


def test_a_sentence_on_what_is_missed_fits_on_one_line_of_a_picture() -> None:
    assert Findings("sigmoid", ("a",), {"a": "x" * 70}).entry(np.zeros(1, np.float32), 0)["misses"] == "x" * 70
    assert Findings("sigmoid", ("a",)).entry(np.zeros(1, np.float32), 0)["misses"] == ""
    for wrong in ("x" * 71, "two\nlines"):
        with pytest.raises(ValueError, match="one line of at most 70"):
            Findings("sigmoid", ("a",), {"a": wrong})


def test_the_target_is_fixed_once_from_the_clean_image(tiny, image) -> None:
    votes, spec = make_inferer(target=None).vote(image, tiny)
    assert spec.target == int(tiny(image[None]).argmax()) and votes.decision
    names = ("a", "b", "c")
    assert make_inferer(target="c", class_names=names).recipe.target == 2
    with pytest.raises(ValueError, match=r"'d'.*\['a', 'b', 'c'\]"):
        make_inferer(target="d", class_names=names)


def test_memory_does_not_grow_with_the_number_of_samples(tiny, image) -> None:
    peaks = []
    make_inferer(n_samples=64, batch_size=8).vote(image, tiny)
    for n_samples in (64, 1024):
        gc.collect()
        tracemalloc.start()
        make_inferer(n_samples=n_samples, batch_size=8).vote(image, tiny)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Python and numpy objects only; torch's own buffers are of one batch by construction.
    assert peaks[1] < peaks[0] + 100_000


class Broken(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.sum(dim=(1, 2, 3)) * self.value, x.mean(dim=(1, 2, 3))], dim=1)


def test_a_network_that_returns_nan_is_reported_and_never_voted(image) -> None:
    with pytest.raises(NonFiniteMapError, match="logits that are NaN"):
        make_inferer(target=0).vote(image, Broken(float("nan")))


def test_all_zero_maps_are_counted_reported_and_certify_nothing(image) -> None:
    result = make_inferer(target=0, n_samples=200).certify(image, Broken(0.0))
    votes, certificate = result.votes, result.certificate
    assert votes.constant_copies == votes.tied_copies == 200
    assert certificate.l_max == 0 and certificate.status is Status.ABSTAIN
    assert any("constant map" in note for note in certificate.notes)


@pytest.mark.parametrize(
    ("shape", "match"), [((3, 32, 32), "one channel"), ((32, 32), "one channel"), ((1, 30, 32), "divide")]
)
def test_an_image_that_does_not_fit_is_refused(tiny, shape, match) -> None:
    with pytest.raises(ValueError, match=match):
        make_inferer().vote(torch.rand(shape), tiny)


def test_a_non_finite_image_is_refused(tiny, image) -> None:
    image = image.clone()
    image[0, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        make_inferer().vote(image, tiny)


@pytest.mark.parametrize(
    "settings", [{"top_k": 64}, {"sigma": 0.0}, {"n_samples": 0}, {"batch_size": 0}, {"beta": "2"}]
)
def test_settings_out_of_range_are_refused_before_any_work(tiny, image, settings) -> None:
    calls = []
    tiny.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match=r"must|trivially"):
        make_inferer(**settings).vote(image, tiny)
    assert len(calls) <= 1


def test_stored_votes_can_be_certified_again_at_another_beta(tiny, image) -> None:
    inferer = make_inferer(n_samples=400)
    votes, spec = inferer.vote(image, tiny)
    radii = [certify_votes(votes, spec, beta=beta, eta=0.05).l_max for beta in ("0.9", "0.5", "0.1")]
    assert radii == sorted(radii) and radii[-1] > radii[0]


@pytest.mark.parametrize("interpreter", [Gradient(), RISE(n_masks=8)], ids=lambda each: each.name)
def test_a_network_that_overwrites_its_input_changes_neither_image_nor_votes(tiny, image, interpreter) -> None:
    class Centered(nn.Module):
        def __init__(self, in_place: bool) -> None:
            super().__init__()
            self.network, self.in_place = tiny, in_place

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            # Autograd refuses a leaf that is overwritten, so Gradient gives a copy of its own.
            return self.network(image.sub_(0.5) if self.in_place else image - 0.5)

    before = image.clone()
    expected, _ = make_inferer(interpreter=interpreter).vote(image, Centered(in_place=False))
    found, _ = make_inferer(interpreter=interpreter).vote(image, Centered(in_place=True))
    assert torch.equal(image, before)
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert found.found_copies == expected.found_copies


def test_a_logit_that_is_nan_is_not_voted_away(tiny, image) -> None:
    """Class 2 is not explained, so the map of class 0 is finite; but nobody knows what the network decides."""
    with torch.no_grad():
        tiny.head.weight[2] = float("nan")
    with pytest.raises(NonFiniteMapError, match="logits that are NaN"):
        make_inferer(target=0).vote(image, tiny)


def test_an_interpreter_by_name_gets_the_inferers_activation() -> None:
    for activation in ("sigmoid", "softmax"):
        inferer = make_inferer(interpreter="robust_perturbation", activation=activation)
        assert inferer.recipe.interpreter.settings["activation"] == activation


def test_where_round_off_would_grow_copies_are_interpreted_one_by_one(tiny, image) -> None:
    """So that they are all interpreted by one function, whatever the batch size."""
    sizes = []
    tiny.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    interpreter = MeaningfulPerturbation(iterations=2)
    votes, _ = make_inferer(interpreter=interpreter, n_samples=8, batch_size=8).vote(image, tiny)
    # The second pass shows what the network is.
    assert sizes[1] == 2 and set(sizes[2:]) == {1}
    again, _ = make_inferer(interpreter=interpreter, n_samples=8, batch_size=3).vote(image, tiny)
    np.testing.assert_array_equal(votes.counts, again.counts)


def test_the_spec_names_what_fixes_the_smoothed_function(tiny, image) -> None:
    _, spec = make_inferer(interpreter=RISE(n_masks=4, seed=3)).vote(image, tiny)
    assert spec.interpreter_settings == {"n_masks": 4, "grid": 7, "keep": 0.5, "activation": None, "seed": 3}
    assert spec.explains_target
