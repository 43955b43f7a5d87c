"""Strangers' networks, directly and as bundles made by what docs/how-to/your-own-model.md says and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import ViT
from monai.transforms import Compose, LoadImaged, Resized
from torch import nn

from monai_robustinterp import (
    CertifiedSaliencyInferer,
    ChestXRayReader,
    GrayscaleInput,
    InputRefused,
    load_bundle,
)
from monai_robustinterp.bundle import load_torchscript, load_weights, shipped_bundle
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import file_sha256
from monai_robustinterp.interpreters import without_hooks
from monai_robustinterp.run import pipeline
from monai_robustinterp.transforms import ScaleDisplayRanged
from tests.support.bundles import OPACITY
from tests.support.shared import shared_data
from tests.support.torchvision_densenet import chexnet, torchvision_forward, torchvision_state

ROOT = Path(__file__).parents[2]
NAME = "chest_xray_certified_saliency"
NORMAL = ROOT / "sample_data" / "kermany_NORMAL2-IM-1430-0001.jpeg"
PNEUMONIA = ROOT / "sample_data" / "kermany_person1947_bacteria_4876.jpeg"
KERMANY = ["NORMAL", "PNEUMONIA BACTERIA", "PNEUMONIA VIRAL"]
FEW = {"n_samples": 8, "device": "$__import__('torch').device('cpu')"}


class LeNet(nn.Module):
    """Third-party classifier of Kermany images, 32 x 32, normalized with mean and std 0.5."""

    def __init__(self) -> None:
        super().__init__()
        pool, relu = nn.MaxPool2d(2), nn.ReLU()
        self.convs = nn.Sequential(nn.Conv2d(1, 6, 5), pool, relu, nn.Conv2d(6, 16, 5), pool, relu)
        self.classifier = nn.Sequential(nn.Linear(400, 120), relu, nn.Linear(120, 84), relu, nn.Linear(84, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.convs(image).flatten(1))


@pytest.mark.parametrize(
    ("name", "finding"), [("IM-0525-0001", "NORMAL"), ("person534_bacteria_2253", "PNEUMONIA BACTERIA")]
)
def test_any_module_is_certified(tmp_path, name, finding) -> None:
    with tarfile.open(shared_data("kermany256.tar")) as tar:
        tar.extract(f"kermany256/{name}.jpg", tmp_path, filter="data")
    path = tmp_path / "kermany256" / f"{name}.jpg"
    network = load_weights(LeNet(), shared_data("models/kermany3_lenet32.pt"))
    load = LoadImaged("image", reader=ChestXRayReader())
    small = Resized("image", (32, 32), mode="area")
    image = Compose([load, ScaleDisplayRanged("image"), small])({"image": str(path)})["image"]
    inferer = CertifiedSaliencyInferer(sigma=0.05, n_samples=64, cell_size=4, top_k=10, class_names=KERMANY)
    result = inferer.certify(image, GrayscaleInput(network, mean=[0.5], std=[0.5]))
    certificate = result.certificate
    found = result.record["finding"]
    assert found["name"] == finding and found["score"] > 0.8 and found["label_agreement"] > 0.9
    assert certificate.l_max > 0


def documented(fragment: str, page: str = "your-own-model.md") -> dict[str, Any]:
    """The keys that the page's JSON block with that fragment sets."""
    page = (ROOT / "docs" / "how-to" / page).read_text()
    (block,) = [b for b in re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL) if fragment in b]
    return json.loads(block)


def own_bundle(folder: Path, changes: dict[str, Any]) -> Path:
    """A copy of the shipped bundle's configuration with other keys, and no weights yet."""
    shutil.copytree(shipped_bundle(OPACITY) / "configs", folder / "configs")
    (folder / "models").mkdir()
    config = folder / "configs" / "inference.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return folder


def torchscript_bundle(folder: Path) -> Path:
    network = load_bundle(OPACITY, overrides=FEW).network
    own_bundle(folder, documented("load_torchscript"))
    torch.jit.save(torch.jit.script(network), folder / "models" / "model.ts")
    return folder


def test_a_bundle_around_a_densenet121_checkpoint(tmp_path) -> None:
    names = [f"finding {i}" for i in range(14)]
    changes = {"class_names": names, "target": "finding 3", "activation": "sigmoid", "sigma": 0.02}
    folder = own_bundle(tmp_path / "own", documented("load_densenet121") | changes)
    state = torchvision_state(14)
    torch.save(chexnet(state), folder / "models" / "model.pt")
    bundle = load_bundle(folder, FEW)
    explanation = pipeline.certify_image(PNEUMONIA, bundle)
    gray = bundle.preprocessing({"image": str(PNEUMONIA)})["image"].as_tensor()[None]
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        logits = torchvision_forward(state, (gray.expand(1, 3, -1, -1) - mean) / std)[0]
    torch.testing.assert_close(torch.from_numpy(explanation.votes.logits), logits, rtol=1e-4, atol=1e-4)
    assert explanation.record["finding"]["name"] == "finding 3"
    assert explanation.record["finding"]["score"] == pytest.approx(float(logits.sigmoid()[3]), rel=1e-3)
    assert bundle.files["weights_sha256"] == file_sha256(folder / "models" / "model.pt")


