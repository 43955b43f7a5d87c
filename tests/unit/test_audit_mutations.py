"""Every false record is caught: each value changed in turn, each hash, each vote moved, forms that no record has."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_robustinterp.audit import AuditError, verify
from monai_robustinterp.audit.surroundings import content_sha256
from monai_robustinterp.certificates import mass_weighted_bounds, radius_units
from monai_robustinterp.certificates.overlap import Boundary, boundary
from monai_robustinterp.certificates.renyi import boundary_epsilon
from monai_robustinterp.types import SmoothingSpec, VoteMap
from tests.support.cases import collected
from tests.support.records import leaves, make_arrays, make_masks, make_record, make_run, resealed

Json = dict[str, Any]
EARLIER = {
    "status": "map only",
    "n_samples": 16,
    "seed": 0,
    "content_sha256": "6" * 64,
    "differences": ["n_samples 16 there, 32 here"],
}
RUNS = {
    "certified": (
        make_run(
            make_masks(m=100, sharpness=3.0),
            regions=2,
            lungs=np.arange(16) < 6,
            tied=5,
            input_warnings=("Check the input.",),
        ),
        {},
    ),
    "with looks": (
        make_run(make_masks(m=64, sharpness=3.0), looks=(32, 64, 100)),
        {"eta": 0.001, "native": False, "until_covers": "added noise"},
    ),
    "abstaining": (make_run(make_masks(m=32, sharpness=0.0), regions=1, agreeing=17), {"earlier": [EARLIER] * 2}),
    "unbounded estimate": (make_run(np.tile(np.arange(16) < 4, (50, 1)).astype(np.int64)), {"beta": "0.25"}),
}


PAIRS = make_run(make_masks(), pairs=True)


@pytest.fixture(scope="module", params=RUNS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Json, Json]:
    """Record and arrays of one run."""
    (votes, spec), options = RUNS[request.param]
    return make_record(votes, spec, **options), make_arrays(votes, spec, tmp_path_factory.mktemp("run"))


@pytest.fixture
def certified(tmp_path: Path) -> tuple[Json, Json, VoteMap, SmoothingSpec]:
    """Record, arrays, votes and spec of the first run."""
    (votes, spec), _ = RUNS["certified"]
    return make_record(votes, spec), make_arrays(votes, spec, tmp_path), votes, spec


def caught(record: Any, arrays: Json) -> bool:
    """Whether the audit finds a difference or refuses the record; nothing else may happen."""
    try:
        return not verify(record, arrays).verified
    except AuditError:
        return True


def replaced(record: Json, path: str, value: Any) -> Json:
    """The record with another value at a path such as ``radii[2].l2``, resealed."""
    changed = copy.deepcopy(record)
    *way, last = [int(key) if key.isdecimal() else key for key in path.replace("[", ".").replace("]", "").split(".")]
    part: Any = changed
    for key in way:
        part = part[key]
    part[last] = value
    return changed if path == "content_sha256" else resealed(changed)


def one_digit(value: Any) -> Iterator[Any]:
    """The value with one digit, letter or bit changed; of floats one in the sixth place."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        yield from (value * (1 + 1e-5), value * (1 - 1e-5)) if value else (1e-3,)
    elif isinstance(value, str):
        middle = len(value) // 2
        yield value[:middle] + ("0" if value[middle : middle + 1] != "0" else "1") + value[middle + 1 :]
    else:
        yield 1


def test_every_changed_value_is_caught(files: tuple[Json, Json]) -> None:
    """Also with the content hash made anew, but for what the report lists as covered by that hash alone."""
    record, arrays = files
    report = verify(record, arrays)
    assert report.verified
    changes = [(path, value, other) for path, value in leaves(record) for other in one_digit(value)]
    # Another beta of the same ceil(beta k) is the same claim.
    changes = [change for change in changes if change[0] != "claim.beta"]
    assert len(changes) > 120
    recomputed = [change for change in changes if change[0] not in report.hash_only]
    assert [change for change in recomputed if not caught(replaced(record, change[0], change[2]), arrays)] == []
    for path, _, other in changes:
        if path in report.hash_only:
            unsealed = replaced(record, path, other) | {"content_sha256": record["content_sha256"]}
            assert any(sentence.startswith("content_sha256: ") for sentence in verify(unsealed, arrays).differences)


