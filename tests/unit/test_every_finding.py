"""Several findings of one image: from the same copies, each as by itself, and eta split over them."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
from fractions import Fraction
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from scipy.stats import binom, multinomial
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.audit import verify
from monai_robustinterp.certificates.confidence import clopper_pearson_bounds
from monai_robustinterp.certificates.split import Split
from monai_robustinterp.interpreters import CAM, GradCAM, Gradient, InputXGradient, explaining
from monai_robustinterp.interpreters.base import Interpreter
from monai_robustinterp.io.votes_npz import save_votes
from monai_robustinterp.types import Region, VoteMap
from tests.support.cases import collected
from tests.support.interpreters import noisy
from tests.support.records import resealed, written

SCHEMA = json.loads((files("monai_robustinterp") / "schemas" / "certificate.schema.json").read_text())
SHARED = {
    "cam": CAM("features.4"),
    "grad_cam": GradCAM("features.4"),
    "gradient": Gradient(),
    "input_x_gradient": InputXGradient(),
}


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    settings = {"n_samples": 32, "top_k": 10, "cell_size": 4, "batch_size": 12, "sigma": 0.2, "activation": "sigmoid"}
    return CertifiedSaliencyInferer(**(settings | changes))


def same(first: VoteMap, second: VoteMap) -> bool:
    names = [field.name for field in dataclasses.fields(VoteMap) if field.name != "regions"]
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


class Counted(nn.Module):
    """Counts the forward passes of a network, images each."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.images = network, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x)
        return self.network(x)


# ---- the same copies


def test_methods_that_can_take_the_maps_of_all_targets_from_one_forward_pass(tiny) -> None:
    batch = noisy(3, 1, 32, 32)
    with collected() as case:
        for name, method in SHARED.items():
            with case(name), explaining(tiny):
                passes: list[int] = []
                handle = tiny.register_forward_hook(lambda *_, seen=passes: seen.append(1))
                alone = [method.attribute(tiny, batch, target) for target in (2, 0, 1)]
                by_one = len(passes) // 3
                passes.clear()
                together = method.attribute_each(tiny, batch, (2, 0, 1))
                handle.remove()
                assert len(passes) == by_one
                assert torch.equal(together.maps, torch.cat([one.maps for one in alone], dim=1))
                assert torch.equal(together.logits, alone[0].logits) and not together.maps.requires_grad
                with pytest.raises(ValueError, match="target is 3"):
                    method.attribute_each(tiny, batch, (0, 3))


class _ByChannel(Interpreter):
    """A method without a pass of its own for several targets."""

    name = "by channel"

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Any:
        return SHARED["gradient"].attribute(network, inputs, target)


def test_votes_for_several_targets_are_those_for_each_by_itself(tiny, image) -> None:
    cells = np.zeros((8, 8), dtype=bool)
    cells[:, :4] = True
    region = Region(name="the left half", cells=cells, seen=1.0)
    methods = {**SHARED, "another": _ByChannel()}
    with collected() as case:
        for name, method in methods.items():
            with case(name):
                inferer = make_inferer(interpreter=method, pairs=True, eta=0.05)
                done: list[int] = []
                together = inferer.vote_each(image, tiny, (0, 2), done.append, regions=[region])
                assert sum(done) == 32
                for one, (votes, spec) in zip(inferer.of_each((0, 2)), together):
                    alone = one.vote(image, tiny, regions=[region])
                    assert same(votes, alone[0]) and spec == alone[1]
                assert not same(together[0][0], together[1][0])


def test_each_target_stops_at_its_own_look(tiny, image) -> None:
    targets, settings = (0, 1, 2), {"max_samples": 256, "eta": 0.1}
    reached = {}
    for one, target in zip(make_inferer(n_samples=64).of_each(targets), targets):
        certificate = one.certify(image, tiny).certificate
        reached[target] = min(certificate.l_max, certificate.label.l2)
    wanted = sorted(reached.values())[1]
    inferer = make_inferer(until_radius=max(wanted, 1e-3), **settings)
    together = inferer.vote_each(image, tiny, targets)
    for one, (votes, spec) in zip(inferer.of_each(targets), together):
        alone, its_spec = one.vote(image, tiny)
        assert same(votes, alone) and spec == its_spec
    assert len({votes.n_samples for votes, _ in together}) > 1


def test_a_batch_counts_for_all_targets_or_for_none(tiny, image, monkeypatch) -> None:
    inferer = make_inferer()
    expected = inferer.vote_each(image, tiny, (0, 1))
    calls: list[str] = []
    real = torch.ones_like

    def fails(values: torch.Tensor, **named: Any) -> torch.Tensor:
        calls.append(inspect.currentframe().f_back.f_code.co_name)
        # The second target of the first batch.
        if calls[-1] == "counted" and calls.count("counted") == 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(values, **named)

    monkeypatch.setattr(torch, "ones_like", fails)
    again = inferer.vote_each(image, tiny, (0, 1))
    assert calls.count("counted") > 4 and all(
        same(*votes) for votes in zip([v for v, _ in again], [v for v, _ in expected])
    )


