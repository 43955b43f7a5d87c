"""Two parameters on a small network and a real film: the files, and what ``verify`` says of them, whole and forged."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from monai_robustinterp import load_bundle
from monai_robustinterp.attention import Brightness, Slope
from monai_robustinterp.attention.plane_files import save_plane
from monai_robustinterp.attention.plane_image import PlaneSettings, verify_plane
from monai_robustinterp.attention.plane_recheck import recheck_plane
from monai_robustinterp.audit import AuditError, read_polygons
from monai_robustinterp.audit import verify_plane as audit_plane
from monai_robustinterp.cli.attention import plane_table
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import sealed
from tests.support.bundles import ATTENTION, OPACITY

FILM = Path(__file__).parents[2] / "sample_data" / "kermany_person1949_bacteria_4880.jpeg"
Record = dict[str, Any]
Lines = list[list[str]]


def small_network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 16, stride=16), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(6 * 64, 24), nn.ReLU(), nn.Linear(24, 2)),
    ).eval()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Bundle, folder and printed table of a result in which the map ends by a violation."""
    bundle = load_bundle(OPACITY)
    bundle.network = small_network()
    settings = PlaneSettings(perturbations=(Brightness(), Slope()), limits=(0.3, 0.2), share=0.2)
    folder = tmp_path_factory.mktemp("plane")
    verified = verify_plane(FILM, bundle, settings)
    save_plane(verified, folder)
    return bundle, folder, plane_table(verified)


def content(folder: Path) -> tuple[Record, Lines]:
    record = json.loads((folder / "attention.json").read_text())
    return record, [line.split(",") for line in (folder / "regions.csv").read_text().splitlines()]


def written(folder: Path, record: Record, lines: Lines) -> tuple[Record, Path]:
    """A record and its table, with hashes that fit both, as a forger would write them."""
    table = "".join(",".join(line) + "\n" for line in lines).encode()
    (folder / "forged.csv").write_bytes(table)
    unsealed = {name: value for name, value in record.items() if name != "content_sha256"}
    unsealed |= {"regions_sha256": hashlib.sha256(table).hexdigest(), "polygons_crossed": len(lines) - 1}
    return sealed(unsealed), folder / "forged.csv"


def near_0(corners: str) -> float:
    return min(max(abs(float(value)) for value in corner.split(" ")) for corner in corners.split(";"))


def test_a_record_passes_and_so_does_the_network(result) -> None:
    bundle, folder, said = result
    record, lines = content(folder)
    attention = record["results"]["attention"]
    assert len(lines) > 20 and attention["end"] == "violation" and 0 < attention["scale"] < 1
    assert attention["box"][0][1] == pytest.approx(0.3 * attention["scale"])
    assert 0 < attention["area"]["share_of_box"] <= record["share_crossed"] <= 1
    assert "holds for brightness in [-0." in said and "polygons crossed in" in said
    for name in ("attention.png", "images.png"):
        with Image.open(folder / name) as picture:
            assert picture.size[0] > 400
    report = audit_plane(record, folder / "regions.csv", input_file=FILM)
    assert report.verified and report.numbers > 15, report.differences
    found = recheck_plane(record, read_polygons(folder / "regions.csv")[0], source=FILM, bundle=bundle)
    assert not found.differences, found.differences
    assert found.witnesses >= 1 and found.boundaries >= 10


def test_every_changed_claim_is_caught(result) -> None:
    _, folder, _ = result
    record, lines = content(folder)

    def attention(**values: Any) -> Callable[[Record], object]:
        return lambda forged: forged["results"]["attention"].update(values)

    scale = record["results"]["attention"]["scale"]
    changes: dict[str, Callable[[Record], object]] = {
        "box": attention(box=[[-0.3, 0.3], [-0.2, 0.2]]),
        "scale": attention(scale=scale * 1.01, box=[[-0.303 * scale, 0.303 * scale], [-0.202 * scale, 0.202 * scale]]),
        "no violation": attention(end="range", sentence="holds up to the end of the range", witness=None),
        "witness inside": attention(witness=[0.1 * scale, 0.0]),
        "witness holds": attention(witness_value=record["settings"]["delta"] * 0.9),
        "sentence": attention(sentence="holds everywhere"),
        "outcome": attention(outcome="satisfied"),
        "threshold": attention(threshold=1.0),
        "area": lambda one: one["results"]["attention"]["area"].update(share_of_box=1.5),
        "delta": lambda one: one["settings"].update(delta=one["settings"]["delta"] * 2),
        "unit": lambda one: one["settings"]["perturbations"][0].update(unit="gray levels"),
        "range": lambda one: one["settings"].update(ranges=[[-0.4, 0.4], [-0.2, 0.2]]),
        "crossed": lambda one: one.update(share_crossed=1.0 if one["share_crossed"] < 0.99 else 0.5),
        "boundary": lambda one: one.update(boundary_followed_after=10**6),
        "no boundary": lambda one: one.update(boundary_followed_after=None),
        "order": lambda one: one["settings"].update(order="random"),
        "claim": lambda one: one.update(claim="of everything"),
        "entry": lambda one: one.update(more=1),
    }
    missed = []
    for name, change in changes.items():
        forged = copy.deepcopy(record)
        change(forged)
        if audit_plane(*written(folder, forged, lines)).verified:
            missed.append(name)
    if audit_plane(record | {"polygons_crossed": 3}, folder / "regions.csv").verified:
        missed.append("hash of the record")
    # A polygon that is near 0, left out.
    holding = next(i for i in range(1, len(lines)) if lines[i][5][1] == "1" and near_0(lines[i][6]) < scale / 2)
    for name, table in {
        "polygon left out": [*lines[:holding], *lines[holding + 1 :]],
        "polygon that violates": [
            *lines[:holding],
            [*lines[holding][:3], "9", *lines[holding][4:]],
            *lines[holding + 1 :],
        ],
    }.items():
        if audit_plane(*written(folder, record, table)).verified:
            missed.append(name)
    assert not missed


