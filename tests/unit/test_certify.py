"""The certificate object: levels, JSON, units, sentences."""

from __future__ import annotations

import dataclasses
import json
import math

import jsonschema
import numpy as np
import pytest

from monai_robustinterp.certificates import (
    Status,
    ceiling,
    certificate_from_json,
    certificate_to_json,
    certify_votes,
    mass_weighted_bounds,
    neyman_pearson_radius,
    radius_units,
    renyi_radius,
)
from monai_robustinterp.certificates.units import round_down, round_up, sum_up
from monai_robustinterp.files import json_bytes
from monai_robustinterp.io import load_votes
from monai_robustinterp.io.votes_npz import save_votes
from tests.support.cases import collected
from tests.support.records import SCHEMA, result_of, written
from tests.support.vote_factory import fixed_map_votes, make_spec, make_votes


def test_plug_in_radii_are_the_functions_at_the_observed_shares() -> None:
    votes = make_votes()
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    arguments = {"top_k": 38, "beta": "0.5", "sigma": 0.125}
    assert certificate.radius("plug-in", "renyi").l2 == renyi_radius(votes.share, **arguments)
    assert certificate.radius("plug-in", "neyman-pearson").l2 == neyman_pearson_radius(votes.share, **arguments)


def test_the_population_radius_uses_the_weakest_lower_and_the_strongest_upper_bounds() -> None:
    """T7 by hand: s = 20, r = 0; the s-th smallest lo inside against the s-th largest hi outside."""
    from scipy.stats import norm

    votes = make_votes()
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    table = mass_weighted_bounds(np.arange(513), 512, top_k=38, eta=0.001)
    ordered = sorted(votes.counts.ravel().tolist(), reverse=True)
    lower, upper = table.lower[ordered[38 - 20]], table.upper[ordered[38 + 20 - 1]]
    expected = 0.0625 * (norm.ppf(lower) - norm.ppf(upper))
    assert certificate.swap_count == 20 and certificate.overlap == 19
    assert certificate.radius("population", "neyman-pearson").l2 == pytest.approx(expected, rel=1e-12)


def test_allowed_wrong_bounds_cost_cells_of_the_swap() -> None:
    """R > 0: bounds at a looser level, but s - r instead of s."""
    votes = make_votes(top_k=120, side=32, n_samples=256)
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.01)
    assert (certificate.swap_count, certificate.allowed_wrong_bounds) == (61, 1)
    table = mass_weighted_bounds(np.arange(257), 256, top_k=120, eta=0.01, wrong=1)
    ordered = sorted(votes.counts.ravel().tolist(), reverse=True)
    lower, upper = table.lower[ordered[120 - 60]], table.upper[ordered[120 + 60 - 1]]
    from scipy.stats import norm

    expected = 0.0625 * (norm.ppf(lower) - norm.ppf(upper))
    assert certificate.radius("population", "neyman-pearson").l2 == pytest.approx(expected, rel=1e-12)


def test_population_is_below_plug_in_and_renyi_below_neyman_pearson() -> None:
    votes = make_votes()
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    for family in ("renyi", "neyman-pearson"):
        assert 0 < certificate.radius("population", family).l2 < certificate.radius("plug-in", family).l2
    for level in ("plug-in", "population"):
        assert certificate.radius(level, "renyi").l2 < certificate.radius(level, "neyman-pearson").l2
    assert certificate.l_max == certificate.radius("population", "neyman-pearson").l2
    renyi = certificate.radius("population", "renyi")
    assert renyi.l2 == pytest.approx(0.125 * math.sqrt(2 * renyi.epsilon / renyi.alpha), rel=1e-12)


def test_no_votes_to_speak_of_is_an_abstention_and_not_a_radius_of_zero() -> None:
    votes = make_votes(sharpness=0.0, n_samples=32)
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    assert certificate.l_max == 0
    assert certificate.status is Status.ABSTAIN
    assert not any(radius.certified for radius in certificate.radii)


def test_only_a_positive_population_radius_is_called_certified() -> None:
    votes = make_votes()
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    assert certificate.map_sentence.startswith("certified (population level)")
    for radius in certificate.radii:
        assert radius.certified == (radius.level == "population")
        assert radius.sentence.startswith("certified" if radius.certified else "estimate")


