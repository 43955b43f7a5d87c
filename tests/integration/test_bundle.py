"""The bundle under MONAI's own tools and engines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out

from monai_robustinterp import CertifiedSaliency, InputRefused, SecondaryCaptureWriter, load_bundle
from monai_robustinterp.bundle import load_misses, shipped_bundle
from monai_robustinterp.cli.main import main
from monai_robustinterp.transforms import InvertSaliencyd
from tests.support.bundles import OPACITY
from tests.support.dciodvfy import dciodvfy_errors

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "chest_xray_certified_saliency"
FINDINGS = ROOT / "bundles" / "chest_xray_findings"
FINDINGS_EVIDENCE = ROOT / "bundles" / "chest_xray_findings_evidence"
EVIDENCE = ROOT / "bundles" / "chest_xray_evidence"
each_bundle = pytest.mark.parametrize("bundle", [BUNDLE, FINDINGS, FINDINGS_EVIDENCE], ids=lambda path: path.name)
SCHEMAS = ROOT / "monai_robustinterp" / "schemas"


def monai_bundle(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.filterwarnings("ignore:No hash value provided")
@each_bundle
def test_metadata_verify(bundle, tmp_path) -> None:
    metadata = bundle / "configs" / "metadata.json"
    schema = SCHEMAS / "monai_metadata.schema.json"
    verify_metadata(metadata, schema)
    content = json.loads(metadata.read_text())
    del content["required_packages_version"]
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'required_packages_version' is a required property"):
        verify_metadata(tmp_path / "bad.json", schema)


@each_bundle
def test_the_network_fits_its_metadata(bundle) -> None:
    metadata, config = (str(bundle / "configs" / name) for name in ("metadata.json", "inference.json"))
    verify_net_in_out("network_def", metadata, config, device="cpu")
    with pytest.raises(ValueError, match="output channel number `7`"):
        verify_net_in_out("network_def", metadata, config, device="cpu", **{"network_def#out_channels": 7})


@each_bundle
def test_metadata_and_configuration_agree(bundle) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(names.values()) == config["class_names"]
    assert metadata["version"] in metadata["changelog"]
    assert {path.name for path in bundle.iterdir()} - {"data"} == {"configs", "docs", "models", "LICENSE"}


def test_what_each_classifier_is_said_to_miss_is_what_its_evaluation_counted() -> None:
    for bundle in (BUNDLE, FINDINGS, FINDINGS_EVIDENCE, EVIDENCE):
        groups = json.loads((bundle / "docs" / "evaluation.json").read_text())["groups"]
        findings = load_bundle(bundle.name, {"device": "$torch.device('cpu')"}).inferer.recipe.findings
        assert set(findings.misses) == set(findings.names) - {"normal"}
        for name, sentence in findings.misses.items():
            group = groups["chest_xray14, adults"] if "opacities" in sentence else groups[name]
            missed = round(group["n_positive"] * (1 - group["sensitivity"]["value"]))
            assert sentence.startswith(f"Computer missed {missed} of {group['n_positive']} "), (bundle.name, name)


def test_nothing_is_said_of_what_other_weights_miss(tmp_path) -> None:
    network = load_bundle(BUNDLE.name, {"device": "$torch.device('cpu')"}).network
    path = BUNDLE / "configs" / "misses.json"
    assert load_misses(path, network)
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    assert load_misses(path, network) == {} and load_misses(tmp_path / "none.json", network) == {}


def test_a_damaged_list_of_misses_is_named(tmp_path) -> None:
    for text in ("", "[]", "{}", '{"network_sha256": "", "misses": {"a": 3}}'):
        (tmp_path / "misses.json").write_text(text)
        with pytest.raises(InputRefused, match="is not of the form"):
            load_misses(tmp_path / "misses.json", torch.nn.Identity())


def test_a_finding_is_explained_by_its_name_and_without_one_the_strongest_is(tmp_path) -> None:
    sample = ROOT / "sample_data" / "kermany_person1949_bacteria_4880.jpeg"
    entries = {}
    for name in ("Effusion", "predicted"):
        arguments = ["certify", str(sample), "--bundle", "chest_xray_findings", "--output", str(tmp_path / name)]
        assert main([*arguments, "--samples", "96", "--quiet", "--target", name]) == 0
        (entries[name],) = json.loads((tmp_path / name / "summary.json").read_text())["results"]
    assert entries["Effusion"]["finding"] == "Effusion"
    bundle = load_bundle("chest_xray_findings", {"device": "$torch.device('cpu')"})
    image = bundle.preprocessing({"image": str(sample)})["image"].as_tensor()
    with torch.no_grad():
        strongest = int(bundle.network(image[None]).argmax())
    assert entries["predicted"]["finding"] == bundle.inferer.recipe.findings.names[strongest]


def test_monai_runs_the_bundle_on_a_folder(tmp_path) -> None:
    """From another working directory, with a file that is refused beside one that is not."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(ROOT / "sample_data" / "kermany_person1951_bacteria_4882_dx.dcm", data)
    (data / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM")
    run = monai_bundle(
        "run",
        *("--config_file", BUNDLE / "configs" / "inference.json"),
        *("--dataset_dir", data, "--output_dir", tmp_path / "out", "--n_samples", 128),
        cwd=tmp_path,
    )
    assert run.returncode != 0
    assert "1 of 2 inputs were refused" in run.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert sorted(entry["status"] for entry in summary["results"]) == ["certified", "refused"]
    (overlay,) = (tmp_path / "out").rglob("overlay.dcm")
    assert dciodvfy_errors(overlay) == []


def test_a_copy_of_the_bundle_uses_its_own_weights(tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    state = torch.load(copy / "models" / "model.pt", weights_only=True)
    state["class_layers.out.bias"] += torch.tensor([50.0, -50.0])
    torch.save(state, copy / "models" / "model.pt")
    sample = ROOT / "sample_data" / "kermany_person1947_bacteria_4876.jpeg"
    run = monai_bundle(
        "run",
        *("--config_file", copy / "configs" / "inference.json"),
        *("--dataset_dir", sample, "--output_dir", tmp_path / "out", "--n_samples", 4),
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    (entry,) = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
    assert entry["score"] < 1e-6


def test_the_evaluator_of_the_bundle_writes_captures(tmp_path) -> None:
    """For hosts that run MONAI engines: preprocessing, inferer, Invertd and SaveImaged with the package's writer."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("kermany_person1951_bacteria_4882_dx.dcm", "wg04_rg1_multiple_masses.dcm"):
        shutil.copy(ROOT / "sample_data" / name, data)
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    parser.update({"bundle_root": str(BUNDLE), "dataset_dir": str(data), "output_dir": str(tmp_path / "out")})
    parser.update({"n_samples": 16, "device": "$torch.device('cpu')"})
    parser.get_parsed_content("evaluator").run()
    captures = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(captures) == 2
    for path in captures:
        assert dciodvfy_errors(path) == []
        assert "DICOM" not in path.name and len(path.parent.name) == 16
    studies = {pydicom.dcmread(path).StudyInstanceUID for path in captures}
    assert studies == {pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID for path in data.iterdir()}


def test_the_shipped_bundle_is_found_and_certified_cells_land_on_the_source_grid() -> None:
    from monai_robustinterp.run import pipeline

    assert shipped_bundle(OPACITY) == BUNDLE
    bundle = load_bundle(OPACITY, overrides={"n_samples": 16, "device": "$torch.device('cpu')"})
    result = pipeline.certify_image(ROOT / "sample_data" / "wg04_rg1_multiple_masses.dcm", bundle)
    assert result.picture.share.shape == (1955, 1841)
    # Rows were cropped to a square of 1841: 57 at either end are not painted, and the rest is 16 x 16 cells.
    assert not result.picture.share[:57].any() and not result.picture.share[-57:].any()
    for row in range(16):
        for column in range(16):
            y, x = 57 + int((row + 0.5) * 1841 / 16), int((column + 0.5) * 1841 / 16)
            assert result.picture.share[y, x] == pytest.approx(result.votes.share[row, column], abs=1e-6)
    area = result.picture.top_k_mask.sum() / 1841**2
    assert area == pytest.approx(38 / 256, rel=0.01)


def test_intensities_do_not_depend_on_the_images_own_statistics(tmp_path) -> None:
    """Fixed path: an 8-bit film is its gray values / 255, averaged over the cells of the grid."""
    from PIL import Image

    bundle = load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"})
    # Cut to 8 x 8 pixels a cell.
    film = Image.open(ROOT / "sample_data" / "kermany_NORMAL2-IM-1442-0001.jpeg").crop((200, 100, 1224, 1124))
    film.save(tmp_path / "film.png")
    x = bundle.preprocessing({"image": str(tmp_path / "film.png")})["image"].numpy()[0]
    pixels = np.asarray(film, dtype=np.float64)
    assert x == pytest.approx(pixels.reshape(128, 8, 128, 8).mean(axis=(1, 3)) / 255, abs=1e-6)


def test_a_darker_film_is_a_darker_input(tmp_path) -> None:
    """Per-image percentiles would undo the change, and with it any statement in detector units."""
    from PIL import Image

    bundle = load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"})
    pixels = np.asarray(Image.open(ROOT / "sample_data" / "kermany_person1949_bacteria_4880.jpeg")) // 4 * 4
    inputs = []
    for gain in (4, 3):
        Image.fromarray((pixels // 4 * gain).astype(np.uint8)).save(tmp_path / f"{gain}.png")
        inputs.append(bundle.preprocessing({"image": str(tmp_path / f"{gain}.png")})["image"].numpy())
    assert inputs[1] == pytest.approx(0.75 * inputs[0], abs=1e-6)


@pytest.mark.parametrize("damage", ["weights", "json", "keys", "pickle"])
def test_a_damaged_bundle_is_refused_with_its_cause(tmp_path, damage) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    config, weights = copy / "configs" / "inference.json", copy / "models" / "model.pt"
    if damage == "weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "json":
        config.write_text("{")
    elif damage == "keys":
        config.write_text("{}")
    else:
        torch.save({"a": Path()}, weights)
    ours = "damaged, or holds more than tensors" if damage in ("weights", "pickle") else "bundle could not be built"
    with pytest.raises(InputRefused, match=ours) as refused:
        load_bundle(copy)
    assert "weights_only" not in str(refused.value)


def test_a_bundle_is_loaded_without_a_word(caplog, recwarn) -> None:
    """MONAI looks for a GPU decoder, and tells that there is none; who has no GPU need not hear of it."""
    load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"})
    assert not caplog.records and not recwarn.list


def test_a_preprocessing_that_does_not_begin_with_reading_is_refused(tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    config = json.loads((copy / "configs" / "inference.json").read_text())
    config["preprocessing"] = {"_target_": "Compose", "transforms": [config["preprocessing"]]}
    (copy / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(InputRefused, match="must begin with LoadImaged"):
        load_bundle(copy)


def test_the_writer_draws_no_map_over_another_image(tmp_path) -> None:
    """SaveImage has nothing but the metadata, so the picture is read again."""
    from PIL import Image, ImageOps

    bundle = load_bundle(OPACITY, overrides={"n_samples": 4, "device": "$torch.device('cpu')"})
    film, source = Image.open(ROOT / "sample_data" / "kermany_person1949_bacteria_4880.jpeg"), tmp_path / "image.png"
    film.save(source)
    image = bundle.preprocessing({"image": str(source)})["image"]
    pred = CertifiedSaliency(bundle.network, bundle.inferer)(image)
    to_source_grid = InvertSaliencyd("pred", transform=bundle.preprocessing, orig_keys="image")
    inverted = to_source_grid({"image": image, "pred": pred})
    writer = SecondaryCaptureWriter()
    writer.set_data_array(inverted["pred"])
    writer.set_metadata(inverted["pred"].meta)
    writer.write(tmp_path / "first.dcm")
    ImageOps.mirror(film).save(source)
    with pytest.raises(InputRefused, match="holds other pixels than when it was read"):
        writer.write(tmp_path / "second.dcm")
    assert (tmp_path / "first.dcm").exists() and not (tmp_path / "second.dcm").exists()