def test_every_changed_number_of_pairs_is_caught(tmp_path: Path) -> None:
    record, arrays = make_record(*PAIRS), make_arrays(*PAIRS, tmp_path)
    assert verify(record, arrays).verified and record["radii"][4]["l2"] > record["radii"][3]["l2"] > 0
    for path, value in leaves(record):
        if path.startswith(("radii[4]", "claim.l_max.l2")):
            assert all(caught(replaced(record, path, other), arrays) for other in one_digit(value)), path


def test_another_order_than_the_best_is_caught(certified) -> None:
    """Epsilon and radius are those of that order: true, and less than the counts give."""
    record, arrays, votes, spec = certified
    for position, level in ((0, "plug-in"), (2, "population")):
        entry = record["radii"][position]
        assert entry["level"] == level
        edge = boundary(votes.share, top_k=4, beta="0.5")
        if level == "population":
            bounds = mass_weighted_bounds(-np.sort(-votes.counts.ravel())[1:7], 100, top_k=4, eta=0.01)
            edge = Boundary(inside=bounds.lower[:3], outside=bounds.upper[3:], top_k=4)
        epsilon = boundary_epsilon(edge, 1.01 * entry["alpha"])
        l2 = spec.sigma * math.sqrt(2 * epsilon / (1.01 * entry["alpha"]))
        assert 0.99 * entry["l2"] < l2 < (1 - 2e-6) * entry["l2"]
        other = radius_units(l2, 256).__dict__ | {"epsilon": epsilon, "alpha": 1.01 * entry["alpha"]}
        changed = replaced(record, f"radii[{position}]", entry | other)
        assert [sentence.split(": ")[0] for sentence in verify(changed, arrays).differences] == [
            f"radii[{position}].alpha"
        ]


