"""The shipped denoiser: it denoises, its training runs, and a classifier is certified behind it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import verify_metadata
from PIL import Image

from monai_robustinterp import load_bundle
from monai_robustinterp.bundle import load_denoiser
from monai_robustinterp.cli.main import main
from monai_robustinterp.training import peak_ratios
from tests.support.bundles import CERTIFY
from tests.support.shared import shared_data

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "chest_xray_denoiser"
SAMPLES = sorted((ROOT / "sample_data").glob("*.jpeg"))


def gray(path: Path, side: int) -> torch.Tensor:
    picture = Image.open(path).convert("L").resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def test_it_denoises_at_every_level_that_it_states() -> None:
    """What white noise alone has is -20 log10 sigma; the sample films were in no training."""
    denoiser = load_denoiser("chest_xray_denoiser")
    gains = {0.02: 1, 0.05: 6, 0.1: 10, 0.25: 14, 0.6: 17}
    for side in (128, 144):
        films = [gray(path, side) for path in SAMPLES]
        for sigma, gain in gains.items():
            ratios = peak_ratios(lambda noisy, sigma: denoiser(noisy, sigma), films, sigma=sigma)
            assert ratios.mean() > gain - 20 * np.log10(sigma), (side, sigma, ratios.mean())


def test_the_weights_are_small() -> None:
    assert (BUNDLE / "models" / "model.pt").stat().st_size < 4_000_000


@pytest.mark.filterwarnings("ignore:No hash value provided")
def test_its_metadata_verify_and_its_version_is_that_of_the_record() -> None:
    metadata, schema = (
        BUNDLE / "configs" / "metadata.json",
        ROOT / "monai_robustinterp/schemas/monai_metadata.schema.json",
    )
    verify_metadata(metadata, schema)
    assert json.loads(metadata.read_text())["version"] == load_denoiser("chest_xray_denoiser").version


def test_its_training_runs_from_folders(tmp_path: Path) -> None:
    for name, archive in (("kermany", "kermany256.tar"), ("nih", "nih256.tar")):
        (tmp_path / name).mkdir()
        with tarfile.open(shared_data(archive)) as tar:
            for member in [member for member in tar.getmembers() if member.isfile()][:8]:
                member.name = Path(member.name).name
                tar.extract(member, tmp_path / name, filter="data")
    sources = {
        "kermany_dir": tmp_path / "kermany",
        "chest_xray14_dir": tmp_path / "nih",
        "output_dir": tmp_path / "out",
    }
    options = {"steps": 3, "batch_size": 2} | sources
    run = subprocess.run(
        [
            *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(BUNDLE / "configs" / "train.json")),
            *(text for key, value in options.items() for text in (f"--{key}", str(value))),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    trained = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    shipped = torch.load(BUNDLE / "models" / "model.pt", weights_only=True)
    assert {name: value.shape for name, value in trained.items()} == {n: v.shape for n, v in shipped.items()}


def test_a_run_with_it_says_so_and_one_beyond_its_range_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--samples", "16", "--quiet", "--denoiser", "chest_xray_denoiser"]
    assert main([*CERTIFY, str(SAMPLES[0]), "--output", str(tmp_path / "in"), "--sigma", "0.25", *options]) == 0
    record = json.loads(next((tmp_path / "in").glob("*/certificate.json")).read_text())
    assert record["spec"]["denoiser"]["name"] == "chest_xray_denoiser"
    capsys.readouterr()
    assert main([*CERTIFY, str(SAMPLES[0]), "--output", str(tmp_path / "beyond"), "--sigma", "0.7", *options]) != 0
    assert "the denoiser was trained for 0.02 to 0.6" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*CERTIFY, str(SAMPLES[0]), "--output", str(tmp_path / "x"), "--denoiser", "$print(1)"])


def test_a_bundle_without_the_keys_of_noise_still_loads(tmp_path: Path) -> None:
    """A configuration of a user that was written before them."""
    folder = Path(shutil.copytree(ROOT / "bundles" / "chest_xray_certified_saliency", tmp_path / "own"))
    config = json.loads((folder / "configs" / "inference.json").read_text())
    for key in ("denoiser", "denoiser_gradient", "brightness", "tilt"):
        del config[key], config["inferer"][key]
    del config["lungs"], config["saliency_bundle"]["lungs"]
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    bundle = load_bundle(folder)
    recipe = bundle.inferer.recipe
    assert bundle.lungs is None and (recipe.denoiser, recipe.brightness, recipe.tilt) == (None, 0.0, 0.0)
