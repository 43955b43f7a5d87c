"""A record of exact intervals and what ``verify`` says of it, whole and forged: a small network on a real film."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_robustinterp import load_bundle
from monai_robustinterp.attention import Brightness
from monai_robustinterp.attention.files import save_verified
from monai_robustinterp.attention.image import Settings, verify_image
from monai_robustinterp.attention.recheck import recheck
from monai_robustinterp.audit import AuditError, read_regions, verify_attention
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import sealed
from tests.support.bundles import OPACITY

FILM = Path(__file__).parents[2] / "sample_data" / "kermany_person1949_bacteria_4880.jpeg"
Record = dict[str, Any]
Lines = list[list[str]]


def small_network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 8, stride=8), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(8 * 49, 2)),
    ).eval()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Bundle and folder of a result in which the map ends on both sides by a violation."""
    bundle = load_bundle(OPACITY)
    bundle.network = small_network()
    settings = Settings(perturbation=Brightness(), low=-0.05, high=0.05, share=0.05)
    folder = tmp_path_factory.mktemp("exact")
    save_verified(verify_image(FILM, bundle, settings), folder)
    return bundle, folder


def content(folder: Path) -> tuple[Record, Lines]:
    record = json.loads((folder / "attention.json").read_text())
    return record, [line.split(",") for line in (folder / "regions.csv").read_text().splitlines()]


def written(folder: Path, record: Record, lines: Lines) -> tuple[Record, Path]:
    """A record and its table, with hashes that fit both, as a forger would write them."""
    table = "".join(",".join(line) + "\n" for line in lines).encode()
    (folder / "forged.csv").write_bytes(table)
    unsealed = {name: value for name, value in record.items() if name != "content_sha256"}
    unsealed |= {"regions_sha256": hashlib.sha256(table).hexdigest(), "regions_crossed": len(lines) - 1}
    return sealed(unsealed), folder / "forged.csv"


def test_a_record_passes_and_so_does_the_network(result) -> None:
    bundle, folder = result
    record, lines = content(folder)
    assert len(lines) > 20
    assert {record["results"]["attention"][side]["end"] for side in ("below", "above")} == {"violation"}
    report = verify_attention(record, folder / "regions.csv", input_file=FILM)
    assert report.verified and report.numbers > 15, report.differences
    found = recheck(record, read_regions(folder / "regions.csv")[0], source=FILM, bundle=bundle)
    assert not found.differences, found.differences
    assert found.witnesses >= 2 and found.boundaries >= 3


def test_every_changed_claim_is_caught(result) -> None:
    _, folder = result
    record, lines = content(folder)
    above = record["results"]["attention"]["above"]
    witness = above["witness"]

    def attention(**values: Any) -> Callable[[Record], object]:
        return lambda forged: forged["results"]["attention"]["above"].update(values)

    def farther(forged: Record) -> None:
        attention(theta=witness * 1.001)(forged)
        forged["results"]["attention"]["interval"][1] = witness * 1.001

    changes: dict[str, Callable[[Record], object]] = {
        "interval": lambda one: one["results"]["attention"].update(interval=[-0.05, 0.05]),
        "farther than the violation": farther,
        "no violation": attention(end="range", sentence="holds up to the end of the range", witness=None),
        "witness inside": attention(witness=above["theta"] / 2),
        "witness holds": attention(witness_value=record["settings"]["delta"] * 0.9),
        "sentence": attention(sentence="holds everywhere"),
        "outcome": lambda one: one["results"]["attention"].update(outcome="satisfied"),
        "threshold": lambda one: one["results"]["attention"].update(threshold=1.0),
        "delta": lambda one: one["settings"].update(delta=one["settings"]["delta"] * 2),
        "unit": lambda one: one["settings"]["perturbation"].update(unit="gray levels"),
        "claim": lambda one: one.update(claim="of everything"),
        "overlap": lambda one: one["settings"].update(overlap_needed=1),
        "precision": lambda one: one["settings"].update(precision="float32"),
        "entry": lambda one: one.update(more=1),
    }
    missed = []
    for name, change in changes.items():
        forged = copy.deepcopy(record)
        change(forged)
        if verify_attention(*written(folder, forged, lines)).verified:
            missed.append(name)
    if verify_attention(record | {"regions_crossed": 3}, folder / "regions.csv").verified:
        missed.append("hash of the record")
    if verify_attention(record, written(folder, record, [*lines[:-1], [*lines[-1][:3], "0", "0", "0"]])[1]).verified:
        missed.append("hash of the table")
    assert not missed


def test_damaged_tables_are_refused(result) -> None:
    _, folder = result
    record, lines = content(folder)
    tables = {
        "without a gap": [*lines[:5], *lines[6:]],
        "no row of numbers": [*lines[:5], ["nan"] * 6, *lines[6:]],
        "other columns": [["low", *lines[0][1:]], *lines[1:]],
        "do not contain 0": [lines[0], *(line for line in lines[1:] if float(line[0]) > 0)],
    }
    for words, table in tables.items():
        with pytest.raises(AuditError, match=words):
            verify_attention(*written(folder, record, table))


def test_the_network_contradicts_what_fits_itself(result) -> None:
    """Forgeries in which record and table agree."""
    bundle, folder = result
    record, lines = content(folder)

    def merged(forged: Record, table: Lines) -> None:
        """Three regions of each four made one."""
        for i in reversed(range(1, len(table) - 3, 4)):
            table[i : i + 3] = [[table[i][0], table[i + 2][1], *table[i][2:]]]

    def moved(forged: Record, table: Lines) -> None:
        """All boundaries moved by a twentieth of their region."""
        for one, other in pairwise(table[1:]):
            edge = repr(float(one[1]) + 0.05 * (float(other[1]) - float(one[1])))
            one[1] = other[0] = edge

    def lowered(forged: Record, table: Lines) -> None:
        """All maps said to have changed half as much, and the interval to be the whole range that was crossed."""
        for line in table[1:]:
            line[4] = repr(float(line[4]) / 2)

    def invented(forged: Record, table: Lines) -> None:
        forged["results"]["attention"]["below"]["witness_value"] *= 1.5

    def other_logits(forged: Record, table: Lines) -> None:
        forged["logits"][0] += 1e-3

    def other_network(forged: Record, table: Lines) -> None:
        forged["provenance"]["network_sha256"] = "0" * 64

    missed = []
    for forge in (merged, moved, lowered, invented, other_logits, other_network):
        forged, table = copy.deepcopy(record), copy.deepcopy(lines)
        forge(forged, table)
        sealed_record, path = written(folder, forged, table)
        rows = read_regions(path)[0]
        found = recheck(sealed_record, rows, source=FILM, bundle=bundle, sample=30)
        if not found.differences:
            missed.append(forge.__name__)
    assert not missed


def test_the_command_wants_the_table(result, capsys) -> None:
    _, folder = result
    record = str(folder / "attention.json")
    assert main(["verify", record, str(folder / "regions.csv"), "--input", str(FILM)]) == 0
    assert "verified: " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["verify", record])
    assert "give regions.csv too" in capsys.readouterr().err
    # Its network is none of the bundle's.
    arguments = [record, str(folder / "regions.csv"), "--input", str(FILM), "--bundle", OPACITY, "--replay"]
    assert main(["verify", *arguments]) == 1
    assert "difference: provenance.weights_sha256" in capsys.readouterr().out
