"""The certificate study: its streams are real runs, its tables and goals say what the numbers say."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import beta as beta_law
from scipy.stats import binom

from benchmarks.certificates import __main__ as study
from benchmarks.certificates import attacked, bounds_check, curves, radii, rivals, stopping, streams, tightness
from benchmarks.certificates.plan import CONTROL, FIRST_COPIES, FULL, QUICK, Plan
from monai_robustinterp import CertifiedSaliencyInferer, SmoothingSpec
from monai_robustinterp.certificates import ceiling, neyman_pearson_radius
from monai_robustinterp.certificates.curve import overlap_curve
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.study.tables import strict

PLAN = Plan(
    name="test",
    images=None,
    table_sizes=(64, 200, 400),
    rival_sizes=(20, 100),
    joint_size=100,
    curve_sizes=(64, 400),
    first_look=200,
    attacked=0,
)
SETTINGS = {"beta": "0.5", "eta": 0.01}


def synthetic(name: str = "one", *, seed: int = 0, sharpness: float = 3.0, plan: Plan = PLAN) -> streams.Stream:
    """A stream of noisy copies of random scores on 6 x 6 cells, as the study would count it."""
    rng = np.random.default_rng(seed)
    n_cells, top_k = 36, 6
    values = sharpness * rng.normal(size=n_cells) + rng.normal(size=(plan.max_samples, n_cells))
    marks = values >= -np.sort(-values, axis=1)[:, top_k - 1 : top_k]
    sizes = plan.prefixes
    ranks = streams.linear_scores(n_cells)[np.argsort(np.argsort(-values, axis=1), axis=1)]
    shares = np.stack([marks[:m].mean(axis=0) for m in sizes])
    joint = marks[: plan.joint_size].astype(np.int64)
    return streams.Stream(
        name=name,
        spec=SmoothingSpec(
            sigma=0.1, n_samples=plan.max_samples, top_k=top_k, cell_size=2, interpreter="gradient", target=1
        ),
        sizes=sizes,
        joint_size=plan.joint_size,
        counts=np.stack([marks[:m].sum(axis=0, dtype=np.int64).reshape(6, 6) for m in sizes]),
        tallies=np.array([[m, 0, 0] for m in sizes]),
        relaxed=np.stack([shares, shares], axis=1),
        scores=np.stack([ranks[:m].mean(axis=0) for m in sizes]),
        pair_counts=joint.T @ joint,
        clean={
            "input_shape": (12, 12),
            "image_sha256": "0" * 64,
            "logits": np.array([0.0, 1.0], dtype=np.float32),
            "decision": True,
        },
        elapsed_s=1.0,
    )


# Streams


def test_batches_cover_every_copy_once_and_end_at_each_size() -> None:
    found = list(streams.batches((20, 10, 64), 16))
    assert found == [(0, 10), (10, 20), (20, 36), (36, 52), (52, 64)]


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=["full", "quick"])
def test_plans_keep_every_prefix_that_a_table_reads(plan: Plan) -> None:
    assert plan.prefixes[0] == FIRST_COPIES and plan.joint_size in plan.rival_sizes
    assert set(stopping.schedule(plan, 0.001)) <= set(plan.prefixes)
    assert stopping.schedule(plan, 0.001)[-1] == plan.max_samples == max(plan.table_sizes)
    assert plan.attacked == 0 or plan.attack_samples in plan.prefixes


@pytest.fixture
def bundle(tiny):
    """The parts of a bundle that a stream reads, around the small network."""
    inferer = CertifiedSaliencyInferer(n_samples=24, top_k=5, cell_size=4, target=1, batch_size=7)
    return SimpleNamespace(network=tiny, inferer=inferer, files={"weights_sha256": "w"})


SMALL = dataclasses.replace(PLAN, table_sizes=(24,), rival_sizes=(12, 18), joint_size=18, curve_sizes=(18, 24))


def test_a_bundle_that_leaves_the_batch_size_open_gives_the_same_stream(bundle, image) -> None:
    wanted = streams.take_stream("one", image, bundle, SMALL)
    bundle.inferer.recipe = dataclasses.replace(bundle.inferer.recipe, batch_size=None)
    found = streams.take_stream("one", image, bundle, SMALL)
    assert np.array_equal(found.counts, wanted.counts) and found.spec.batch_size == 16


def test_every_prefix_is_a_run_of_so_many_copies(bundle, image) -> None:
    stream = streams.take_stream("one", image, bundle, SMALL)
    assert stream.sizes == (10, 12, 18, 24)
    for m in stream.sizes:
        recipe = dataclasses.replace(bundle.inferer.recipe, n_samples=m)
        ((wanted, spec),) = recipe.vote([image], bundle.network)
        votes, found = stream.at(m)
        assert found == spec and (votes.counts == wanted.counts).all()
        for name in ("decision", "found_copies", "tied_copies", "constant_copies", "image_sha256", "input_shape"):
            assert getattr(votes, name) == getattr(wanted, name), name
        assert (votes.logits == wanted.logits).all()


def test_mean_maps_and_joint_counts_are_those_of_the_copies(bundle, image) -> None:
    stream = streams.take_stream("one", image, bundle, SMALL)
    stages = bundle.inferer.recipe.stages(image, bundle.network, target=1, n_copies=18)
    marks = stages.votes.reshape(18, -1).astype(np.int64)
    votes, _ = stream.paired()
    assert votes.n_samples == 18 and (votes.pair_counts == marks.T @ marks).all()
    maps = stages.maps.reshape(18, -1).astype(np.float64)
    for m in (12, 18):
        place = stream.sizes.index(m)
        # The largest cell of each copy has the largest score, 63 / (63 * 64 / 2), the smallest 0; ties go either way.
        low, high = (
            np.mean([(row[:, None] > row + slack * row.max()).sum(axis=1) for row in maps[:m]], axis=0) / 2016
            for slack in (1e-6, -1e-6)
        )
        assert (low - 1e-9 <= stream.scores[place]).all() and (stream.scores[place] <= high + 1e-9).all()
        assert stream.scores[place].sum() == pytest.approx(1) and (high - low).mean() < 2e-3
        for (tau, kept), relaxed in zip(((0.1, 6), (5 / 64, 5)), stream.relaxed[place]):
            assert tau in [pair[0] for pair in streams.relaxed_settings(5, 64)]
            # gamma 0.01 of 64 cells is less than one, so the largest cell has score 1.
            wanted = [np.where(row >= np.sort(row)[-kept], row / row.max(), 0) for row in maps[:m]]
            assert relaxed == pytest.approx(np.mean(wanted, axis=0), abs=1e-6)
    assert np.isnan(stream.scores[stream.sizes.index(24)]).all()


def test_a_stored_stream_is_read_only_under_the_same_settings(bundle, image, tmp_path, monkeypatch) -> None:
    first = streams.stored_stream(tmp_path, "one", image, bundle, SMALL)
    monkeypatch.setattr(streams, "take_stream", lambda *_: pytest.fail("taken again"))
    again = streams.stored_stream(tmp_path, "one", image, bundle, SMALL)
    assert again.spec == first.spec and again.sizes == first.sizes and again.elapsed_s == first.elapsed_s
    for name in ("counts", "tallies", "relaxed", "scores", "pair_counts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert again.at(24)[0].image_sha256 == first.at(24)[0].image_sha256
    assert (again.paired()[0].pair_counts == first.pair_counts).all()
    other = SimpleNamespace(network=bundle.network, inferer=bundle.inferer, files={"weights_sha256": "other"})
    sigma = SimpleNamespace(network=bundle.network, inferer=copy.copy(bundle.inferer), files=bundle.files)
    sigma.inferer.recipe = dataclasses.replace(sigma.inferer.recipe, sigma=0.2)
    changes = [(image, other, SMALL), (image, sigma, SMALL), (image * 0.5, bundle, SMALL)]
    for changed in [*changes, (image, bundle, dataclasses.replace(SMALL, table_sizes=(24, 25)))]:
        with pytest.raises(pytest.fail.Exception, match="taken again"):
            streams.stored_stream(tmp_path, "one", *changed)


# Radii and goals


def test_the_control_is_the_fixed_map_of_the_package() -> None:
    votes, spec = synthetic().at(400)
    fixed = radii.fixed_votes(votes)
    found = radii.all_radii(fixed, spec, **SETTINGS)
    assert found[radii.MASS] == ceiling(votes, spec, **SETTINGS)
    own = radii.all_radii(votes, spec, **SETTINGS)
    assert all(own[name] <= found[name] for name in found) and own[radii.MASS] > 0
    assert radii.fixed_votes(synthetic().paired()[0]).pair_counts is not None


def test_plain_radius_is_clopper_pearson_with_bonferroni() -> None:
    votes, spec = synthetic().at(400)
    ordered = np.sort(votes.counts.ravel())[::-1]
    # k = 6, beta 0.5: s = 4; the weakest of the upper cells is the third, its rival the tenth.
    level = 0.01 / (2 * 36)
    low = beta_law.ppf(level, ordered[2], 400 - ordered[2] + 1)
    high = beta_law.ppf(1 - level, ordered[9] + 1, 400 - ordered[9])
    assert radii.plain_radius(votes, spec, **SETTINGS) == pytest.approx(0.05 * (ndtri(low) - ndtri(high)), rel=1e-6)


def measured(mass: float, plain: float, renyi: float) -> radii.Radii:
    return {radii.MASS: mass, radii.PLAIN: plain, radii.RENYI: renyi}


def test_goals_count_only_what_can_be_compared() -> None:
    control = {CONTROL: measured(1.0, 2.0, 1.0)}
    good = {64: {"a": measured(0.3, 0.2, 0.1), "b": measured(0.5, 0.2, 0.1), "c": measured(0, 0, 0)} | control}
    ratio, above = radii.goals(good)
    assert ratio.met and "m = 64: 4.00 (3.00, 2)" in ratio.found
    assert above.met and above.found == "Above in 2 of 3 pairs; both abstain in 1."
    equal = {64: good[64] | {"d": measured(0.2, 0.2, 0.1)}}
    assert not radii.goals(equal)[1].met
    # One m below the mark is enough to miss it.
    worse = good | {128: {"a": measured(0.2, 0.1, 0.1)} | control}
    assert not radii.goals(worse)[0].met and "m = 128: 2.00 (2.00, 1)" in radii.goals(worse)[0].found
    none = radii.goals({64: {"a": measured(0, 0, 0)} | control})
    assert not none[0].met and not none[1].met


# The literature


def test_each_method_stands_at_its_level_with_its_control() -> None:
    evidence = rivals.Evidence.of(synthetic(plan=dataclasses.replace(PLAN, rival_sizes=(400,), joint_size=400)), 400)
    control = evidence.control()
    for name, (level, radius) in rivals.methods().items():
        found = radius(evidence, "0.5", 0.01)
        # The shares of single copies are certain only in plug-in estimates.
        assert np.isfinite(found) or level == "plug-in", name
        # A fixed ranking is not the most stable one for scores that tell all ranks apart.
        assert 0 < found <= radius(control, "0.5", 0.01) or name == "linear rank scores, Renyi (US 11,687,777)", name
        assert level == ("population" if name.startswith(("ours", "Levine")) else "plug-in"), name


def test_their_own_confidence_is_weaker_than_ours() -> None:
    evidence = rivals.Evidence.of(synthetic(plan=dataclasses.replace(PLAN, rival_sizes=(400,), joint_size=400)), 400)
    levine = {
        name: radius(evidence, "0.5", 0.001) for name, (_, radius) in rivals.methods().items() if "Levine" in name
    }
    for name, radius in levine.items():
        if "their" not in name:
            assert radius < levine[f"{name} at their 0.95"]


def test_anani_spends_the_first_copies_on_the_side_alone() -> None:
    stream = synthetic(seed=0)
    evidence = rivals.Evidence.of(stream, 100)
    theirs = rivals.anani(evidence, 0.01)
    first = stream.counts[stream.sizes.index(FIRST_COPIES)]
    rest = evidence.votes.counts - first
    passed = binom.sf(rest - 1, 90, 0.75) <= 0.01 / 36
    assert theirs.certified_in.tolist() == (passed & (first > 5)).tolist()
    # With all 100 copies in the test one more cell would pass.
    assert 0 < passed.sum() < (binom.sf(evidence.votes.counts - 1, 100, 0.75) <= 0.01 / 36).sum()
    overlaps = rivals.overlaps(evidence, 0.01)
    assert overlaps["radius"] == theirs.radius == pytest.approx(0.0674490, abs=1e-6)
    curve = overlap_curve(*stream.at(100), eta=0.01, points=6)
    assert overlaps["ours: NP, mass-weighted bounds"] == curve.certified_overlap(theirs.radius)


# Early stopping


def test_sampling_stops_where_label_and_map_both_reach_the_radius() -> None:
    looks = {
        64: {"map": 0.03, "label": 0.01},
        128: {"map": 0.02, "label": 0.02},
        256: {"map": 0.06, "label": 0.05},
    }
    assert stopping.stopping_look(looks, 0.02) == (128, True)
    assert stopping.stopping_look(looks, 0.05) == (256, True)
    assert stopping.stopping_look(looks, 0.055) == (256, False)


def test_the_control_saves_nothing() -> None:
    one = {m: {"map": 0.1, "label": 0.1, "fixed m": 0.2} for m in (64, 256)}
    found = {
        "looks": (64, 256),
        "radii": dict.fromkeys((CONTROL, "a", "b"), one),
        "stops": {0.05: {CONTROL: (64, True), "a": (64, True), "b": (256, False)}},
    }
    text = "\n".join(stopping.page(found, eta=0.01))
    assert f"| 0.05 | 64 | 256 (not reached) | 64 | {1 - 320 / 512:.0%} |" in text
    assert "| 256 | 0.1000 [0.1000, 0.1000] | 0.2000 [0.2000, 0.2000] | 0.500 (0.500) | 0.1000 / 0.2000 |" in text


def test_looks_pay_with_their_part_of_eta() -> None:
    stream = synthetic()
    found = stopping.look_radii(*stream.at(400, (64, 400)), beta="0.5", eta=0.01)
    half = radii.all_radii(*stream.at(400), beta="0.5", eta=0.005)
    full = radii.all_radii(*stream.at(400), beta="0.5", eta=0.01)
    assert found["map"] == pytest.approx(half[radii.MASS], rel=1e-9)
    assert found["label"] == pytest.approx(half["label"], rel=1e-9)
    assert found["fixed m"] == full[radii.MASS] > found["map"]


# Bounds and tightness


def test_right_tables_keep_to_eta_at_their_worst_and_wrong_ones_do_not() -> None:
    for eta in (0.05, 0.3):
        expected = {}
        for name, bounds in bounds_check.tables_of(64, eta).items():
            q = bounds_check.least_favorable(bounds)
            assert q.sum() == pytest.approx(38) and q.size == 256 and 0 <= q.min() <= q.max() < 1
            expected[name] = bounds_check.failure_chance(bounds, q).sum()
        assert 0.9 * eta < expected["mass-weighted"] <= eta and expected["plain"] <= eta
        assert all(value > eta for name, value in expected.items() if name.startswith("wrong"))


def test_failure_chance_adds_up_the_counts_that_fail() -> None:
    bounds = bounds_check.tables_of(64, 0.3)["mass-weighted"]
    q = 0.4
    wanted = sum(binom.pmf(x, 64, q) for x in range(65) if not bounds.lower[x] <= q <= bounds.upper[x])
    assert bounds_check.failure_chance(bounds, np.array([q]))[0] == pytest.approx(wanted, rel=1e-9)
    found = bounds_check.check(bounds, np.random.default_rng(1))
    assert abs(found["observed"] - found["expected"]) < 5 * found["standard_error"] and found["any"] > 0


def test_expected_votes_of_the_identity() -> None:
    assert tightness.expected_votes([0.7, 0.1], 1) == pytest.approx(
        [ndtr(0.6 / np.sqrt(2)), ndtr(-0.6 / np.sqrt(2))], abs=1e-12
    )
    x = np.array([1.5, 0.3, 0.0, -0.4, -1.0])
    q = tightness.expected_votes(x, 2)
    assert q.sum() == pytest.approx(2, abs=1e-12)
    draws = x + np.random.default_rng(0).normal(size=(200_000, 5))
    marks = draws >= -np.sort(-draws, axis=1)[:, 1:2]
    assert q == pytest.approx(marks.mean(axis=0), abs=5e-3)


def test_two_cells_are_certified_exactly_to_the_safe_radius() -> None:
    q = tightness.expected_votes([0.7, 0.1], 1)
    safe = tightness.safe_radius([0.7, 0.1], np.array([True, False]), 1)
    assert safe == pytest.approx(0.6 / np.sqrt(2), rel=1e-9)
    assert neyman_pearson_radius(q, top_k=1, beta="1", sigma=1.0) == pytest.approx(safe, rel=1e-9)


def test_no_smaller_perturbation_swaps_the_cells() -> None:
    """Against many random directions on a fine grid of lengths, for two swapped cells of three."""
    rng = np.random.default_rng(2)
    x = np.array([1.2, 0.5, 0.4, 0.1, -0.2, -0.9])
    reported = x >= 0.4
    safe = tightness.safe_radius(x, reported, 2)
    directions = rng.normal(size=(200_000, 6)) * [0.2, 1, 1, 1, 1, 0.2]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def broken(radius: float) -> bool:
        moved = x + radius * directions
        kept = (np.argsort(-moved, axis=1)[:, :3] <= 2).sum(axis=1)
        return bool((kept <= 1).any())

    assert not broken(0.999 * safe) and broken(1.05 * safe)
    # A reported set that is not in order needs no perturbation at all.
    assert tightness.safe_radius(x, ~reported, 1) == 0


def test_no_certificate_exceeds_the_truth() -> None:
    rng = np.random.default_rng(3)
    for beta in tightness.BETAS:
        quotients = tightness.one_map(rng, beta)
        assert all(0 <= value <= 1 for value in quotients.values()), quotients
        assert quotients["true map, NP"] > quotients["true map, Renyi"] > 0
        assert quotients["population, NP"] < quotients["true map, NP"]


# Attack


def test_an_attack_beyond_the_radius_breaks_no_claim() -> None:
    def row(factor: float, *, broken: bool, plain: int) -> dict:
        return {"factor": factor, "broken": broken, "plain_overlap": plain}

    rows = [row(1.0, broken=False, plain=25), row(4.0, broken=True, plain=19), {"image": "abstains"}]
    safe, halved = attacked.goals(rows, top_k=38)
    assert safe.met and "0 of 1" in safe.found and safe.found.endswith("claimed, 1.")
    assert halved.met and "19 of 38" in halved.found
    assert not attacked.goals([row(1.0, broken=True, plain=25)], top_k=38)[0].met
    assert not attacked.goals([row(4.0, broken=False, plain=20)], top_k=38)[1].met
    assert attacked.goals([], top_k=38) == []


RIGHT = bounds_check.tables_of(64, 0.3)["mass-weighted"]

# Page


def test_the_page_has_a_control_in_every_table_of_radii(bundle) -> None:
    """The whole page from two synthetic streams, one of which is noise: its maps abstain."""
    runs = [synthetic("one"), synthetic("two", seed=1, sharpness=0.0)]
    found = {
        "radii": radii.measure(runs, (20, 64, 100, 200, 400), **SETTINGS),
        "literature": rivals.measure(runs, PLAN, **SETTINGS),
        "curves": curves.measure(runs, PLAN, eta=0.01),
        "early_stopping": stopping.measure(runs, PLAN, **SETTINGS),
        "bounds": [{"eta": 0.3, "m": 64, "tables": {"right": bounds_check.check(RIGHT, np.random.default_rng(0))}}],
        "tightness": {"quotients": {"1": [{"true map, NP": 0.5}]}, "control": {"1": 2.0}},
        "attack": [],
    }
    results = {
        "plan": {"name": "test", "prefixes": PLAN.prefixes},
        "settings": dataclasses.asdict(runs[0].spec) | SETTINGS | {"n_cells": 36},
        "surroundings": surroundings("cpu", Path(__file__).parents[2]),
        "bundle": {"weights_sha256": "w", "config_sha256": "c"},
        "images": study.image_facts(runs, bundle),
        "elapsed_s": {"streams": 120.0, "attack": 60.0},
    }
    goals = radii.goals(found["radii"])
    parts = study.sections(results, found, goals, PLAN, "one")
    assert [lines[0].lstrip("# ") for lines in parts][1:3] == ["Images", "Radii against copies"]
    without = 0
    for lines in parts:
        for block in re.split(r"\n\n", "\n".join(lines)):
            rows = [line for line in block.split("\n") if line.startswith("|")]
            assert len({row.count("|") for row in rows}) <= 1
            without += bool(rows) and CONTROL not in block
    # The images themselves and the bounds have no radius.
    assert without == 2
    text = "\n".join(line for lines in parts for line in lines)
    assert "nan" not in re.split(r"[^a-z]+", text.lower())
    for words in ("Computed in 3.0 minutes", "1 abstain", "not claimed jointly", "**A test run**", "no lower bound"):
        assert words in text.replace("\n", " "), words
    assert all(goal.line in text for goal in goals)
    json.dumps(strict(found | results), allow_nan=False)
