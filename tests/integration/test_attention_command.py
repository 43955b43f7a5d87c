"""``attention`` on the shipped classifier and a real film: what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from monai_robustinterp.cli.main import main
from tests.support.bundles import ATTENTION, OPACITY

FILM = Path(__file__).parents[2] / "sample_data" / "kermany_person1949_bacteria_4880.jpeg"


def run_command(output: Path, *more: str) -> int:
    return main([*ATTENTION, str(FILM), "--exact", "--output", str(output), "--quiet", *more])


def test_the_shipped_classifier_is_verified_on_a_real_film(tmp_path, capsys) -> None:
    assert run_command(tmp_path, "--perturb", "brightness", "--range", "1e-6", "--share", "0.3") == 0
    (folder,) = tmp_path.glob("cxr-*-attention")
    assert {path.name for path in folder.iterdir()} == {"attention.json", "attention.png", "images.png", "regions.csv"}
    record = json.loads((folder / "attention.json").read_text())
    assert record["n_switches"] > 1_300_000 and record["regions_crossed"] >= 3
    for result in record["results"].values():
        assert result["outcome"] == "satisfied" and result["interval"] == [-1e-6, 1e-6]
    assert record["settings"]["delta"] == pytest.approx(0.3 * record["map_norm"])
    assert len(record["image_sha256"]) == 64 and len(record["provenance"]["network_sha256"]) == 64
    rows = list(csv.DictReader((folder / "regions.csv").read_text().splitlines()))
    assert len(rows) == record["regions_crossed"]
    assert (float(rows[0]["theta_low"]), float(rows[-1]["theta_high"])) == (-1e-6, 1e-6)
    for name in ("attention.png", "images.png"):
        with Image.open(folder / name) as picture:
            assert picture.size[0] > 400
    # The walk is through: nothing is left of it but the result.
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    files = [str(folder / name) for name in ("attention.json", "regions.csv")]
    assert main(["verify", *files, "--input", str(FILM), "--bundle", OPACITY, "--replay"]) == 0
    assert "replay: the network agrees." in capsys.readouterr().out


def test_a_small_delta_ends_at_a_witness(tmp_path) -> None:
    assert run_command(tmp_path, "--perturb", "brightness", "--range", "2e-6", "--delta", "1e-4") == 0
    (folder,) = tmp_path.glob("cxr-*-attention")
    results = json.loads((folder / "attention.json").read_text())["results"]
    attention = results["attention"]
    assert attention["outcome"] == "violated in a part" and results["classification"]["outcome"] == "satisfied"
    (end,) = [attention[side] for side in ("below", "above") if attention[side]["end"] == "violation"][:1]
    assert abs(end["witness"]) > abs(end["theta"]) and end["witness_value"] > 1e-4


def test_a_time_budget_that_ended_is_said(tmp_path) -> None:
    assert (
        run_command(tmp_path, "--perturb", "slope", "--range", "0.01", "--share", "0.3", "--time-budget", "1e-6") == 0
    )
    (folder,) = tmp_path.glob("cxr-*-attention")
    results = json.loads((folder / "attention.json").read_text())["results"]
    assert {result["outcome"] for result in results.values()} == {"open in a part"}
    assert {result[side]["end"] for result in results.values() for side in ("below", "above")} == {"time"}


def test_bad_input_gets_a_sentence(tmp_path, capsys) -> None:
    brightness = ("--perturb", "brightness")
    cases = {
        "delta is 0; it must be above 0": (*brightness, "--range", "0.1", "--delta", "0"),
        "share is -1; it must be above 0": (*brightness, "--range", "0.1", "--share", "-1"),
        "the range is 2; for 'brightness'": (*brightness, "--range", "2", "--share", "0.1"),
        "the range is nan": (*brightness, "--range", "nan", "--share", "0.1"),
        "'gamma' has no exact path": ("--perturb", "gamma", "--range", "0.1", "--share", "0.1"),
        "A translation has whole steps": ("--perturb", "shift_down", "--range", "0.1", "--share", "0.1"),
        "a move of the window is brightness": ("--perturb", "window_center", "--range", "0.1", "--share", "0.1"),
        "settings of a perturbation are numbers": ("--perturb", "contrast:pivot=a", "--range", "0.1", "--share", "0.1"),
    }
    offenders = []
    for words, options in cases.items():
        code, said = run_command(tmp_path, *options), capsys.readouterr().err
        if code != 1 or words not in said:
            offenders.append((words, code, said))
    assert not offenders, offenders
