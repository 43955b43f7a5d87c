"""Early stopping, pair counts and regions: what the inferer streams, and what it costs in eta."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
import torch

from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.audit import verify
from monai_robustinterp.certificates import ceiling, certify_votes
from monai_robustinterp.certificates.curve import overlap_curve
from monai_robustinterp.certificates.label import certify_label
from monai_robustinterp.certificates.rerun import rerun_radius
from monai_robustinterp.certificates.sequence import covering_radius, eta_part
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.io.votes_npz import load_votes, save_votes
from monai_robustinterp.smoothing.tally import add_votes
from monai_robustinterp.types import Region, SmoothingSpec, VoteMap, keeps_copies
from tests.support.networks import TinyClassifier
from tests.support.records import written
from tests.support.vote_factory import fixed_map_votes

SCHEMA = json.loads((files("monai_robustinterp") / "schemas" / "certificate.schema.json").read_text())


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    settings = {"n_samples": 32, "top_k": 10, "cell_size": 4, "target": 1, "batch_size": 12, "sigma": 0.2}
    return CertifiedSaliencyInferer(**(settings | changes))


def left_half() -> Region:
    cells = np.zeros((8, 8), dtype=bool)
    cells[:, :4] = True
    return Region(name="the left half", cells=cells, seen=1.0)


# ---- early stopping


def test_sampling_stops_at_the_first_look_that_certifies_the_wanted_radius(tiny, image) -> None:
    looks = (32, 64, 128, 256, 512)
    radii = []
    for m in looks:
        votes, spec = make_inferer(n_samples=m).vote(image, tiny)
        label = certify_label(votes, 0.2, eta_label=eta_part(0.05, 5))
        radii.append(min(certify_votes(votes, spec, beta="0.5", eta=eta_part(0.05, 5)).l_max, label.l2))
    assert radii[0] < radii[2] < radii[4]  # otherwise there is nothing to wait for
    wanted = 0.5 * (radii[1] + radii[2])
    calls: list[int] = []
    inferer = make_inferer(until_radius=wanted, max_samples=512, eta=0.05)
    result = inferer.certify(image, tiny, calls.append)
    votes, certificate = result.votes, result.certificate
    assert (votes.n_samples, sum(calls)) == (128, 128)
    assert certificate.spec.looks == looks
    assert np.array_equal(votes.counts, make_inferer(n_samples=128).vote(image, tiny)[0].counts)
    # The bounds are those of eta / 5, and the claim says eta.
    assert certificate.l_max >= wanted
    assert certificate.eta == 0.05
    fixed = dataclasses.replace(certificate.spec, looks=())
    assert certificate.l_max == certify_votes(votes, fixed, beta="0.5", eta=eta_part(0.05, 5)).l_max
    assert certificate.l_max < certify_votes(votes, fixed, beta="0.5", eta=0.05).l_max


def test_an_unreachable_radius_takes_all_copies_and_says_so(tiny, image) -> None:
    inferer = make_inferer(until_radius=50.0, max_samples=100, eta=0.05)
    result = inferer.certify(image, tiny)
    record = result.record
    assert record["sampling"] == {
        "until_radius": 50.0,
        "until_covers": None,
        "looks": [32, 64, 100],
        "n_samples": 100,
        "max_samples": 100,
        "stopped_early": False,
        "saved_share": 0.0,
    }


def test_the_record_says_what_was_saved_and_pays_for_the_looks_everywhere(tiny, image) -> None:
    inferer = make_inferer(until_radius=1e-9, max_samples=512, eta=0.05)
    result = inferer.certify(image, tiny)
    votes, certificate = result.votes, result.certificate
    record = result.record
    jsonschema.validate(record, SCHEMA)
    assert record["sampling"]["stopped_early"]
    assert record["sampling"]["saved_share"] == 1 - votes.n_samples / 512
    # Label, second run and curve use the same part of eta.
    part, spec = eta_part(0.05, 5), dataclasses.replace(certificate.spec, looks=())
    assert record["label"]["l2"] == certify_label(votes, spec.sigma, eta_label=part).l2
    assert record["label"]["eta"] == 0.05
    assert record["rerun"]["l2"] == rerun_radius(votes, spec, beta="0.5", eta=part, eta_rerun=0.05).l2
    curve, plain = (overlap_curve(votes, s, eta=eta) for s, eta in ((certificate.spec, 0.05), (spec, part)))
    for key, radii in curve.radii.items():
        assert np.array_equal(radii, plain.radii[key])


def test_the_radius_that_covers_a_change_is_the_least_one_above_its_norm() -> None:
    rng = np.random.default_rng(0)
    for norm, sigma in [(0.0, 0.1), (1.0, 0.1), (1e-300, 1e-30), *rng.lognormal(0, 4, (500, 2)).tolist()]:
        exact, radius = Fraction(norm) * Fraction(sigma), Fraction(covering_radius(norm, sigma=sigma))
        assert exact < radius <= exact * (1 + Fraction(1, 10**11)) + Fraction(1, 10**300)
    for norm, sigma in [(-1e-9, 0.1), (float("nan"), 0.1), (float("inf"), 0.1), (1.0, 0.0), (1e300, 1e300)]:
        with pytest.raises(ValueError, match="must be"):
            covering_radius(norm, sigma=sigma)


def test_sampling_until_a_change_is_covered_is_sampling_until_its_radius(tiny, image) -> None:
    settings = {"max_samples": 512, "eta": 0.05}
    change = 0.002 * torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    sigma = make_inferer().recipe.sigma
    norm = float(change.double().norm()) / sigma
    radius = covering_radius(norm, sigma=sigma)
    inferer = make_inferer(until_covers="added noise", **settings)
    result = inferer.certify(image, tiny, until_radius=radius)
    expected = make_inferer(until_radius=radius, **settings).certify(image, tiny)
    assert 32 < result.votes.n_samples < 512  # it waits, and not in vain
    assert min(result.certificate.l_max, result.certificate.label.l2) > norm * sigma
    assert result.certificate == expected.certificate
    assert result.record["sampling"] == expected.record["sampling"] | {"until_covers": "added noise"}
    jsonschema.validate(result.record, SCHEMA)
    for wrong, of_image in ((inferer, None), (make_inferer(until_radius=0.1), 0.1), (make_inferer(), 0.1)):
        with pytest.raises(ValueError, match="go together"):
            wrong.vote(image, tiny, until_radius=of_image)
    with pytest.raises(ValueError, match="> 0"):
        inferer.vote(image, tiny, until_radius=0.0)
    with pytest.raises(ValueError, match="one of them"):
        make_inferer(until_radius=0.1, until_covers="added noise")


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_looks_do_not_depend_on_the_batch_size(tiny, image, batch_size) -> None:
    settings = {"until_radius": 50.0, "max_samples": 70, "n_samples": 20}
    reference = make_inferer(**settings).vote(image, tiny)[0]
    assert np.array_equal(make_inferer(**settings, batch_size=batch_size).vote(image, tiny)[0].counts, reference.counts)


@pytest.mark.parametrize("settings", [{"until_radius": 0.0}, {"until_radius": float("nan")}, {"max_samples": 31}])
def test_wrong_schedules_are_refused(settings) -> None:
    with pytest.raises(ValueError, match="must"):
        make_inferer(**{"until_radius": 0.1} | settings)


@pytest.mark.parametrize("looks", [(32, 16), (16, 64), (16, 16, 32)])
def test_a_spec_whose_looks_do_not_fit_its_copies_is_refused(looks) -> None:
    with pytest.raises(ValueError, match="ascend"):
        SmoothingSpec(sigma=1.0, n_samples=32, top_k=1, cell_size=1, interpreter="gradient", target=0, looks=looks)


def test_the_ceiling_of_an_early_stopped_run_is_that_of_its_own_copies(tiny, image) -> None:
    inferer = make_inferer(until_radius=1e-9, max_samples=512, eta=0.05)
    result = inferer.certify(image, tiny)
    votes, certificate = result.votes, result.certificate
    assert votes.n_samples < 512
    fixed = fixed_map_votes(votes)
    later = dataclasses.replace(fixed, counts=fixed.counts * (512 // votes.n_samples), n_samples=512)
    at_the_end = ceiling(later, dataclasses.replace(certificate.spec, n_samples=512), beta="0.5", eta=0.05)
    assert certificate.l_max <= certificate.ceiling < at_the_end


def test_the_control_of_the_curve_is_that_of_the_certificate(tiny, image) -> None:
    for settings in ({}, {"until_radius": 1e-9, "max_samples": 512}):
        inferer = make_inferer(eta=0.05, **settings)
        result = inferer.certify(image, tiny)
        votes, certificate = result.votes, result.certificate
        curve = overlap_curve(votes, certificate.spec, eta=0.05)
        assert curve.ceiling == pytest.approx(certificate.ceiling)


def test_one_logit_is_no_softmax_decision(tiny, image) -> None:
    """Its arg-max never changes, so the label would be certified for nothing."""
    single = TinyClassifier(classes=1).eval()
    with pytest.raises(ValueError, match="sigmoid"):
        make_inferer(target=0).vote(image, single)
    assert make_inferer(target=0, activation="sigmoid").vote(image, single)[0].n_samples == 32


# ---- votes of each copy


def test_the_votes_of_each_copy_are_kept_at_its_index_whatever_the_batches(tiny, image) -> None:
    settings = {"n_samples": 70, "activation": "sigmoid"}
    made = make_inferer(**settings, pairs=True)
    with torch.no_grad():
        copies = made.recipe.tally(image, 1).noisy(torch.arange(70))
        tiny.head.bias[1] -= tiny(copies)[:, 1].median()
        found = [bool(tiny(copy[None])[0, 1] > 0) for copy in copies]
    assert 20 < sum(found) < 50
    masks = made.recipe.stages(image, tiny, target=1, n_copies=70).votes.reshape(70, 64)
    stopped = make_inferer(**settings | {"n_samples": 35}, until_radius=50.0, max_samples=70, batch_size=9)
    runs = {size: make_inferer(**settings, batch_size=size).vote(image, tiny)[0] for size in (1, 7, 32, 70)}
    for name, votes in {**runs, "pairs": made.vote(image, tiny)[0], "looks": stopped.vote(image, tiny)[0]}.items():
        assert np.array_equal(votes.copy_masks(), masks), name
        assert votes.copy_votes.dtype == np.uint8 and votes.copy_votes.nbytes == 70 * 8, name
        assert np.array_equal(votes.copy_found, np.packbits(found)), name
    # Fewer copies are the first rows.
    fewer = make_inferer(**settings | {"n_samples": 20}).vote(image, tiny)[0]
    assert np.array_equal(fewer.copy_votes, runs[1].copy_votes[:20])


def test_counts_pairs_and_hits_are_those_of_the_votes_of_each_copy(tiny, image) -> None:
    """Of a map whose cells fill no whole bytes."""
    cells = np.zeros((6, 6), dtype=bool)
    cells[1:4, 2:] = True
    inferer = make_inferer(n_samples=45, top_k=5, pairs=True)
    votes, _ = inferer.vote(image[:, :24, :24], tiny, regions=[Region(name="box", cells=cells, seen=1.0)])
    bits = np.array([[int(bit) for byte in row for bit in f"{byte:08b}"] for row in votes.copy_votes])
    assert bits.shape == (45, 40) and not bits[:, 36:].any() and (bits.sum(axis=1) == 5).all()
    masks = bits[:, :36]
    assert np.array_equal(votes.counts.ravel(), masks.sum(axis=0))
    assert np.array_equal(votes.pair_counts, masks.T @ masks)
    assert np.array_equal(votes.region_hits[0], np.bincount(masks @ cells.ravel(), minlength=6))


def test_nothing_is_kept_of_a_map_of_too_many_cells_or_copies(tmp_path, tiny) -> None:
    assert keeps_copies(1024, 131_072) and keeps_copies(256, 524_288)
    assert not (keeps_copies(1025, 1) or keeps_copies(1024, 131_073))
    inferer = make_inferer(cell_size=1, top_k=9, n_samples=5)
    large = torch.rand(1, 36, 36, generator=torch.Generator().manual_seed(0))
    result = inferer.certify(large, tiny)
    votes, spec = result.votes, result.certificate.spec
    assert votes.copy_votes is None and votes.copy_found is None
    assert result.record["votes"]["copy_votes_sha256"] is None
    save_votes(tmp_path / "votes.npz", votes, spec, result.record["provenance"])
    read, *_ = load_votes(tmp_path / "votes.npz")
    assert certify_votes(read, spec, beta="0.5", eta=0.001) == result.certificate
    report = verify(written(result.record), tmp_path / "votes.npz")
    assert report.verified and any("votes of each copy" in what for what in report.not_checked)
    with pytest.raises(ValueError, match="kept"):
        votes.copy_masks()


def test_more_copies_than_were_to_be_kept_are_refused(tiny, image) -> None:
    tally = make_inferer().recipe.tally(image, 1, keep=4)
    with explaining(tiny), pytest.raises(ValueError, match="4 copies are kept"):
        add_votes(tiny, [(tally, torch.arange(5))])
    assert tally.n_samples == 0


# ---- pair counts


def test_joint_counts_are_those_of_the_copies(tiny, image) -> None:
    inferer = make_inferer(pairs=True)
    votes, _ = inferer.vote(image, tiny)
    masks = inferer.recipe.stages(image, tiny, target=1, n_copies=32).votes.reshape(32, 64)
    expected = np.zeros((64, 64), dtype=int)
    for mask in masks:
        expected += np.outer(mask, mask)
    assert np.array_equal(votes.pair_counts, expected)
    assert np.array_equal(votes.pair_counts, make_inferer(pairs=True, batch_size=5).vote(image, tiny)[0].pair_counts)


def test_pairs_take_half_of_eta_from_the_cells(tiny, image) -> None:
    result = make_inferer(pairs=True, n_samples=256, eta=0.05).certify(image, tiny)
    votes, certificate = result.votes, result.certificate
    alone = certify_votes(dataclasses.replace(votes, pair_counts=None), certificate.spec, beta="0.5", eta=0.025)
    for family in ("renyi", "neyman-pearson"):
        assert certificate.radius("population", family).l2 == alone.radius("population", family).l2
    pairs = certificate.radius("population", "discordant-pairs")
    assert certificate.l_max == max(r.l2 for r in certificate.radii if r.level == "population") >= pairs.l2
    assert certificate.eta == 0.05
    jsonschema.validate(result.record, SCHEMA)


def test_pairs_of_a_pixel_map_are_refused_before_any_copy(tiny) -> None:
    with pytest.raises(ValueError, match="at most 1024"):
        make_inferer(pairs=True, cell_size=1).vote(torch.rand(1, 64, 64), tiny)


# ---- regions


def test_hits_of_a_region_are_those_of_the_copies(tiny, image) -> None:
    inferer, region = make_inferer(), left_half()
    other = Region(name="the rest", cells=~region.cells, seen=1.0)
    votes, _ = inferer.vote(image, tiny, regions=[region, other])
    masks = inferer.recipe.stages(image, tiny, target=1, n_copies=32).votes
    hits = masks[:, :, :4].sum(axis=(1, 2))
    assert np.array_equal(votes.region_hits[0], np.bincount(hits, minlength=11))
    assert np.array_equal(votes.region_hits[1], votes.region_hits[0][::-1])


def test_a_region_on_another_grid_is_refused(tiny, image) -> None:
    with pytest.raises(ValueError, match="agree"):
        make_inferer().vote(image, tiny, regions=[Region(name="?", cells=np.ones((4, 4), bool), seen=1.0)])


# ---- storing


def test_all_that_was_counted_is_stored_and_read_back(tmp_path, tiny, image) -> None:
    inferer = make_inferer(pairs=True, until_radius=50.0, max_samples=40)
    votes, spec = inferer.vote(image, tiny, regions=[left_half()])
    save_votes(tmp_path / "votes.npz", votes, spec, {"software": "x"})
    read, read_spec, _ = load_votes(tmp_path / "votes.npz")
    assert read_spec == spec
    assert np.array_equal(read.pair_counts, votes.pair_counts)
    assert np.array_equal(read.region_hits, votes.region_hits)
    assert np.array_equal(read.copy_votes, votes.copy_votes) and np.array_equal(read.copy_found, votes.copy_found)
    assert (read.regions[0].name, read.regions[0].seen) == ("the left half", 1.0)
    assert np.array_equal(read.regions[0].cells, left_half().cells)


def changed(votes: VoteMap, **arrays: np.ndarray) -> VoteMap:
    return dataclasses.replace(votes, **arrays)


def test_counts_that_contradict_each_other_are_refused(tiny, image) -> None:
    votes, _ = make_inferer(pairs=True).vote(image, tiny, regions=[left_half()])
    joint = votes.pair_counts.copy()
    joint[0, 1] += 1
    with pytest.raises(ValueError, match="pair counts"):
        changed(votes, pair_counts=joint)
    joint[1, 0] += 1
    with pytest.raises(ValueError, match="pair counts"):
        changed(votes, pair_counts=joint)
    for region_hits in (votes.region_hits[:, ::-1], votes.region_hits[:, :-1], votes.region_hits + 1):
        with pytest.raises(ValueError, match="hits"):
            changed(votes, region_hits=region_hits)
    with pytest.raises(ValueError, match="hits"):
        dataclasses.replace(votes, region_hits=None)
    for cells in (np.ones((4, 4), bool), votes.regions[0].cells.astype(int)):
        with pytest.raises(ValueError, match="bool on the grid"):
            dataclasses.replace(votes, regions=(Region(name="?", cells=cells, seen=1.0),))


def test_votes_of_copies_that_contradict_the_counts_are_refused(tmp_path, tiny, image) -> None:
    votes, spec = make_inferer(pairs=True).vote(image, tiny, regions=[left_half()])
    bits, found = votes.copy_votes, votes.copy_found
    one_more = bits.copy()
    one_more[3] |= 1 << int(np.flatnonzero(~np.unpackbits(bits[3, :1]).astype(bool)[::-1])[0])
    swapped = np.roll(votes.copy_masks(), 1, axis=1)
    changes = [
        *({"copy_votes": bad} for bad in (one_more, bits[:-1], bits.astype(int), np.packbits(swapped, axis=1), None)),
        *({"copy_found": bad} for bad in (found ^ 1, found[:-1], None)),
        {"counts": votes.counts[::-1].copy(), "pair_counts": None, "regions": (), "region_hits": None},
        {"found_copies": votes.found_copies + 1},
    ]
    for change in changes:
        with pytest.raises(ValueError, match="each copy"):
            changed(votes, **change)
    hits = votes.region_hits.copy()
    hits[0, votes.region_hits[0].argmax() + np.arange(-1, 2)] += [1, -2, 1]
    with pytest.raises(ValueError, match="hits of a region are not those"):
        changed(votes, region_hits=hits)
    with pytest.raises(ValueError, match="pair counts are stored as"):
        save_votes(tmp_path / "votes.npz", changed(votes, copy_votes=None, copy_found=None), spec, {})


def test_a_damaged_vote_file_is_a_sentence_or_the_same_votes(tmp_path, tiny, image) -> None:
    votes, spec = make_inferer(pairs=True).vote(image, tiny, regions=[left_half()])
    save_votes(tmp_path / "votes.npz", votes, spec, {"software": "x"})
    content, rng = (tmp_path / "votes.npz").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        (tmp_path / "damaged.npz").write_bytes(damaged)
        try:
            read, _, _ = load_votes(tmp_path / "damaged.npz")
        except ValueError as error:
            refused += 1
            assert "vote" in str(error)
        else:
            assert np.array_equal(read.counts, votes.counts)
    assert refused > 75
