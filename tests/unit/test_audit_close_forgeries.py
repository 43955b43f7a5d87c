"""Records that overstate by a tenth or less, with all that follows from it: the audit sees the first cause."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_robustinterp.audit import verify
from tests.support.cases import collected
from tests.support.records import make_arrays, make_masks, make_record, make_run, resealed

Json = dict[str, Any]
Run = tuple[Json, Json]


def run_of(folder: Path, *made: Any, **options: Any) -> Run:
    run = make_record(*made, **options), make_arrays(*made, folder)
    assert verify(*run).verified
    return run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(tmp_path_factory.mktemp("plain"), *make_run(make_masks(m=100, sharpness=3.0), regions=1))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(make_masks(m=64, sharpness=3.0), looks=(32, 64, 100))
    return run_of(tmp_path_factory.mktemp("stopped"), *run, until_covers="8-bit rounding")


def scaled(record: Json, factor: float, *paths: tuple[Any, ...]) -> Json:
    """The record with these numbers times a factor."""
    changed = copy.deepcopy(record)
    for *way, last in paths:
        part = changed
        for key in way:
            part = part[key]
        part[last] *= factor
    return changed


def places(record: Mapping[str, Any], arrays: Json) -> set[str]:
    """Where the audit finds differences in a record that was sealed anew."""
    return {sentence.split(": ")[0] for sentence in verify(resealed(dict(record)), arrays).differences}


def test_a_bound_from_above_that_is_too_small_is_seen_where_it_stands(plain: Run) -> None:
    """The radii that follow from it are made anew, so that nothing else tells."""
    record, arrays = plain
    native = record["native"]
    with collected() as case:
        for factor in (0.9, 1 - 1e-5, 1 + 1e-5):
            with case("norm", factor):
                forged = scaled(record, factor, ("native", "norm_l2"))
                forged["native"]["l2"] = native["l2"] / factor * (1 - 1e-9)
                assert places(forged, arrays) == {"native.norm_l2"}
            with case("norm of the largest change", factor):
                forged = scaled(record, factor, ("native", "norm_l_inf"))
                forged["native"]["l_inf"] = native["l_inf"] / factor * (1 - 1e-9)
                assert places(forged, arrays) == {"native.norm_l_inf"}
            with case("round-off", factor):
                forged = scaled(record, factor, ("native", "round_off"))
                l_max, lost = record["claim"]["l_max"]["l2"], native["round_off"]
                left = (l_max - 2 * factor * lost) / (l_max - 2 * lost) * (1 - 1e-9)
                forged["native"] |= {name: native[name] * left for name in ("l2", "l_inf")}
                assert places(forged, arrays) == {"native.round_off"}
            with case("slope", factor):
                full = {"display_source": "full 8-bit range"}
                forged = record | {"source": record["source"] | full}
                forged["native"] = (
                    native
                    | {"slope": factor / 255}
                    | {name: native[name] * native["slope"] * 255 / factor * (1 - 1e-9) for name in ("l2", "l_inf")}
                )
                assert places(forged, arrays) == {"native.slope"}


def test_a_ceiling_or_a_sum_of_etas_that_is_a_little_off_is_seen(plain: Run) -> None:
    record, arrays = plain
    with collected() as case:
        for factor in (0.9, 1 - 1e-5, 1 + 1e-5, 1.1):
            with case("ceiling", factor):
                forged = scaled(record, factor, ("claim", "ceiling", "l2"))
                forged["claim"]["ceiling"]["share"] /= factor
                assert "claim.ceiling.l2" in places(forged, arrays)
        with case("all claims"):
            assert record["all_claims"]["eta"] == 0.04
            sentence = record["all_claims"]["sentence"].replace("0.04", "0.036")
            forged = copy.deepcopy(record)
            forged["all_claims"] = {"eta": 0.036, "confidence": 1 - 0.036, "sentence": sentence}
            assert places(forged, arrays) == {"all_claims.eta"}


def test_a_share_of_four_digits_is_the_one_below(plain: Run) -> None:
    record, arrays = plain
    value = record["regions"][0]["at_least"]
    assert 0 < value < 0.9
    for wrong in (round(1.05 * value, 4), round(value + 1e-4, 4), round(value - 2e-4, 4)):
        forged = copy.deepcopy(record)
        forged["regions"][0]["at_least"] = wrong
        assert "regions[0].at_least" in places(forged, arrays), wrong


def test_an_alarm_a_little_before_its_radius_is_seen(tmp_path: Path) -> None:
    """Each copy has one vote of four in the lungs, and some have two: so many that the radius is not quite reached."""
    radii = {}
    for two in range(440, 500, 5):
        masks = np.tile(np.arange(16) < 4, (600, 1)).astype(np.int64)
        masks[:two] = np.roll(masks[:two], 1, axis=1)
        votes, spec = make_run(masks, lungs=np.isin(np.arange(16), (1, 4)))
        record = make_record(votes, spec)
        entry = record["regions"][0]
        radius = radii[two] = entry["radius_below_half"]["in_noise"]
        assert entry["alarm"] is (radius >= 0.5)
        if 0.45 < radius < 0.5:
            arrays = make_arrays(votes, spec, tmp_path)
            words = entry["sentence"].split(" No alarm")[0]
            loud = (
                "ALARM: most of the votes are expected outside the lungs, whatever change within 0.5 standard "
                f"deviations of the noise (l2 distance 0.050000). {words}"
            )
            forged = record | {"regions": [entry | {"alarm": True, "sentence": loud}]}
            assert places(record, arrays) == set()
            assert places(forged, arrays) == {"regions[0].alarm", "regions[0].sentence"}
    values = np.array(list(radii.values()))
    assert ((values > 0.45) & (values < 0.5)).any() and ((values >= 0.5) & (values < 0.55)).any()


def test_a_change_a_little_beyond_the_radius_is_not_covered(plain: Run) -> None:
    record, arrays = plain
    radius = Fraction(record["claim"]["l_max"]["l2"]) / Fraction(record["spec"]["sigma"])
    for norm, covered in ((1.05, False), (1 + 1e-9, False), (1 - 1e-9, True), (0.95, True)):
        forged = copy.deepcopy(record)
        forged["ledger"][3] |= {"norm": norm * float(radius), "covered": covered}
        assert places(forged, arrays) == set()
        forged["ledger"][3]["covered"] = not covered
        assert places(forged, arrays) == {"ledger[3].covered"}


def test_stopping_a_little_early_is_seen(stopped: Run) -> None:
    record, arrays = stopped
    reached = min(record["claim"]["l_max"]["l2"], record["label"]["l2"])
    assert record["sampling"]["stopped_early"] and reached > 0
    sigma = record["spec"]["sigma"]
    for factor, seen in ((0.95, False), (1.05, True), (1 + 1e-9, True)):
        forged = copy.deepcopy(record)
        forged["sampling"]["until_radius"] = factor * reached
        forged["ledger"][0]["norm"] = 0.5 * reached / sigma
        assert places(forged, arrays) == ({"sampling.until_radius"} if seen else set()), factor
        # And a radius that falls short of the change that it was to cover.
        forged["sampling"]["until_radius"] = 0.9 * reached
        forged["ledger"][0]["norm"] = 0.9 * factor * reached / sigma
        assert places(forged, arrays) == ({"sampling.until_covers"} if seen else set()), factor


def test_a_radius_of_pairs_that_is_a_little_too_large_is_seen_where_it_stands(tmp_path: Path) -> None:
    record, arrays = run_of(tmp_path, *make_run(make_masks(), pairs=True))
    assert record["radii"][4]["l2"] > 0
    for factor in (1.05, 1 + 1e-5):
        assert "radii[4].l2" in places(scaled(record, factor, ("radii", 4, "l2")), arrays), factor