def shifted(line: list[str], by: float) -> list[str]:
    """A polygon moved to the right."""
    corners = [one.split(" ") for one in line[6].split(";")]
    moved = ";".join(f"{float(x) + by!r} {y}" for x, y in corners)
    return [repr(float(line[0]) + by), *line[1:6], moved]


def test_damaged_tables_are_refused(result) -> None:
    _, folder, _ = result
    record, lines = content(folder)
    scale = record["results"]["attention"]["scale"]
    near = next(i for i in range(1, len(lines)) if lines[i][5][1] == "1" and near_0(lines[i][6]) < scale / 4)
    # As much area as before within the proven box, but for a gap that another polygon hides.
    gap = [*lines[:near], shifted(lines[near], 0.01 * scale), *lines[near + 1 :]]
    reflex = [*lines[1][:6], ";".join(reversed(lines[1][6].split(";")))]
    tables = [
        ("no convex polygon", [lines[0], reflex, *lines[2:]]),
        ("no polygon with its numbers", [lines[0], ["nan", *lines[1][1:]], *lines[2:]]),
        ("other columns", [["low", *lines[0][1:]], *lines[1:]]),
        ("lie on each other", [*lines, *lines[1:]]),
        ("lie on each other", gap),
    ]
    for words, table in tables:
        with pytest.raises(AuditError, match=words):
            audit_plane(*written(folder, record, table))


def test_the_network_contradicts_what_fits_itself(result) -> None:
    """Forgeries in which record and table agree."""
    bundle, folder, _ = result
    record, lines = content(folder)

    def swapped(forged: Record, table: Lines) -> None:
        """Both parameters in each other's place."""
        for line in table[1:]:
            line[0], line[1] = line[1], line[0]
            line[6] = ";".join(" ".join(reversed(one.split(" "))) for one in reversed(line[6].split(";")))

    def lowered(forged: Record, table: Lines) -> None:
        for line in table[1:]:
            line[3] = repr(float(line[3]) / 2)

    def invented(forged: Record, table: Lines) -> None:
        forged["results"]["attention"]["witness_value"] *= 1.5

    def everywhere(forged: Record, table: Lines) -> None:
        """The map said to hold in the whole box."""
        forged["results"]["attention"]["box"] = forged["settings"]["ranges"]

    def other_network(forged: Record, table: Lines) -> None:
        forged["provenance"]["network_sha256"] = "0" * 64

    missed = []
    for forge in (swapped, lowered, invented, everywhere, other_network):
        forged, table = copy.deepcopy(record), copy.deepcopy(lines)
        forge(forged, table)
        sealed_record, path = written(folder, forged, table)
        found = recheck_plane(sealed_record, read_polygons(path)[0], source=FILM, bundle=bundle, sample=40)
        if not found.differences:
            missed.append(forge.__name__)
    assert not missed


def test_the_commands(result, tmp_path, capsys) -> None:
    _, folder, _ = result
    record = str(folder / "attention.json")
    assert main(["verify", record, str(folder / "regions.csv"), "--input", str(FILM)]) == 0
    assert "verified: " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["verify", record])
    assert "give regions.csv too" in capsys.readouterr().err
    two = ("--perturb", "brightness,slope", "--share", "0.1")
    cases = {
        "up to 25,000, as their polygons are many. Give a time budget": (*two, "--range", "0.001"),
        "both perturbations are 'slope'": ("--perturb", "slope,slope", "--range", "0.1", "--share", "0.1"),
        "--range has 3 numbers for 2 perturbations": (*two, "--range", "0.1,0.1,0.1"),
        "the range is 2; for 'slope'": (*two, "--range", "0.1,2"),
        "--boundary-first goes with two perturbations only": (
            *("--perturb", "slope", "--range", "0.1", "--share", "0.1", "--boundary-first"),
        ),
        "leave --workers out": (*two, "--range", "0.1", "--workers", "2"),
        "was given 3": ("--perturb", "brightness,slope,contrast", "--range", "0.1", "--share", "0.1"),
    }
    offenders = []
    for words, options in cases.items():
        code = main([*ATTENTION, str(FILM), "--exact", "--output", str(tmp_path), "--quiet", *options])
        said = capsys.readouterr().err
        if code != 1 or words not in said:
            offenders.append((words, code, said))
    assert not offenders, offenders