def test_every_flipped_bit_of_a_copy_is_caught(tmp_path: Path) -> None:
    """By the counts, without the hashes."""
    record, arrays = make_record(*PAIRS), make_arrays(*PAIRS, tmp_path)
    assert arrays["copy_votes"].shape == (96, 2) and arrays["copy_found"].shape == (12,)
    for name in ("copy_votes", "copy_found"):
        for bit in range(0, 8 * arrays[name].size, 7):
            flipped = arrays[name].copy()
            flipped.ravel()[bit // 8] ^= 1 << bit % 8
            (difference,) = verify(record, arrays | {name: flipped}).differences[:1]
            assert "each copy" in difference or "a copy" in difference or "copies find" in difference, difference


def test_edited_counts_are_caught_though_the_whole_record_follows_from_them(certified, tmp_path: Path) -> None:
    """Nothing else than the votes of each copy contradicts them."""
    _, honest, votes, spec = certified
    alone = VoteMap(**vars(votes) | {"copy_votes": None, "copy_found": None})
    row = votes.region_hits[0]
    fuller = votes.region_hits.copy()
    fuller[0, row.argmax() + np.arange(-1, 2)] += [1, -2, 1]
    edits = {
        "counts": {"counts": np.sort(votes.counts.ravel()).reshape(4, 4), "regions": (), "region_hits": None},
        "region_hits": {"region_hits": fuller},
        "found_copies": {"found_copies": votes.found_copies - 1},
    }
    for name, edit in edits.items():
        forged = VoteMap(**vars(alone) | edit)
        record, arrays = make_record(forged, spec), make_arrays(forged, spec, tmp_path)
        assert verify(record, arrays).verified
        kept = {array: honest[array] for array in ("copy_votes", "copy_found")}
        sealed = make_record(votes, spec)["votes"]["copy_votes_sha256"]
        report = verify(replaced(record, "votes.copy_votes_sha256", sealed), arrays | kept)
        assert report.differences[0].startswith("votes.npz contradicts itself"), name


def test_votes_moved_from_copy_to_copy_are_caught(tmp_path: Path) -> None:
    """Each copy keeps its k votes and each cell its count: only pairs, hits and the hash tell."""
    votes, spec = make_run(make_masks(), pairs=True, regions=1)
    record, arrays = make_record(votes, spec), make_arrays(votes, spec, tmp_path)
    masks = votes.copy_masks()
    first, second = np.argwhere((masks @ ~masks.T) == 1)[0]  # they differ in one cell each
    (a,), (b,) = np.flatnonzero(masks[first] & ~masks[second]), np.flatnonzero(masks[second] & ~masks[first])
    third = next(i for i in range(96) if masks[i, b] and not masks[i, a] and i != second and i != first)
    masks[[first, third], a], masks[[first, third], b] = masks[[third, first], a], masks[[third, first], b]
    forged = arrays | {"copy_votes": np.packbits(masks, axis=1)}
    assert (masks.sum(axis=0) == votes.counts.ravel()).all() and (masks.sum(axis=1) == 4).all()
    paths = {sentence.split(":")[0] for sentence in verify(record, forged).differences}
    assert "votes.copy_votes_sha256" in paths or "votes.npz contradicts itself" in paths


def test_votes_of_copies_that_are_no_packed_bits_are_refused(tmp_path: Path) -> None:
    record, arrays = make_record(*PAIRS), make_arrays(*PAIRS, tmp_path)
    votes, found = arrays["copy_votes"], arrays["copy_found"]
    assert verify(record, arrays | {"copy_votes": votes.tolist(), "copy_found": found.tolist()}).verified
    wrong = [
        *(
            {"copy_votes": bits}
            for bits in (votes[:-1], votes[:, :1], votes[0], votes.astype(int) - 1, votes + 256.0, "x", None)
        ),
        *({"copy_found": bits} for bits in (found[:-1], found[None], -found.astype(int), np.append(found, 0))),
        *({"copy_votes": np.pad(votes, ((0, 0), (0, 1)))}, {"pairs": 1}, {"pairs": np.array(False)}),
    ]
    assert [change for change in wrong if not caught(record, arrays | change)] == []
    for missing in (("copy_votes",), ("copy_found",), ("copy_votes", "copy_found"), ("pairs",)):
        assert caught(record, {name: array for name, array in arrays.items() if name not in missing}), missing


def test_the_content_hash_covers_every_value(files: tuple[Json, Json]) -> None:
    record, _ = files
    for path, value in leaves(record):
        for other in one_digit(value):
            if path != "content_sha256":
                assert content_sha256(replaced(record, path, other)) != record["content_sha256"]
    assert content_sha256(record) == record["content_sha256"]


def test_a_changed_beta_that_changes_the_claim_is_caught(certified) -> None:
    record, arrays, *_ = certified
    for beta in ("0.6", "0.9", "1", "0.25", "1/1", "0", "1.5", "half", "", 0.5, None):
        assert caught(replaced(record, "claim.beta", beta), arrays), beta


def test_the_rounding_rule_of_guarantees(certified) -> None:
    """Above by 2e-9 of itself is told from round-off, and below by 1e-5 from rounding, at the place where it stands."""
    every_path = [
        *(
            "claim.l_max.l2",
            "radii[2].l2",
            "radii[3].l2",
            "label.l2",
            "label.share_lower",
            "label_and_map.l2",
            "rerun.l2",
        ),
        *("native.l2", "native.l_inf", "claim.l_max.rms", "claim.l_max.l_inf"),
        *("regions[0].share_lower", "regions[0].share_upper"),
        *("regions[1].radius_below_half.l2", "regions[1].radius_below_half.in_noise"),
    ]
    with collected() as case:
        for path in every_path:
            with case(path):
                record, arrays, *_ = certified
                value = dict(leaves(record))[path]
                assert value > 0
                # The bets of a region are rounded on their logarithm, which is coarser.
                for factor in (1 - 1e-5, 1 + 1e-5, *(() if "share_" in path and "regions" in path else (1 + 2e-9,))):
                    differences = verify(replaced(record, path, value * factor), arrays).differences
                    assert any(sentence.startswith(f"{path}: ") for sentence in differences), factor


def test_stopping_before_the_wanted_radius_is_caught(tmp_path: Path) -> None:
    for looks, wrong in (((32, 64, 100), True), ((32, 64), False)):
        run = make_run(make_masks(m=64, sharpness=3.0), looks=looks)
        record, arrays = make_record(*run), make_arrays(*run, tmp_path)
        assert not caught(record, arrays)
        differences = verify(replaced(record, "sampling.until_radius", 0.9), arrays).differences
        assert [sentence.split(": ")[0] for sentence in differences] == ["sampling.until_radius"] * wrong


def test_an_earlier_run_that_is_left_out_or_no_abstention_is_caught(tmp_path: Path) -> None:
    run = make_run(make_masks(m=32, sharpness=0.0))
    record, arrays = make_record(*run, earlier=[EARLIER] * 2), make_arrays(*run, tmp_path)
    assert not caught(record, arrays) and "2 earlier runs" in record["notes"][-1]
    certified = EARLIER | {"status": "certified"}
    for selection in ([], [EARLIER], [EARLIER, {}], [EARLIER, certified], {}, None, [None, EARLIER]):
        assert caught(replaced(record, "selection", selection), arrays), selection
    assert caught(replaced(make_record(*run), "selection", [EARLIER]), arrays)


def test_a_decision_that_the_logits_do_not_take_is_caught(certified, tmp_path: Path) -> None:
    """Although both files agree on it, and the certificate of the label follows from it."""
    _, _, votes, spec = certified
    opposite = VoteMap(**vars(counts_alone(votes)) | {"decision": False, "found_copies": 1})
    differences = verify(make_record(opposite, spec), make_arrays(opposite, spec, tmp_path)).differences
    assert [sentence.split(": ")[0] for sentence in differences] == ["finding.decision"]


def test_a_record_that_overstates_consistently_is_caught(certified) -> None:
    """The whole record made from another eta, sigma or from more votes, sentences and hashes included."""
    _, arrays, votes, spec = certified
    assert caught(make_record(votes, spec, eta=0.01 * (1 + 1e-5)) | {}, arrays) is False  # an honest claim at that eta
    record = make_record(votes, spec, eta=0.02)
    record["claim"]["eta"] = record["label"]["eta"] = 0.01
    assert caught(resealed(record), arrays)
    wider = SmoothingSpec(**vars(spec) | {"sigma": 0.11})
    assert caught(make_record(votes, wider), arrays)
    looking = SmoothingSpec(**vars(spec) | {"looks": (100, 200)})
    record = make_record(votes, spec)
    assert not caught(record, arrays)
    assert caught(make_record(votes, looking), arrays)


def moved(votes: VoteMap, giver: int, taker: int) -> np.ndarray:
    """The counts with one vote moved between two cells."""
    counts = votes.counts.copy()
    counts.ravel()[giver] -= 1
    counts.ravel()[taker] += 1
    return counts


def test_every_moved_vote_is_caught_by_the_hash(certified, tmp_path: Path) -> None:
    _, _, votes, spec = certified
    plain = counts_alone(votes)
    record, arrays = make_record(plain, spec), make_arrays(plain, spec, tmp_path)
    cells = range(votes.counts.size)
    for giver, taker in [(a, b) for a in cells for b in cells if a != b][::5]:
        changed = arrays | {"counts": moved(votes, giver, taker)}
        assert caught(record, changed), (giver, taker)


def counts_alone(votes: VoteMap) -> VoteMap:
    """The same votes without those of each copy and without hits, which a single moved vote would contradict."""
    return VoteMap(**vars(votes) | {"regions": (), "region_hits": None, "copy_votes": None, "copy_found": None})


def test_a_moved_vote_whose_hash_was_made_anew_is_caught_where_it_changes_a_number(certified, tmp_path: Path) -> None:
    """The record is then false; where no number changes, the record is true of the other votes as well."""
    _, _, votes, spec = certified
    plain = counts_alone(votes)
    record, arrays = make_record(plain, spec), make_arrays(plain, spec, tmp_path)
    before = numbers(record)
    changes = 0
    cells = range(votes.counts.size)
    for giver, taker in [(a, b) for a in cells for b in cells if a != b][::4]:
        counts = moved(votes, giver, taker)
        if counts.min() < 0 or counts.max() > votes.n_samples:
            continue
        honest = make_record(VoteMap(**vars(plain) | {"counts": counts}), spec)
        forged = replaced(record, "votes.counts_sha256", honest["votes"]["counts_sha256"])
        after = numbers(honest)
        differs = any(not math.isclose(value, before[path], rel_tol=1e-5) for path, value in after.items())
        changes += differs
        assert not differs or caught(forged, arrays | {"counts": counts}), (giver, taker)
    assert changes > 20


def numbers(record: Json) -> dict[str, float]:
    """The numbers of a record; Renyi orders apart, of which another one may give the same radius."""
    return {
        path: float(value)
        for path, value in leaves(record)
        if isinstance(value, int | float) and not path.endswith("alpha")
    }


VOTE_CHANGES: dict[str, Callable[[Json], Any]] = {
    "n_samples": lambda a: a["n_samples"] + 1,
    "top_k": lambda a: a["top_k"] + 1,
    "input_shape": lambda a: a["input_shape"][::-1] * np.array([1, 2]),
    "image_sha256": lambda a: np.array("b" * 64),
    "logits": lambda a: a["logits"] + np.array([0, 1e-4], np.float32),
    "decision": lambda a: ~a["decision"],
    "found_copies": lambda a: a["found_copies"] - 1,
    "tied_copies": lambda a: a["tied_copies"] + 1,
    "constant_copies": lambda a: a["constant_copies"] + 1,
    "copy_votes": lambda a: np.roll(a["copy_votes"], 1, axis=0),
    "copy_found": lambda a: ~a["copy_found"],
    "pairs": lambda a: ~a["pairs"],
    "region_hits": lambda a: a["region_hits"] + np.array([[-1, 2, -1, 0, 0], *[[0] * 5] * 2]),
    "region_cells": lambda a: ~a["region_cells"],
    "regions": lambda a: np.array(str(a["regions"]).replace("0.75", "0.76")),
    "input_warnings": lambda a: np.array('["Check the input!"]'),
    "spec": lambda a: np.array(str(a["spec"]).replace('"seed": 0', '"seed": 1')),
    "provenance": lambda a: np.array(str(a["provenance"]).replace("1" * 64, "5" * 64)),
    "format": lambda a: np.array("monai_robustinterp/votes/2"),
}


def test_what_both_files_agree_on_must_have_the_form_of_a_run(certified) -> None:
    """Noise of another protocol, hashes that are none, a network without a name: both files agree on it."""
    record, arrays, *_ = certified
    wrong = [
        *(("spec", "noise", text) for text in ("gaussian/other/1", "", 1)),
        *(
            ("provenance", name, text)
            for name in ("weights_sha256", "config_sha256", "input_statistics_sha256")
            for text in ("", "1" * 63, 1)
        ),
        *(("votes", "image_sha256", text) for text in ("", "A" * 64, "a" * 63, "a" * 64 + "\n")),
        *(("source", name, text) for name in ("file_sha256", "pixel_sha256") for text in ("", "x" * 64, "a" * 65)),
    ]
    passed = []
    for section, name, value in wrong:
        changed = resealed(record | {section: record[section] | {name: value}})
        if section in ("spec", "provenance"):
            forged = arrays | {section: np.array(json.dumps(changed[section]))}
        else:
            forged = arrays | ({"image_sha256": np.array(value)} if section == "votes" else {})
        if not caught(changed, forged):
            passed.append((section, name, value))
    assert passed == []


def test_every_changed_array_is_caught(certified) -> None:
    with collected() as case:
        for name in VOTE_CHANGES:
            with case(name):
                record, arrays, *_ = certified
                assert not caught(record, arrays)
                assert caught(record, arrays | {name: VOTE_CHANGES[name](arrays)})


def test_votes_that_contradict_themselves_are_not_recomputed(certified) -> None:
    record, arrays, *_ = certified
    for counts in (arrays["counts"] + 1, np.where(arrays["counts"] > 0, 10**9, 0)):
        report = verify(record, arrays | {"counts": counts})
        assert report.differences[0].startswith("votes.npz contradicts itself") and not report.checked
        assert report.not_checked
    counts = arrays["counts"].copy()
    counts.ravel()[counts.argmin()] += 1
    assert f"the counts sum to {100 * 4 + 1}" in verify(record, arrays | {"counts": counts}).differences[0]


WRONG = [None, True, -1, 0, 10**400, 1e308, 5e-324, "x", "Infinity", [], {}, [[]], {"a": 1}, float("nan")]


@pytest.mark.parametrize("name", ["certified", "abstaining"])
def test_values_of_any_form_are_differences_and_never_crashes(name: str, tmp_path: Path) -> None:
    """Sealed anew where JSON can hold them, so that the hash is not what tells them."""
    run, options = RUNS[name]
    record, arrays = make_record(*run, **options), make_arrays(*run, tmp_path)
    hash_only = verify(record, arrays).hash_only
    for (path, value), position in zip(leaves(record), np.random.default_rng(0).permutation(1000)):
        wrong = WRONG[position % len(WRONG)]
        changed = copy.deepcopy(record)
        parent, last = parent_of(changed, path)
        parent[last] = wrong
        if wrong == wrong and path != "content_sha256":
            changed = resealed(changed)
        assert caught(changed, arrays) or wrong == value or path in hash_only, (path, wrong)


def test_what_is_no_number_is_no_abstention(abstaining: tuple[Json, Json]) -> None:
    every_path = [f"regions[0].radius_{name}_half.l2" for name in ("above", "below")]
    every_path += ["rerun.l2", "radii[4].l2"]
    with collected() as case:
        for wrong, path in itertools.product(["x", None, -1, -0.5, True, [], "Infinity"], every_path):
            with case(wrong, path):
                record, arrays = abstaining
                assert dict(leaves(record))[path] == 0 and not caught(record, arrays)
                assert any(
                    sentence.startswith(path) for sentence in verify(replaced(record, path, wrong), arrays).differences
                )


def test_an_upper_bound_of_less_or_more_than_the_counts_give_is_caught(certified, abstaining) -> None:
    """A bound from above must be no smaller, and not much larger."""
    for record, arrays in (certified[:2], abstaining):
        for name in ("at_most", "share_upper"):
            value = record["regions"][0][name]
            assert 0 < value < 1
            for wrong in (
                value - 2e-4,
                round(value - 2e-4, 4),
                min(value + 2e-4, 1.1),
                0.0,
                -1,
                True,
                None,
                "Infinity",
            ):
                changed = replaced(record, f"regions[0].{name}", wrong)
                assert any(text.startswith(f"regions[0].{name}") for text in verify(changed, arrays).differences), wrong


def test_another_alarm_or_radius_of_it_is_caught_though_the_sentence_follows(certified) -> None:
    record, arrays, *_ = certified
    statement = record["regions"][0]
    assert statement["alarm"] is False
    words = statement["sentence"].split(" No alarm")[0]
    claimed = "ALARM: most of the votes are expected outside the lungs, whatever change within 0.5 standard deviations"
    loud = {"alarm": True, "sentence": f"{claimed} of the noise (l2 distance 0.050000). {words}"}
    for change in (loud, {"alarm_radius": {"l2": 0.01, "in_noise": 0.1}}, {"alarm": None}):
        assert caught(replaced(record, "regions[0]", statement | change), arrays), change
    for names in (("alarm",), ("alarm_radius",), ("alarm", "alarm_radius")):
        short = {name: value for name, value in statement.items() if name not in names}
        assert caught(replaced(record, "regions[0]", short), arrays), names
    other = record["regions"][1] | {name: statement[name] for name in ("alarm", "alarm_radius")}
    assert caught(replaced(record, "regions[1]", other), arrays), "an alarm of a region that is not the lungs"


@pytest.fixture(scope="module")
def abstaining(tmp_path_factory: pytest.TempPathFactory) -> tuple[Json, Json]:
    """Record and arrays of a run of which nothing follows."""
    run = make_run(make_masks(m=4, sharpness=0.0), regions=1, pairs=True, agreeing=2)
    return make_record(*run), make_arrays(*run, tmp_path_factory.mktemp("abstaining"))


def parent_of(record: Json, path: str) -> tuple[Any, Any]:
    """The dictionary or list that holds a path, and the key in it."""
    *way, last = [int(key) if key.isdecimal() else key for key in path.replace("[", ".").replace("]", "").split(".")]
    part: Any = record
    for key in way:
        part = part[key]
    return part, last


@pytest.mark.parametrize(
    ("path", "wrong"), [("claim.n_cells", 16.0), ("claim.allowed_wrong_bounds", False), ("label.decision", 1)]
)
def test_an_equal_value_of_another_type_is_caught(certified, path: str, wrong: Any) -> None:
    record, arrays, *_ = certified
    assert dict(leaves(record))[path] == wrong
    assert caught(replaced(record, path, wrong), arrays)


def test_missing_and_unknown_entries_are_caught(certified) -> None:
    record, arrays, *_ = certified
    branches = {path.rpartition(".")[0] for path, _ in leaves(record) if "." in path} - {""}
    for path in sorted({path for path, _ in leaves(record)} | branches):
        if path == "content_sha256" or re.fullmatch(r"ledger\[\d+\]", path):
            continue  # which changes were tested does not follow from the votes
        changed = copy.deepcopy(record)
        parent, last = parent_of(changed, path)
        del parent[last]
        assert caught(resealed(changed), arrays), path
    for branch in sorted(branches):
        changed = copy.deepcopy(record)
        parent, last = parent_of(changed, branch)
        parent[last]["Doe^John"] = 1
        differences = verify(resealed(changed), arrays).differences
        assert differences and not any("Doe" in sentence for sentence in differences)


def test_entries_that_only_some_records_have_are_caught_in_others(files: tuple[Json, Json]) -> None:
    record, arrays = files
    assert caught({key: value for key, value in record.items() if key != "content_sha256"}, arrays)
    assert caught(resealed(record | {"later": 1}), arrays)
    assert caught(resealed(record | {"radii": record["radii"][:-1]}), arrays)
    assert caught(resealed(record | {"radii": record["radii"][::-1]}), arrays)
    assert caught(resealed(record | {"notes": [*record["notes"], "x"]}), arrays)
    for name, entry in (("sampling", {}), ("regions", [])):
        rest = {key: value for key, value in record.items() if key != name}
        assert caught(resealed(rest if name in record else record | {name: entry}), arrays)


def test_what_the_file_says_in_words_is_never_repeated(certified) -> None:
    record, arrays, *_ = certified
    changed = copy.deepcopy(record)
    for path, value in leaves(record):
        if isinstance(value, str) and path not in ("format", "claim.beta"):
            parent, last = parent_of(changed, path)
            parent[last] = "Doe^John 1970"
    differences = verify(changed, arrays).differences
    assert len(differences) > 20 and not any("Doe" in sentence for sentence in differences)