def test_a_bundle_around_any_module(tmp_path) -> None:
    changes = documented("my_package.MyNetwork")
    changes["module"]["_target_"] = f"{LeNet.__module__}.LeNet"
    changes |= {"class_names": KERMANY, "target": None, "sigma": 0.05, "cell_size": 4, "top_k": 10}
    folder = own_bundle(tmp_path / "own", changes)
    config = folder / "configs" / "inference.json"
    config.write_text(config.read_text().replace("[128, 128]", "[32, 32]"))
    shutil.copy(shared_data("models/kermany3_lenet32.pt"), folder / "models" / "model.pt")
    explanation = pipeline.certify_image(NORMAL, load_bundle(folder, FEW))
    assert explanation.record["finding"]["name"] == "NORMAL" and explanation.votes.input_shape == (32, 32)


def test_a_bundle_around_a_transformer_and_its_layers_on_the_command_line(tmp_path) -> None:
    changes = documented("nets.ViT", "transformers-and-other-networks.md")
    folder = own_bundle(tmp_path / "own", changes)
    settings = {key: value for key, value in changes["vit"].items() if key != "_target_"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(ViT(**settings).state_dict(), folder / "models" / "model.pt")
    changed = ("target_layer=network.blocks.3.norm1", "target_layer=network.blocks.2", "reshape=null")
    methods = ",".join(["grad_cam", *(f"grad_cam:{change}" for change in changed)])
    command = ["compare", str(PNEUMONIA), "--bundle", str(folder), "--interpreter", methods, "--quiet"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 1
    (found,) = (tmp_path / "out").glob("cxr-*-maps")
    record = json.loads((found / "compare.json").read_text())
    assert [one["label"] for one in record["refused"]] == ["grad_cam_4"]
    assert "pass reshape='tokens'" in record["refused"][0]["reason"]
    with np.load(found / "maps.npz") as maps:
        assert np.array_equal(maps["grad_cam"], maps["grad_cam_2"])
        assert not np.allclose(maps["grad_cam"], maps["grad_cam_3"]) and maps["grad_cam"].max() > 0


def test_a_torchscript_bundle_votes_as_the_eager_one(tmp_path) -> None:
    bundle = load_bundle(torchscript_bundle(tmp_path / "own"), FEW)
    assert isinstance(bundle.network, torch.jit.ScriptModule)
    found, expected = (pipeline.certify_image(PNEUMONIA, b) for b in (bundle, load_bundle(NAME, FEW)))
    assert (found.votes.counts == expected.votes.counts).all()
    assert found.certificate == expected.certificate
    assert found.record["finding"]["name"] == "pneumonia / lung opacity"
    assert found.record["finding"]["score"] > 0.9
    hashes = [explanation.record["provenance"]["weights_sha256"] for explanation in (found, expected)]
    assert hashes[0] == file_sha256(tmp_path / "own" / "models" / "model.ts")
    assert hashes[1] == file_sha256(shipped_bundle(OPACITY) / "models" / "model.pt")


def test_grad_cam_of_a_torchscript_bundle_is_refused_with_what_works(tmp_path, capsys) -> None:
    folder = torchscript_bundle(tmp_path / "own")
    arguments = ["certify", str(NORMAL), "--bundle", str(folder), "--output", str(tmp_path / "out"), "--samples", "4"]
    assert main([*arguments, "--interpreter", "grad_cam", "--device", "cpu"]) == 1
    (entry,) = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
    assert entry["status"] == "refused" and str(without_hooks()) in entry["reason"]


def test_a_shipped_bundle_is_found_by_its_name() -> None:
    assert shipped_bundle(NAME) == shipped_bundle(OPACITY) == load_bundle(NAME, FEW).root
    assert load_bundle(Path(NAME), FEW).root == shipped_bundle(OPACITY)


def test_a_path_of_a_folder_with_a_shipped_name_is_the_folder(tmp_path, monkeypatch) -> None:
    torchscript_bundle(tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_bundle(f"./{NAME}", FEW).network, torch.jit.ScriptModule)


@pytest.mark.parametrize("name", ["chest_xray", "", "no/such/folder", "../bundles"])
def test_an_unknown_name_is_refused_with_the_names(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputRefused, match=rf"no such bundle folder.*'{NAME}'"):
        shipped_bundle(name)
    if name:
        with pytest.raises(InputRefused, match=rf"no such bundle folder.*'{NAME}'"):
            load_bundle(name)


def test_a_bundle_without_its_weights_is_refused(tmp_path) -> None:
    with pytest.raises(InputRefused, match=r"bundle could not be built.*No such file.*'ckpt_path'"):
        load_bundle(own_bundle(tmp_path / "own", {}))


def test_the_recorded_hash_is_that_of_the_file_that_was_loaded(tmp_path) -> None:
    """Weights from elsewhere, beside others that lie in the bundle's own folder."""
    other = tmp_path / "other.pt"
    torch.save(
        {key: 2 * value for key, value in load_bundle(OPACITY, overrides=FEW).network.state_dict().items()}, other
    )
    folder = own_bundle(tmp_path / "own", {"ckpt_path": str(other)})
    shutil.copy(shipped_bundle(OPACITY) / "models" / "model.pt", folder / "models")
    assert load_bundle(folder, FEW).files["weights_sha256"] == file_sha256(other)
    assert load_bundle(NAME, FEW | {"ckpt_path": str(other)}).files["weights_sha256"] == file_sha256(other)


def test_a_damaged_torchscript_file_is_refused(tmp_path) -> None:
    folder = own_bundle(tmp_path / "own", documented("load_torchscript"))
    (folder / "models" / "model.ts").write_bytes(b"no archive")
    with pytest.raises(InputRefused, match="bundle could not be built"):
        load_bundle(folder, FEW)


def test_loading_torchscript_warns_of_nothing(tmp_path) -> None:
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "model.ts")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_torchscript(tmp_path / "model.ts")