def test_json_round_trip_against_the_schema() -> None:
    votes = make_votes()
    certificate = certify_votes(votes, make_spec(votes, seed=7), beta="0.5", eta=0.001)
    text = json_bytes(certificate_to_json(certificate))
    data = json.loads(text)
    jsonschema.validate(data, SCHEMA)
    assert certificate_from_json(data) == certificate
    record = written(result_of(votes, certificate.spec).record)
    jsonschema.validate(record, SCHEMA)
    assert certificate_from_json(record) == certificate
    assert record["label_and_map"]["l2"] == min(record["label"]["l2"], certificate.l_max) > 0
    assert record["label_and_map"]["eta"] == pytest.approx(0.002)


def test_a_record_whose_label_may_flip_is_not_called_certified() -> None:
    votes = dataclasses.replace(make_votes(), decision=True, found_copies=270)
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    record = written(result_of(votes, certificate.spec).record)
    assert certificate.status is Status.MAP_ONLY and record["status"] == "map only"
    jsonschema.validate(record, SCHEMA)
    assert certificate.l_max > 0 and record["label"]["l2"] == record["label_and_map"]["l2"] == 0
    assert record["sentence"].startswith(
        "not certified: the map has a radius, but the decision on the finding may flip"
    )
    assert record["claim"]["l_max"]["l2"] == certificate.l_max


@pytest.mark.parametrize("path", [("claim", "eta"), ("radii",), ("spec", "sigma"), ("claim", "l_max"), ("status",)])
def test_the_schema_misses_no_part(path) -> None:
    votes = make_votes()
    data = certificate_to_json(certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001))
    part = data
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)


def test_an_unbounded_plug_in_radius_is_strict_json() -> None:
    counts = np.zeros((4, 4), np.int64)
    counts[0, :3] = 50
    votes = dataclasses.replace(make_votes(), counts=counts, n_samples=50, top_k=3, input_shape=(4, 4), found_copies=50)
    certificate = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    assert certificate.radius("plug-in", "neyman-pearson").l2 == math.inf
    assert 0 < certificate.l_max < math.inf
    data = json.loads(json_bytes(certificate_to_json(certificate)))
    jsonschema.validate(data, SCHEMA)
    assert certificate_from_json(data) == certificate


def test_votes_survive_the_file_and_tampering_does_not(tmp_path) -> None:
    votes = make_votes()
    spec = make_spec(votes)
    path = tmp_path / "votes.npz"
    save_votes(path, votes, spec, {"software": "x"})
    loaded, loaded_spec, provenance = load_votes(path)
    assert loaded_spec == spec and provenance == {"software": "x"}
    for field in dataclasses.fields(votes):
        assert np.array_equal(getattr(loaded, field.name), getattr(votes, field.name)), field.name
    twin = tmp_path / "twin.npz"
    save_votes(twin, votes, spec, {"software": "x"})
    assert twin.read_bytes() == path.read_bytes()
    with np.load(path) as data:
        arrays = dict(data)
    arrays["counts"] = arrays["counts"].copy()
    arrays["counts"][0, 0] += 1
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(ValueError, match="sum to"):
        load_votes(tmp_path / "changed.npz")
    arrays["format"] = np.array("monai_robustinterp/votes/7")
    np.savez(tmp_path / "newer.npz", **arrays)
    with pytest.raises(ValueError, match="votes/6"):
        load_votes(tmp_path / "newer.npz")


def test_votes_of_another_run_are_refused() -> None:
    votes = make_votes()
    with pytest.raises(ValueError, match="different runs"):
        certify_votes(votes, make_spec(votes, n_samples=511), beta="0.5", eta=0.001)


def test_units_are_the_same_length_said_in_other_words() -> None:
    units = radius_units(0.64, 128 * 128)
    delta = np.full((128, 128), units.l_inf)
    assert np.linalg.norm(delta) == pytest.approx(0.64)
    assert units.rms == pytest.approx(np.sqrt(np.mean(delta**2)))
    assert units.rms_gray_levels == pytest.approx(255 * units.rms)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.05999, "0.0599"), (0.0, "0.0000"), (0.06, "0.0600"), (math.inf, "unbounded")]
)
def test_printed_radii_are_rounded_down(value, expected) -> None:
    assert round_down(value, 4) == expected


