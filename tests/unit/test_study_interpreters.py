"""The study of interpreters: votes that resume, budgets fixed beforehand, and the page's rows."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.interpreters import __main__ as command
from benchmarks.interpreters import distortion, page
from benchmarks.interpreters.plan import CHEAPER, FULL, QUICK, Method, Plan
from benchmarks.interpreters.radii import radii
from benchmarks.interpreters.votes import take_votes
from monai_robustinterp import CertifiedSaliencyInferer, certify_votes
from monai_robustinterp.interpreters import INTERPRETERS, make_interpreter
from monai_robustinterp.interpreters.mask_optimization import MaskInterpreter
from monai_robustinterp.study.budget import seconds_per_copy
from monai_robustinterp.study.tables import strict


@pytest.fixture
def bundle(tiny):
    inferer = CertifiedSaliencyInferer(sigma=0.2, top_k=10, cell_size=4, batch_size=8)
    files = {"weights_sha256": "0" * 64}
    return SimpleNamespace(network=tiny, inferer=inferer, files=files, interpreter_arguments={"reference": "mean"})


def test_a_longer_budget_goes_on_where_the_shorter_one_ended(bundle, image, tmp_path) -> None:
    # Beside the copies the clean image, and two that show what the network is.
    calls = []
    bundle.network.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    short, _ = take_votes(tmp_path / "votes.npz", bundle, image, 12)
    assert short.n_samples == 12 and sum(calls) == 3 + 12
    long, spec = take_votes(tmp_path / "votes.npz", bundle, image, 30)
    assert sum(calls) == 2 * 3 + 30 and spec.n_samples == 30
    whole, _ = take_votes(tmp_path / "whole.npz", bundle, image, 30)
    np.testing.assert_array_equal(long.counts, whole.counts)
    assert (long.found_copies, long.tied_copies) == (whole.found_copies, whole.tied_copies)
    target = int(bundle.network(image[None]).argmax())
    ((votes, _),) = dataclasses.replace(bundle.inferer.recipe, n_samples=30, target=target).vote(
        [image], bundle.network
    )
    np.testing.assert_array_equal(whole.counts, votes.counts)


@pytest.mark.parametrize("change", ["weights", "settings", "image"])
def test_votes_of_other_settings_are_not_gone_on_with(bundle, image, tmp_path, change) -> None:
    take_votes(tmp_path / "votes.npz", bundle, image, 12)
    if change == "weights":
        bundle.files = {"weights_sha256": "1" * 64}
        with torch.no_grad():
            bundle.network.features[0].weight.copy_(bundle.network.features[0].weight.flip(-1, -2))
    elif change == "settings":
        bundle.inferer.recipe = dataclasses.replace(bundle.inferer.recipe, sigma=0.3)
    else:
        image = image.flip(-1)
    found, _ = take_votes(tmp_path / "votes.npz", bundle, image, 16)
    expected, _ = take_votes(tmp_path / "anew.npz", bundle, image, 16)
    np.testing.assert_array_equal(found.counts, expected.counts)


@pytest.mark.parametrize(("alone", "size"), [(False, 8), (True, 1)])
def test_seconds_of_a_copy_are_those_of_the_process(bundle, monkeypatch, alone, size) -> None:
    """In the batches that the votes are taken in, also where a copy takes long: there it is less than alone."""
    clock = iter([0, 9, 10, 14, 20, 25])
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    monkeypatch.setattr(type(bundle.inferer.recipe.interpreter), "amplifies_round_off", alone)
    assert seconds_per_copy(bundle) == pytest.approx(4 / size)
    assert next(clock) == 20


def test_one_process_can_measure_some_methods_before_others_take_their_votes(bundle, monkeypatch, tmp_path) -> None:
    seconds = iter([3.0, 4.0, 5.0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(command, "method_bundle", lambda method: bundle)
    monkeypatch.setattr(command, "seconds_per_copy", lambda bundle: next(seconds))
    arguments = {"output": tmp_path, "minutes": 1.0, "share": "1/1", "workers": 1, "quick": False}
    arguments["methods"] = ["cam", "rise-50-masks"]
    command.main(SimpleNamespace(**arguments, part="seconds"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seconds-cam.json", "seconds-rise-50-masks.json"]
    cam, cheaper = (method for method in FULL.methods if method.slug in arguments["methods"])
    # What was measured stays for the votes, and is measured anew only when it is asked for.
    assert (command.copies(cam, bundle, 1.0, tmp_path), command.copies(cheaper, bundle, 1.0, tmp_path)) == (20, 15)
    command.main(SimpleNamespace(**arguments | {"methods": ["cam"]}, part="seconds"))
    assert command.copies(cam, bundle, 1.0, tmp_path) == 12
    taken = []
    monkeypatch.setattr(command, "prepared_by_name", lambda bundle, paths: {"one": None, "two": None})
    monkeypatch.setattr(command, "image_sha256", lambda image: "hash")
    monkeypatch.setattr(command, "voted", lambda path, *rest: taken.append(path.name) or {})
    for share in ("1/2", "2/2"):
        command.main(SimpleNamespace(**arguments | {"share": share}, part="votes"))
    assert taken == [f"votes-{slug}-{image}.npz" for image in ("one", "two") for slug in ("cam", "rise-50-masks")]


def test_every_interpreter_has_a_row_and_every_cheaper_one_can_be_made() -> None:
    assert {method.label for method in FULL.methods} >= set(INTERPRETERS)
    for method in CHEAPER:
        made = make_interpreter(method.name, settings=method.settings).settings
        assert dict(method.settings).items() <= made.items()
    assert len({method.slug for method in FULL.methods}) == len(FULL.methods)


def test_a_row_holds_the_certificates_own_radii(bundle, image, tmp_path) -> None:
    votes, spec = take_votes(tmp_path / "votes.npz", bundle, image, 400)
    row = radii(votes, spec, bundle.inferer)
    certificate = certify_votes(votes, spec, beta="0.5", eta=0.001)
    assert row["neyman_pearson"] == certificate.l_max and row["n_samples"] == 400
    assert row["renyi"] <= row["neyman_pearson"] <= row["control"]
    top = np.sort(votes.counts.ravel())[::-1][:10]
    assert row["mean_share_of_top_k"] == pytest.approx(top.mean() / 400)
    line = page.radii_row("gradient", [json.loads(json.dumps(strict(row)))], 0.5)
    assert line[:4] == ["gradient", "1", "400", "200"] and float(line[6]) <= row["neyman_pearson"]
    assert len(row["reported"]) == 10 and votes.counts.ravel()[row["reported"]].sum() == top.sum()


def test_each_budget_has_a_table_that_names_what_it_lacks() -> None:
    def row(minutes: float, method: str, image: str) -> dict[str, Any]:
        radii = dict.fromkeys(("plug_in", "renyi", "neyman_pearson", "rerun", "control", "mean_share_of_top_k"), 0.5)
        return {"minutes": minutes, "method": method, "image": image, "n_samples": 10, "reported": [0], **radii}

    labels = [method.label for method in FULL.methods]
    full = [row(1, label, image) for label in labels for image in "ab"]
    rows = [*full, row(5, "gradient", "a"), row(5, "gradient", "b"), row(5, "cam", "a")]
    bundle = {"sigma": 0.1, "top_k": 38, "n_cells": 256, "beta": "0.5", "eta": 0.001}
    seconds = dict.fromkeys(labels, 0.3)
    results = {"plan": {"methods": labels}, "bundle": bundle, "radii": rows, "seconds": seconds}
    text = "\n".join(page.certified_section(results))
    first, second = text.split("### 5 CPU minutes an image")
    assert "### 1 CPU minute an image" in first and "Not measured" not in first
    # 10 copies of .3 s each.
    assert all(f"| {label} | 2 | 10 | 3 |" in first for label in labels)
    assert "| gradient | 2 |" in second and "| cam | 1 |" in second and "| rise" not in second
    lacking = " ".join(second.split("Not measured at this budget on all 2 images:")[1].split("\n\n")[0].split())
    assert "`cam`;" in lacking and "`rise`;" in lacking and "`gradient`;" not in lacking


def test_what_masks_do_to_the_others_is_told_image_by_image(bundle, image, tmp_path) -> None:
    images = {"one": image, "two": image.flip(-1)}
    rows = distortion.measure(bundle, images, QUICK, tmp_path)
    labels = [method.label for method in QUICK.masks]
    assert [(row["method"], row["image"]) for row in rows] == [(m, i) for m in labels for i in ("one", "two")]
    bundle.network.register_forward_pre_hook(lambda module, args: pytest.fail("measured again"))
    assert distortion.measure(bundle, images, QUICK, tmp_path) == rows
    few = [
        {**row, "target": 0.5, "target_perturbed": end, "others_change": 0.1, "removed": 0.2}
        for row, end in zip(rows, (0.3, 0.47) * 2)
    ]
    text = " ".join(page.distortion_section(few, {"findings": 11}, pictures=False))
    assert "| one | 0.50 to 0.30 | 0.10 | 0.50 | 20 % |" in text and "| two | 0.50 to 0.47 | 0.10 | - | 20 % |" in text
    assert "In 1 of 2 images each method makes the finding fall" in text and f"by 0.50 (`{labels[0]}`)" in text
    assert f"20 % (`{labels[1]}`)" in text and "of the 10 others" in text
    none = page.distortion_section([{**row, "target_perturbed": 0.5} for row in few], {"findings": 11}, pictures=False)
    assert none[-1] == "In none of the 2 images every method makes the finding fall."


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=lambda plan: plan.name)
def test_a_plan_measures_masks_of_methods_that_optimize_them(plan: Plan) -> None:
    for method in plan.masks:
        assert isinstance(make_interpreter(method.name, settings=method.settings), MaskInterpreter)


def test_a_label_is_a_file_name() -> None:
    assert Method("rise, 50 masks", "rise").slug == "rise-50-masks"
