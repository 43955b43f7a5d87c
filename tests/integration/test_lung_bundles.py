"""The shipped segmenter of the lungs, and the network whose evidence it supervised: figures, metadata, trainings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from monai.bundle import verify_metadata

from monai_robustinterp import load_bundle, training
from monai_robustinterp.bundle import load_lung_fields
from monai_robustinterp.files import file_sha256
from monai_robustinterp.interpreters import explaining
from tests.support.shared import shared_data

ROOT = Path(__file__).parents[2]
LUNGS, EVIDENCE, FINDINGS = (
    ROOT / "bundles" / name
    for name in ("chest_xray_lung_fields", "chest_xray_evidence", "chest_xray_findings_evidence")
)


def run_training(bundle: Path, output: Path, **options: object) -> str:
    """Runs a training, which must succeed; what it said."""
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    config = bundle / "configs" / "train.json"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), "--output_dir", str(output)]
    run = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stderr


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Folders of films: eight of Kermany with masks, training and validation, and twelve of each label of the NIH."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("kermany256", "nih256", "lungs/kermany_lungs"):
        with tarfile.open(shared_data(f"{name}.tar")) as archive:
            archive.extractall(folder, filter="data")
    table = ROOT / "bundles" / "chest_xray_certified_saliency" / "data"
    items = training.kermany(folder / "kermany256", table / "kermany_split.csv")
    items += training.chest_xray14(folder / "nih256", table / "chest_xray14_split.csv")
    masked = {path.stem for path in (folder / "masks").iterdir()}
    groups: dict[tuple[object, ...], list[str]] = {}
    for item in items:
        if item["opacity"] is not None and (item["source"] == "chest_xray14" or Path(item["image"]).stem in masked):
            groups.setdefault((item["source"], item["split"], item["opacity"]), []).append(item["image"])
    for (source, *_), paths in groups.items():
        (folder / str(source)).mkdir(exist_ok=True)
        for path in paths[:8]:
            shutil.copy(path, folder / str(source))
    return folder


@pytest.mark.filterwarnings("ignore:No hash value provided")
def test_their_metadata_verify_and_their_weights_are_small() -> None:
    schema = ROOT / "monai_robustinterp/schemas/monai_metadata.schema.json"
    for bundle in (LUNGS, EVIDENCE, FINDINGS):
        verify_metadata(bundle / "configs" / "metadata.json", schema)
        assert (bundle / "models" / "model.pt").stat().st_size < 4_000_000
    version = json.loads((LUNGS / "configs" / "metadata.json").read_text())["version"]
    assert version == load_lung_fields(LUNGS.name).version


def test_the_figures_of_the_card_are_those_of_the_shipped_weights() -> None:
    report = json.loads((EVIDENCE / "docs" / "evaluation.json").read_text())
    assert report["weights_sha256"] == file_sha256(EVIDENCE / "models" / "model.pt")
    card = (EVIDENCE / "docs" / "README.md").read_text()
    assert training.evaluation_table(report["groups"]) in card and report["weights_sha256"] in card


def test_the_evidence_of_the_shipped_network_is_its_score() -> None:
    bundle = load_bundle(EVIDENCE.name, {"device": "$torch.device('cpu')"})
    network = bundle.network
    image = bundle.preprocessing({"image": str(ROOT / "sample_data" / "wg04_rg1_multiple_masses.dcm")})["image"]
    with explaining(network), torch.no_grad():
        evidence = network.evidence(network.features(image.as_tensor()[None]))
        logits = network(image.as_tensor()[None])
    assert evidence.shape == (1, 1, 16, 16) and (evidence >= 0).all()
    assert network.head.weight[1, 0] > 0 > network.head.weight[0, 0]
    torch.testing.assert_close(evidence.mean() * network.head.weight[:, 0] + network.head.bias, logits[0])


def test_the_evidence_of_each_finding_is_its_score() -> None:
    bundle = load_bundle(FINDINGS.name, {"device": "$torch.device('cpu')"})
    network, recipe = bundle.network, bundle.inferer.recipe
    image = bundle.preprocessing({"image": str(ROOT / "sample_data" / "wg04_rg1_multiple_masses.dcm")})["image"]
    clean = image.as_tensor()[None]
    with explaining(network), torch.no_grad():
        evidence = network.evidence(network.features(clean))
        found = recipe.interpreter.attribute_each(network, clean, range(11))
    assert evidence.shape == (1, 11, 16, 16) and (evidence >= 0).all()
    torch.testing.assert_close(30 * evidence.mean(dim=(2, 3)) + network.head.bias, found.logits)
    own = torch.nn.functional.interpolate(30 * evidence, size=clean.shape[-2:], mode="bilinear")
    torch.testing.assert_close(found.maps, own)


def test_the_segmenter_is_trained_from_folders(films, tmp_path) -> None:
    said = run_training(
        LUNGS, tmp_path, kermany_dir=films / "kermany", masks_dir=films / "masks", epochs=1, batch_size=4
    )
    assert (tmp_path / "model.pt").is_file() and "dice" in (tmp_path / "history.csv").read_text()
    assert "person" not in said and "IM-" not in said


def test_the_evidence_network_is_trained_from_folders(films, tmp_path) -> None:
    folders = {"kermany_dir": films / "kermany", "chest_xray14_dir": films / "chest_xray14"}
    small = {"epochs": 1, "samples_per_epoch": 16, "batch_size": 8, "sigmas": "[0.0, 0.1]", "n_draws": 1}
    run_training(EVIDENCE, tmp_path, boxes_table=shared_data("nih_boxes.csv"), **folders, **small)
    trained = torch.load(tmp_path / "model.pt", weights_only=True)
    shipped = torch.load(EVIDENCE / "models" / "model.pt", weights_only=True)
    assert {name: value.shape for name, value in trained.items()} == {n: v.shape for n, v in shipped.items()}
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["settings"]["training_images"] == 32 and report["settings"]["noise_brightness"] == 0.05
