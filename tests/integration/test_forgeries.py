"""Forged records of a real run, each sealed anew: what a recomputation sees, and what only a replay does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.certificates import Claim, Origin, certified_result
from monai_robustinterp.certificates.native import NativeScale, native_record
from monai_robustinterp.certificates.resize import display_round_off, resize_round_off
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import file_sha256, json_bytes, sealed
from monai_robustinterp.geometry.native import native_scale
from monai_robustinterp.geometry.regions import parse_region
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.io.votes_npz import load_votes, save_votes
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.run.pipeline import certify_image, prepare
from monai_robustinterp.run.replay import replay
from monai_robustinterp.types import SmoothingSpec, VoteMap
from tests.support.bundles import CERTIFY, OPACITY
from tests.support.vote_factory import copy_bits

SAMPLES = Path(__file__).parents[2] / "sample_data"
SAMPLE, OTHER = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm", SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"


class Run(NamedTuple):
    """A record with its votes, and the image that it claims to be of."""

    record: dict[str, Any]
    votes: VoteMap
    spec: SmoothingSpec
    source: Path = SAMPLE


def scale_of(run: Run) -> NativeScale:
    factors = ("slope", "norm_l2", "norm_l_inf", "rho", "round_off", "reason")
    return NativeScale(**{name: run.record["native"][name] for name in factors})


def made_anew(
    run: Run,
    *,
    votes: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    scale: NativeScale | None = None,
) -> Run:
    """Changed votes or settings with the whole record that follows from them: no number contradicts another one.

    Changed counts come without the votes of each copy, unless these are given.
    """
    dropped = {"copy_votes": None, "copy_found": None} if {"counts", "found_copies"} & set(votes or {}) else {}
    changed = dataclasses.replace(run.votes, **dropped | (votes or {}))
    settings = dataclasses.replace(run.spec, **spec or {})
    names = ("normal", "pneumonia / lung opacity")
    misses = {run.record["finding"]["name"]: run.record["finding"]["misses"]}
    scale = scale or scale_of(run)
    result = certified_result(
        changed,
        settings,
        Claim(beta=run.record["claim"]["beta"], eta=run.record["claim"]["eta"]),
        finding=Findings("softmax", names, misses).entry(changed.logits, settings.target),
        origin=lambda certificate: Origin(
            source=run.record["source"],
            native=native_record(certificate.l_max, scale, certificate.n_pixels),
            provenance=run.record["provenance"],
        ),
    )
    return Run(json.loads(json_bytes(result.record)), changed, settings, run.source)


def reworded(run: Run, *path: str, value: Any) -> Run:
    """The record with another value in one place."""
    record = json.loads(json_bytes(run.record))
    *way, last = path
    part = record
    for name in way:
        part = part[name]
    part[last] = value(part[last]) if callable(value) else value
    return run._replace(record=record)


def sharper(votes: VoteMap, share: float = 0.05) -> dict[str, Any]:
    """Counts with this share of the votes moved, from the 20 fullest other cells to the 20 emptiest reported ones."""
    flat, k = votes.counts.ravel().copy(), votes.top_k
    order = np.argsort(-flat, kind="stable")
    for i in range(round(share * votes.n_samples * k)):
        giver, taker = order[k + i % 20], order[k - 1 - i % 20]
        if flat[giver] > 0 and flat[taker] < votes.n_samples:
            flat[giver] -= 1
            flat[taker] += 1
    return {"counts": flat.reshape(votes.counts.shape)}


def doubled(run: Run) -> Run:
    fields = ("n_samples", "found_copies", "tied_copies", "constant_copies", "counts")
    return made_anew(
        run,
        votes={name: 2 * getattr(run.votes, name) for name in fields},
        spec={"n_samples": 2 * run.spec.n_samples},
    )


def of_the_other_class(run: Run) -> Run:
    votes = run.votes
    return made_anew(
        run,
        votes={"decision": not votes.decision, "found_copies": votes.n_samples - votes.found_copies},
        spec={"target": 1 - run.spec.target},
    )


def of_another_image(run: Run) -> Run:
    """All that is said of the source is that of another image; votes and logits are not."""
    bundle = load_bundle(OPACITY, {"lungs": "off"})
    image = prepare(OTHER, bundle).image
    scale = native_scale(bundle.preprocessing, image.meta, run.votes.input_shape)
    relabeled = made_anew(run, votes={"image_sha256": image_sha256(image)}, scale=scale)
    return relabeled._replace(
        record=relabeled.record | {"source": source_record(image.meta, image.shape[-2:])}, source=OTHER
    )


def covering(run: Run, *, norm: float | None) -> Run:
    """The first change that is not covered becomes one, with its own norm or one that fits."""
    record = json.loads(json_bytes(run.record))
    entry = next(entry for entry in record["ledger"] if entry["norm"] and not entry["covered"] and not entry["draws"])
    entry.update({"covered": True} | ({} if norm is None else {"norm": norm}))
    return run._replace(record=record)


def of_another_display_range(run: Run) -> Run:
    """With less round-off than the pixels' way to the network's input has."""
    side = min(run.record["source"]["shape"])
    lost = resize_round_off((side, side), run.votes.input_shape, display=display_round_off(1e-9))
    return made_anew(run, scale=dataclasses.replace(scale_of(run), rho=1e-9, round_off=lost))


def not_applying(run: Run) -> Run:
    """A change that is not covered is said not to apply."""
    record = json.loads(json_bytes(run.record))
    record["ledger"][-1].update({"norm": None, "covered": False, "reason": "the preprocessing has no Resized step."})
    return run._replace(record=record)


FORGERIES: dict[str, tuple[str, Callable[[Run], Run]]] = {
    "sigma 5 % larger": ("replay", lambda run: made_anew(run, spec={"sigma": 1.05 * run.spec.sigma})),
    "sigma 5 % larger, radii kept": ("verify", lambda run: reworded(run, "spec", "sigma", value=1.05 * run.spec.sigma)),
    "network's input of another image": ("replay", lambda run: made_anew(run, votes={"image_sha256": "a" * 64})),
    "file of another image": ("verify", lambda run: reworded(run, "source", "file_sha256", value=file_sha256(OTHER))),
    "another image": ("replay", of_another_image),
    "votes moved into the reported cells": ("replay", lambda run: made_anew(run, votes=sharper(run.votes))),
    "copies counted twice": ("replay", doubled),
    "one copy fewer finds it": (
        "replay",
        lambda run: made_anew(run, votes={"found_copies": run.votes.found_copies - 1}),
    ),
    "another precision": ("replay", lambda run: made_anew(run, spec={"precision": "bfloat16"})),
    "the other class": ("replay", of_the_other_class),
    "another interpreter": ("replay", lambda run: made_anew(run, spec={"interpreter": "input_x_gradient"})),
    "another seed": ("replay", lambda run: made_anew(run, spec={"seed": 1})),
    "another noise": ("verify", lambda run: made_anew(run, spec={"noise": "gaussian/other/1"})),
    "another beta": ("verify", lambda run: reworded(run, "claim", "beta", value="0.9")),
    "another eta": ("verify", lambda run: reworded(run, "claim", "eta", value=1e-6)),
    "another status": ("verify", lambda run: reworded(run, "status", value="certified: all is well.")),
    "another finding": ("replay", lambda run: reworded(run, "finding", "name", value="effusion")),
    "no warnings of the reader": ("replay", lambda run: reworded(run, "source", "warnings", value="x")),
    "another display range": ("replay", of_another_display_range),
    "a change called covered": ("verify", lambda run: covering(run, norm=None)),
    "a smaller norm of a change": ("replay", lambda run: covering(run, norm=0.01)),
    "a change that does not apply": ("replay", not_applying),
    "L_max 10 % larger": ("verify", lambda run: reworded(run, "claim", "l_max", "l2", value=lambda l2: 1.1 * l2)),
}


def written(run: Run, folder: Path) -> list[str]:
    """Writes both files, sealed; returns the arguments of ``verify``."""
    folder.mkdir()
    record = {name: value for name, value in run.record.items() if name != "content_sha256"}
    (folder / "certificate.json").write_bytes(json_bytes(sealed(record)))
    save_votes(folder / "votes.npz", run.votes, run.spec, run.record["provenance"])
    files = [str(folder / name) for name in ("certificate.json", "votes.npz")]
    return ["verify", *files, "--input", str(run.source), "--bundle", OPACITY]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real run of 64 copies."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert main([*CERTIFY, str(SAMPLE), "--output", str(output), "--samples", "64", "--lungs", "off", "--quiet"]) == 0
    folder = next(output.glob("cxr-*"))
    votes, spec, _ = load_votes(folder / "votes.npz")
    return Run(json.loads((folder / "certificate.json").read_text()), votes, spec)


def test_each_forgery_is_refused(honest: Run, tmp_path: Path) -> None:
    """By the recomputation if a number, a sentence or a given file contradicts it; else by the replay only."""
    bundle = load_bundle(OPACITY, {"device": "cpu", "lungs": "off"})
    told = {}
    for name, (_, forge) in FORGERIES.items():
        forged = forge(honest)
        if main(written(forged, tmp_path / name)) == 1:
            told[name] = "verify"
        else:
            report = replay(forged.record, forged.votes, forged.spec, source=forged.source, bundle=bundle)
            told[name] = "nobody" if report.confirmed else "replay"
    assert told == {name: by for name, (by, _) in FORGERIES.items()}


def test_pairs_and_hits_of_copies_that_never_were_are_refused(tmp_path: Path) -> None:
    """Other copies with the same counts: pairs and hits fit the counts, as the file must, and only a replay tells."""
    settings = {"device": "cpu", "n_samples": 32, "cell_size": 16, "top_k": 10, "pairs": True}
    bundle = load_bundle(OPACITY, settings | {"lungs": "off"})
    result = certify_image(SAMPLE, bundle, regions=[parse_region("zone:image-right")])
    run = Run(json.loads(json_bytes(result.record)), result.votes, result.certificate.spec)
    m, counts = run.votes.n_samples, run.votes.counts.ravel()
    ends = np.cumsum(counts)
    masks = np.zeros((m, counts.size), np.int64)
    for cell, (start, end) in enumerate(zip(ends - counts, ends)):
        masks[np.arange(start, end) % m, cell] = 1
    hits = np.bincount(masks @ run.votes.regions[0].cells.ravel(), minlength=11)[None]
    forged = {"pair_counts": masks.T @ masks, "region_hits": hits, **copy_bits(masks, found=run.votes.found_copies)}
    other = made_anew(run, votes=forged)
    assert main(written(other, tmp_path / "other")) == 0
    report = replay(other.record, other.votes, other.spec, source=SAMPLE, bundle=bundle)
    pairs, of_region = report.differences
    assert report.n_different == 0 and "pairs of votes" in pairs and "hits of a region" in of_region


def test_the_command_says_what_the_replay_found(
    honest: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*written(made_anew(honest), tmp_path / "honest"), "--replay"]) == 0
    *_, votes, radius, outcome = capsys.readouterr().out.splitlines()
    l2 = honest.record["claim"]["l_max"]["l2"]
    assert votes == "replayed votes: 0 of 2432 differ (0.0000%)"
    assert radius == f"radius that the replayed counts would give, which is no further claim: {l2} (recorded: {l2})"
    assert outcome.startswith("replay: equal bit for bit.")
    arguments = written(FORGERIES["sigma 5 % larger"][1](honest), tmp_path / "forged")
    assert main(arguments) == 0 and main([*arguments, "--replay"]) == 1
    out = capsys.readouterr().out
    assert "votes differ (" in out and "at most 0.5% may" in out and "replay: refused, 1 differences." in out


def test_a_replay_on_another_machine_may_differ_by_half_a_per_cent_of_the_votes(honest: Run) -> None:
    """Votes of a machine that rounds otherwise: a few moved, as the record of that machine says."""
    bundle = load_bundle(OPACITY, {"device": "cpu", "lungs": "off"})
    for share, confirmed in ((0.004, True), (0.006, False)):
        other = made_anew(honest, votes=sharper(honest.votes, share))
        report = replay(other.record, other.votes, other.spec, source=SAMPLE, bundle=bundle)
        assert report.confirmed is confirmed and not report.equal
        assert report.n_different / report.n_votes == pytest.approx(share, abs=0.001)
        assert report.l_max == honest.record["claim"]["l_max"]["l2"]


def test_a_replay_needs_image_and_bundle(honest: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = written(honest, tmp_path / "honest")[:-2]
    assert main([*arguments, "--replay"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "--input and --bundle" in err


def test_a_forged_certificate_claims_more_than_the_honest_one(honest: Run) -> None:
    """So the forgeries are worth making."""
    for name in ("sigma 5 % larger", "votes moved into the reported cells", "copies counted twice"):
        forged = FORGERIES[name][1](honest)
        assert forged.record["claim"]["l_max"]["l2"] > 1.04 * honest.record["claim"]["l_max"]["l2"] > 0, name
