"""What every registered metric of maps must do, on vote maps and on maps of pixels."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import explaining, make_interpreter
from monai_robustinterp.metrics.base import Array, Case, Metric, NotApplicable
from monai_robustinterp.metrics.registry import METRICS, make_metric, metric_names
from tests.support import metrics_page
from tests.support.cases import collected
from tests.support.networks import TinyClassifier

SIDE, CELLS = 16, 4
COPIES = 4096
OF_MARKS = {
    "boxes": {"pointing_game", "box_mass", "iou", "enrichment_boxes"},
    "polygons": {"hit_rate", "polygon_mass", "enrichment_polygons"},
    "lungs": {"lung_mass", "lung_top_k"},
}
OF_ABSENT = {"grid_pointing", "certified_grid_pointing"}
OF_VOTES = {"certified_grid_pointing"}
OF_OTHERS = {"film_overlap", "random_pair_ssim", "sanity_passed"}
FEW = {"n_films": 3, "n_samples": 2, "n_repeats": 2, "n_stages": 2, "tau": 0.5}
OF_CLASSES = {"cds_log_odds", "cds_kl", "class_distortion"}


def make(name: str) -> Metric:
    """A metric that takes few maps, and certifies cells in half of the copies."""
    known = {each.name for each in dataclasses.fields(METRICS[name])}
    return make_metric(name, **{key: value for key, value in FEW.items() if key in known})


def gradients(network: nn.Module, image: torch.Tensor) -> Array:
    with explaining(network):
        maps = make_interpreter("gradient").attribute(network, image[None].clone(), 1).maps
    return maps[0, 0].numpy().astype(np.float64)


def votes(network: nn.Module, image: torch.Tensor) -> Array:
    """Share of the pixels of each cell that are among the strongest half of all; some are equal."""
    values = gradients(network, image)
    strong = values >= np.median(values)
    return strong.reshape(CELLS, SIDE // CELLS, CELLS, -1).mean(axis=(1, 3))


def make_case(kind: str, *, classes: int = 3, multi_label: bool = True) -> Case:
    torch.manual_seed(0)
    network = TinyClassifier(classes).eval()
    films = torch.rand(4, 1, SIDE, SIDE)
    explain = votes if kind == "votes" else gradients
    saliency, *others = (explain(network, film) for film in films)
    marks = np.zeros((SIDE, SIDE), dtype=bool)
    marks[3:11, 2:9] = True
    return Case(
        network=network,
        image=films[0],
        target=1,
        multi_label=multi_label,
        saliency=saliency,
        explain=explain,
        top_k=saliency.size // 4,
        boxes=marks,
        polygons=marks.T,
        lungs=marks[::-1],
        others=others,
        absent=films[1:],
        copies=COPIES if kind == "votes" else None,
    )


@pytest.fixture(params=["votes", "pixels"])
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(request.param)


def judging(case: Case) -> list[str]:
    """Names of the metrics of a case: what is certified is certified of votes alone."""
    return sorted(set(metric_names()) - (OF_VOTES if case.copies is None else set()))


def refusing(case: Case) -> set[str]:
    """Names of the metrics that have no value for a case; each says why in a sentence."""
    found = set()
    for name in metric_names():
        try:
            make(name).score(case)
        except NotApplicable as reason:
            assert re.fullmatch(r"[a-z].{10,}\.", str(reason)), (name, str(reason))
            found.add(name)
    return found


class TestEveryMetric:
    def test_it_says_what_it_measures_after_whom_and_what_is_better(self) -> None:
        with collected() as one:
            for name, cls in METRICS.items():
                with one(name):
                    assert cls.name == name
                    assert cls.direction in ("higher", "lower", "none")
                    assert cls.protocol.endswith(".") and re.search(r"\b(19|20)\d\d\b|this package's", cls.protocol)
                    assert all(re.fullmatch(r"[A-Z].*\.", deviation) for deviation in cls.deviations)

    def test_its_settings_make_it_again(self) -> None:
        with collected() as one:
            for name in metric_names():
                with one(name):
                    metric = make(name)
                    assert make_metric(name, **json.loads(json.dumps(metric.settings))) == metric

    def test_it_gives_the_same_finite_number_again_and_leaves_all_as_it_was(self, case: Case) -> None:
        weights, film, own = copy.deepcopy(case.network.state_dict()), case.image.clone(), case.saliency.copy()
        with collected() as one:
            for name in judging(case):
                with one(name):
                    draws = torch.get_rng_state()
                    value = make(name).score(case)
                    assert type(value) is float and math.isfinite(value)
                    assert make(name).score(case) == value
                    assert torch.equal(torch.get_rng_state(), draws)
                    assert all(torch.equal(case.network.state_dict()[key], weights[key]) for key in weights)
                    assert torch.equal(case.image, film) and np.array_equal(case.saliency, own)

    def test_the_scale_of_maps_does_not_matter(self, case: Case) -> None:
        larger = dataclasses.replace(
            case,
            saliency=8 * case.saliency,
            explain=lambda network, image: 8 * case.explain(network, image),
            others=[8 * other for other in case.others],
        )
        with collected() as one:
            # Shares of votes have a scale, and what is certified of them depends on it.
            for name in set(metric_names()) - OF_VOTES:
                with one(name):
                    metric = make(name)
                    assert metric.score(larger) == pytest.approx(metric.score(case), abs=1e-12)

    def test_a_constant_map_has_no_value(self, case: Case) -> None:
        assert refusing(dataclasses.replace(case, saliency=np.full_like(case.saliency, 3.0))) == set(metric_names())

    def test_what_is_missing_is_said_by_those_that_need_it(self, case: Case) -> None:
        always = set(metric_names()) - set(judging(case))
        assert refusing(case) == always
        for missing, names in OF_MARKS.items():
            for none in (None, np.zeros((SIDE, SIDE), dtype=bool)):
                assert refusing(dataclasses.replace(case, **{missing: none})) == names | always
        assert refusing(dataclasses.replace(case, others=())) == OF_OTHERS | always
        assert refusing(dataclasses.replace(case, absent=case.absent[:2])) == OF_ABSENT | always

    def test_classes_that_cannot_change_alone_are_no_distortion(self) -> None:
        assert refusing(make_case("votes", classes=2)) == set()
        assert refusing(make_case("votes", classes=3, multi_label=False)) == set()
        assert refusing(make_case("votes", classes=2, multi_label=False)) == OF_CLASSES


def test_unknown_names_and_settings_are_refused_with_those_there_are() -> None:
    with pytest.raises(InputRefused, match=r"metric is 'delete'; it must be one of \['box_mass', "):
        make_metric("delete")
    with pytest.raises(InputRefused, match=r"no setting 'steps'; its settings are \['substrate', 'step'\]"):
        make_metric("deletion", steps=3)
    with pytest.raises(InputRefused, match="'lung_mass' has no setting 'marks'; it takes none"):
        make_metric("lung_mass", marks="boxes")


def test_values_of_settings_out_of_their_range_are_refused() -> None:
    bad = [
        ("deletion", {"step": 0}),
        ("deletion", {"step": 1.5}),
        ("insertion", {"substrate": "noise"}),
        ("pointing_game", {"tolerance": -1.0}),
        ("iou", {"marks": "lungs"}),
        ("sanity_cascading", {"similarity": "cosine"}),
        ("sanity_independent", {"n_stages": 0}),
        ("sanity_passed", {"order": "both"}),
        ("random_pair_ssim", {"n_pairs": 0}),
        ("max_sensitivity", {"radius": -0.1}),
        ("repeatability", {"n_repeats": 0}),
        ("psc", {"n_films": 2}),
        ("certified_grid_pointing", {"tau": 1.0}),
        ("certified_grid_pointing", {"level": 0.0}),
    ]
    with collected() as one:
        for name, settings in bad:
            with one(name, settings), pytest.raises(ValueError, match=rf"^{next(iter(settings))} is "):
                make_metric(name, **settings)


def test_a_case_that_breaks_a_rule_is_refused() -> None:
    case = make_case("votes")
    bad = {
        "one film": {"image": case.image[0]},
        "divide its height": {"saliency": np.eye(5)},
        "not finite": {"saliency": np.full((CELLS, CELLS), np.nan)},
        "must be 1 to that": {"top_k": CELLS**2 + 1},
        "one grid": {"others": [np.eye(2)]},
        "without the finding have other shapes": {"absent": [case.image[:, :8]]},
        "give booleans": {"boxes": np.ones((SIDE, SIDE))},
    }
    with collected() as one:
        for words, changes in bad.items():
            with one(words), pytest.raises(InputRefused, match=words):
                dataclasses.replace(case, **changes)
    with pytest.raises(InputRefused, match="target is 3 for a network of 3 classes"):
        make_metric("deletion").score(dataclasses.replace(case, target=3))
    with pytest.raises(InputRefused, match="give the same grid"):
        make_metric("repeatability").score(dataclasses.replace(case, explain=gradients))


def test_answers_and_maps_that_are_not_finite_give_no_value() -> None:
    case = make_case("votes")
    case.network.head.bias.data[2] = float("inf")  # type: ignore[union-attr]
    with pytest.raises(NotApplicable, match="logits that are not finite"):
        make_metric("deletion").score(case)
    undefined = dataclasses.replace(case, explain=lambda network, image: np.full((CELLS, CELLS), np.nan))
    with pytest.raises(NotApplicable, match="values that are not finite"):
        make_metric("max_sensitivity").score(undefined)


def test_the_page_of_the_metrics_is_made_from_the_registry() -> None:
    text = metrics_page.PAGE.read_text()
    protocols = metrics_page.BEGIN + metrics_page.as_text() + metrics_page.END
    assert protocols in text, "run python -m tests.support.metrics_page"
    formulas = text.split("## Formulas")[1].split("## How to read")[0]
    missing = [name for name in metric_names() if f"`{name}`" not in formulas]
    assert not missing, missing