def test_a_printed_radius_never_exceeds_the_number() -> None:
    with collected() as case:
        for value in np.random.default_rng(0).uniform(0, 1, 200):
            with case(value):
                printed = float(round_down(value, 4))
                assert printed <= value < printed + 1.0001e-4


def test_a_printed_probability_is_never_rounded_down() -> None:
    from fractions import Fraction

    rng = np.random.default_rng(0)
    etas = [0.001, 1e-9, 0.5, 0.0012345641, 0.99999949, *(10.0 ** -rng.uniform(0, 12, 300)).tolist()]
    too_small = [eta for eta in etas if Fraction(round_up(eta)) < Fraction(repr(eta))]
    too_long = [eta for eta in etas if len(round_up(eta).split("e")[0].replace(".", "").lstrip("0")) > 6]
    assert not too_small and not too_long
    assert (round_up(0.001), round_up(1e-9), round_up(0.0012345641)) == ("0.001", "1e-9", "0.00123457")
    triples = rng.uniform(0, 0.3, (300, 3)).tolist()
    assert not [t for t in triples if Fraction(sum_up(*t)) < sum(map(Fraction, t))]


def test_the_fixed_map_is_the_largest_radius_of_its_settings() -> None:
    votes = make_votes(sharpness=4.0)
    spec = make_spec(votes)
    certificate = certify_votes(votes, spec, beta="0.5", eta=0.001)
    assert certificate.ceiling == ceiling(votes, spec, beta="0.5", eta=0.001) > certificate.l_max
    assert certificate.ceiling_share == certificate.l_max / certificate.ceiling
    fixed = certify_votes(fixed_map_votes(votes), spec, beta="0.5", eta=0.001)
    assert fixed.l_max == fixed.ceiling == certificate.ceiling and fixed.ceiling_share == 1
    assert any("ignores the image has the same" in note for note in fixed.notes) and not certificate.notes
    table = mass_weighted_bounds(np.arange(513), 512, top_k=38, eta=0.001)
    from scipy.stats import norm

    assert certificate.ceiling == pytest.approx(0.0625 * (norm.ppf(table.lower[512]) - norm.ppf(table.upper[0])))


def test_a_bound_of_zero_inside_is_no_logarithm_of_zero() -> None:
    """Cells with one vote have the lower bound 0, those without any an upper bound above 0: abstain in silence."""
    counts = np.array([200] * 3 + [1] * 200 + [0] * 997)
    votes = dataclasses.replace(make_votes(), counts=counts.reshape(30, 40), n_samples=200, top_k=4, found_copies=200)
    spec = make_spec(votes)
    certificate = certify_votes(votes, spec, beta="0.25", eta=0.001)
    assert certificate.l_max > 0
    assert certify_votes(votes, spec, beta="1", eta=0.001).l_max == 0


def test_a_map_of_all_classes_says_so_in_the_notes() -> None:
    votes = make_votes()
    for explains_target in (True, False):
        spec = dataclasses.replace(make_spec(votes), explains_target=explains_target)
        notes = " ".join(certify_votes(votes, spec, beta="0.5", eta=0.001).notes)
        assert ("several classes together" in notes) is not explains_target


@pytest.mark.parametrize("name", ["interpreter_settings", "explains_target", "precision"])
def test_votes_that_do_not_say_what_was_smoothed_are_refused(tmp_path, name) -> None:
    votes = make_votes()
    save_votes(tmp_path / "votes.npz", votes, make_spec(votes), {})
    with np.load(tmp_path / "votes.npz") as data:
        arrays = dict(data)
    spec = json.loads(str(arrays["spec"]))
    del spec[name]
    np.savez(tmp_path / "old.npz", **(arrays | {"spec": np.array(json.dumps(spec))}))
    with pytest.raises(ValueError, match="lacks"):
        load_votes(tmp_path / "old.npz")
