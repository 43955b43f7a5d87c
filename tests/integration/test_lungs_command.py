"""Lungs on the command line: a segmenter's folder, a mask, none; and a replay with them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_robustinterp import load_bundle
from monai_robustinterp.cli.main import main
from tests.support.bundles import CERTIFY, OPACITY
from tests.support.lungs import LEFT, boxes_bundle

IMAGE = Path(__file__).parents[2] / "sample_data" / "kermany_NORMAL2-IM-1430-0001.jpeg"
FEW = ("--samples", "32", "--confidence", "0.9")


def certified(folder: Path, *options: str) -> dict:
    assert main([*CERTIFY, str(IMAGE), "--output", str(folder), *FEW, *options]) == 0
    return json.loads(next(folder.glob("cxr-*/certificate.json")).read_text())


def test_a_segmenters_folder_is_taken_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter = str(boxes_bundle(tmp_path / "mine"))
    record = certified(tmp_path / "out", "--lungs", segmenter)
    assert record["lungs"]["name"] == "boxes" and record["regions"][0]["name"].startswith("lungs (boxes 1)")
    table = capsys.readouterr().out
    assert "lungs L_lungs" in table and f" {record['regions'][0]['observed']:.2f} " in table
    (folder,) = (tmp_path / "out").glob("cxr-*")
    verify = [
        "verify",
        *map(str, (folder / "certificate.json", folder / "votes.npz")),
        "--input",
        str(IMAGE),
        "--replay",
    ]
    verify += ["--bundle", "chest_xray_certified_saliency"]
    assert main([*verify, "--lungs", segmenter]) == 0
    assert "replay: equal bit for bit" in capsys.readouterr().out
    assert main(verify) == 1
    assert "lungs is not the segmenter of the bundle" in capsys.readouterr().out


def test_a_mask_or_nothing_in_place_of_the_bundles_lungs(tmp_path: Path) -> None:
    with Image.open(IMAGE) as film:
        columns, rows = film.size
    mask = np.zeros((rows, columns), np.uint8)
    mask[rows // 4 : rows // 2, columns // 4 : columns // 2] = 1
    nibabel.save(nibabel.Nifti1Image(mask.T[..., None], np.diag([-1, -1, 1, 1])), tmp_path / "m.nii")
    record = certified(tmp_path / "mask", "--lungs", f"mask:{tmp_path / 'm.nii'}", "--region", "zone:upper")
    assert [entry["name"][:18] for entry in record["regions"]] == ["image zone upper (", "lungs (mask, NIfTI"]
    assert "lungs" not in record
    assert "regions" not in certified(tmp_path / "off", "--lungs", "off")


def test_a_failure_stands_in_the_table_and_what_is_no_segmenter_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = certified(tmp_path / "out", "--lungs", str(boxes_bundle(tmp_path / "one", LEFT)))
    assert record["lungs"]["failure"] in capsys.readouterr().out
    for name, reason in (("chest_xray_denoiser", "no segmenter of the lungs"), ("none", "no such bundle folder")):
        assert main([*CERTIFY, str(IMAGE), "--output", str(tmp_path / "x"), "--lungs", name]) == 1
        assert reason in capsys.readouterr().err
    for name in ("$print(1)", "mask:"):
        with pytest.raises(SystemExit):
            main([*CERTIFY, str(IMAGE), "--output", str(tmp_path / "x"), "--lungs", name])


def test_the_bundles_configuration_may_name_one(tmp_path: Path) -> None:
    bundle = load_bundle(OPACITY, overrides={"lungs": str(boxes_bundle(tmp_path / "mine"))})
    assert bundle.lungs is not None and bundle.lungs.settings["name"] == "boxes"
    assert load_bundle(OPACITY, overrides={"lungs": "off"}).lungs is None