def test_what_is_found_is_what_the_decisions_say(tiny, image) -> None:
    with torch.no_grad():
        tiny.head.bias.copy_(torch.tensor([3.0, -3.0, 3.0]))
    found = make_inferer().recipe.found(image, tiny)
    assert found.targets == (0, 2) and found.logits.shape == (3,)
    with torch.no_grad():
        tiny.head.bias.copy_(torch.tensor([-3.0, -3.0, -3.0]))
    assert make_inferer().recipe.found(image, tiny).targets == ()
    # Of exclusive classes one is always the largest.
    largest = int(tiny(image[None])[0].argmax())
    assert make_inferer(activation="softmax").recipe.found(image, tiny).targets == (largest,)


# ---- eta


def test_the_parts_never_exceed_eta() -> None:
    for findings, eta in itertools.product(
        (1, 2, 3, 7, 11, 49, 1000), (0.001, 0.05, 0.3, 1e-9, float(np.nextafter(1, 0)))
    ):
        part = Split(findings=findings, eta=eta).part
        assert 0 <= Fraction(eta) - findings * Fraction(part) <= Fraction(eta) / 10**15
    with pytest.raises(ValueError, match="0 findings"):
        Split(findings=0, eta=0.1)


def joint_error(m: int, law: dict[tuple[int, int], float], eta: float) -> float:
    """Chance that one of two lower bounds is above its share, of copies whose two answers have a joint law; exact."""
    shares = [sum(p for answers, p in law.items() if answers[i]) for i in range(2)]
    bounds = clopper_pearson_bounds(range(m + 1), m, level=eta).lower
    wrong = 0.0
    kinds = list(law)
    for counts in itertools.product(range(m + 1), repeat=len(kinds) - 1):
        if sum(counts) > m:
            continue
        full = (*counts, m - sum(counts))
        agreeing = [sum(n for n, answers in zip(full, kinds) if answers[i]) for i in range(2)]
        if any(bounds[a] > share for a, share in zip(agreeing, shares)):
            wrong += multinomial.pmf(full, m, [law[kind] for kind in kinds])
    return wrong


def test_split_bounds_fail_together_with_eta_at_most_whatever_the_copies_share() -> None:
    """T24, summed over all outcomes; at the whole eta each, some laws fail more often than eta."""
    m, eta, over = 12, 0.2, 0
    for p in (0.3, 0.55, 0.7, 0.8747):
        # Answers that agree always, never so far as the shares allow, and independently.
        both = {1: p, 0: max(0.0, 2 * p - 1), 2: p * p}
        for chance in both.values():
            law = {(1, 1): chance, (1, 0): p - chance, (0, 1): p - chance, (0, 0): max(0.0, 1 - 2 * p + chance)}
            assert joint_error(m, law, Split(findings=2, eta=eta).part) <= eta
            over += joint_error(m, law, eta) > eta
    assert over
    # What the enumeration gives of one finding is the binomial tail.
    bounds = clopper_pearson_bounds(range(m + 1), m, level=eta).lower
    alone = sum(binom.pmf(a, m, 0.7) for a in range(m + 1) if bounds[a] > 0.7)
    assert joint_error(m, {(1, 1): 0.7, (0, 0): 0.3}, eta) == pytest.approx(alone)


def test_the_record_names_the_split_and_the_audit_checks_it(tiny, image, tmp_path) -> None:
    with torch.no_grad():
        tiny.head.bias.copy_(torch.tensor([3.0, -3.0, 3.0]))
    inferer = make_inferer(eta=0.05)
    targets = inferer.recipe.found(image, tiny).targets
    for one, (votes, spec) in zip(inferer.of_each(targets), inferer.vote_each(image, tiny, targets)):
        record = one.result(votes, spec, image, tiny).record
        jsonschema.validate(record, SCHEMA)
        assert record["claim"]["eta"] == record["label"]["eta"] == Split(findings=2, eta=0.05).part
        assert record["split"]["findings"] == 2 and record["split"]["eta"] == 0.05
        save_votes(tmp_path / f"{spec.target}.npz", votes, spec, record["provenance"])
        assert verify(written(record), tmp_path / f"{spec.target}.npz").verified
        alone = dataclasses.replace(one.claim, split=None)
        one.claim = alone
        assert {**one.result(votes, spec, image, tiny).record, "split": 0, "content_sha256": 0} == {
            **record,
            "split": 0,
            "content_sha256": 0,
        }
    forged = {
        "findings": {"findings": 1},
        "eta": {"eta": 0.049},
        "sentence": {"sentence": record["split"]["sentence"].replace("0.05", "0.04")},
    }
    with collected() as case:
        for name, change in forged.items():
            with case(name):
                other = resealed(written(record) | {"split": record["split"] | change})
                report = verify(other, tmp_path / "2.npz")
                assert [place for place in report.differences if place.startswith(f"split.{name}")]
