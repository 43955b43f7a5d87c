"""Claims that are asked for on the command line: early stopping, pairs, regions, curves; real bundle, real image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from monai_robustinterp import load_votes
from monai_robustinterp.bundle import shipped_bundle
from monai_robustinterp.certificates.curve import overlap_curve
from monai_robustinterp.cli.main import main
from tests.support.bundles import CERTIFY, OPACITY
from tests.support.records import SCHEMA

SAMPLES = Path(__file__).parents[2] / "sample_data"
IMAGE = SAMPLES / "kermany_person1951_bacteria_4882_dx.dcm"


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one image, certified with everything at once."""
    output = tmp_path_factory.mktemp("claims") / "out"
    arguments = ["--confidence", "0.9", "--samples", "48", "--until-radius", "0.04", "--max-samples", "1000", "--pairs"]
    arguments += ["--region", "zone:lower-image-left", "--region", "box:0,0,400,300", "--quiet"]
    assert main([*CERTIFY, str(IMAGE), "--output", str(output), *arguments]) == 0
    (folder,) = output.glob("cxr-*")
    return folder


def record_of(folder: Path) -> dict:
    record: dict = json.loads((folder / "certificate.json").read_text())
    jsonschema.validate(record, SCHEMA)
    return record


def test_sampling_stops_early_and_the_record_says_so(claims) -> None:
    record = record_of(claims)
    sampling = record["sampling"]
    assert sampling["looks"] == [48, 96, 192, 384, 768, 1000]
    assert sampling["stopped_early"] and sampling["n_samples"] == record["spec"]["n_samples"] < 1000
    assert record["label_and_map"]["l2"] >= 0.04
    assert record["claim"]["eta"] == pytest.approx(0.1)
    (entry,) = json.loads((claims.parent / "summary.json").read_text())["results"]
    assert entry["n_samples"] == sampling["n_samples"] and entry["l_max"] == record["claim"]["l_max"]["l2"]
    totals = json.loads((claims.parent / "summary.json").read_text())["totals"]
    assert (totals["max_samples"], totals["saved_share"]) == (1000, sampling["saved_share"])


def test_pairs_regions_second_run_and_stored_units_are_claimed_in_record_and_picture(claims) -> None:
    record = record_of(claims)
    assert {r["family"] for r in record["radii"]} == {"renyi", "neyman-pearson", "discordant-pairs"}
    assert record["claim"]["l_max"]["l2"] == max(r["l2"] for r in record["radii"] if r["level"] == "population")
    zone, box, _ = record["regions"]
    assert zone["name"].startswith("image zone") and box["name"].startswith("box 0,0,400,300")
    for region in (zone, box):
        shares = [region[name] for name in ("at_least", "share_lower", "observed", "share_upper", "at_most")]
        assert shares[0] >= 0 and shares == sorted(shares) and shares[-1] <= 1
        assert region["eta"] == record["claim"]["eta"] and "of the votes" in region["sentence"]
    assert 0 < record["rerun"]["l2"] < record["claim"]["l_max"]["l2"]
    assert record["native"]["reason"] == "" and record["native"]["l2"] > record["claim"]["l_max"]["l2"]


def test_a_region_outside_the_image_refuses_this_image_only(tmp_path, capsys) -> None:
    few = ["--samples", "4", "--confidence", "0.5"]
    # 1,016 and 1,272 columns.
    images = [str(IMAGE), str(SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg")]
    assert main([*CERTIFY, *images, "--output", str(tmp_path), "--region", "box:0,0,1200,300", *few]) == 1
    table = capsys.readouterr().out
    assert table.count("refused:") == 1 and "1016" in table


@pytest.mark.parametrize("region", ["circle:3,4", "box:1,2,3", "zone:liver", "box:5,5,5,9"])
def test_a_region_that_is_none_is_wrong_usage(tmp_path, region, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*CERTIFY, str(IMAGE), "--output", str(tmp_path), "--region", region])
    assert stopped.value.code == 2
    assert "region" in capsys.readouterr().err


def test_the_curve_of_stored_votes_is_drawn_and_written(claims, tmp_path, capsys) -> None:
    picture = tmp_path / "curve.png"
    command = ["curve", str(claims / "votes.npz"), "--output", str(picture), "--confidence", "0.9"]
    assert main(command) == 0
    with Image.open(picture) as image:
        assert image.size[0] > 400
    numbers = json.loads((tmp_path / "curve.png.json").read_text())
    votes, spec, _ = load_votes(claims / "votes.npz")
    curve = overlap_curve(votes, spec, eta=0.1)
    assert numbers["overlaps"] == curve.overlaps.tolist() and len(numbers["radii"]) == 4
    # Nothing is overwritten unasked, not even half of it, and a foreign file is refused in a sentence.
    (tmp_path / "curve.png.json").unlink()
    assert main(command) == 1
    assert not (tmp_path / "curve.png.json").exists()
    assert main([*command, "--overwrite"]) == 0
    assert main(["curve", str(IMAGE), "--output", str(tmp_path / "other.png")]) == 1
    assert "vote file" in capsys.readouterr().err


def test_a_bundle_without_the_key_refuses_the_option(tmp_path, capsys) -> None:
    """MONAI would take the new key and use it nowhere."""
    folder = tmp_path / "own"
    shutil.copytree(shipped_bundle(OPACITY), folder)
    config = folder / "configs" / "inference.json"
    content = json.loads(config.read_text())
    del content["until_radius"], content["inferer"]["until_radius"]
    config.write_text(json.dumps(content))
    command = ["certify", str(IMAGE), "--output", str(tmp_path / "out"), "--bundle", str(folder)]
    assert main([*command, "--until-radius", "0.1"]) == 1
    assert "'until_radius'" in capsys.readouterr().err
    assert main([*command, "--samples", "2", "--quiet"]) == 0


def test_an_end_without_early_stopping_is_refused(tmp_path, capsys) -> None:
    assert main([*CERTIFY, str(IMAGE), "--output", str(tmp_path / "out"), "--max-samples", "4"]) == 1
    assert "needs --until-radius" in capsys.readouterr().err
