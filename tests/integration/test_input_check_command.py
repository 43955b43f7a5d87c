"""``certify`` on files that the network should not receive, and on networks that fail, with the shipped bundles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, MapTransform
from PIL import Image
from torch import nn

from monai_robustinterp import certify_cohort, load_bundle
from monai_robustinterp.cli.main import main
from tests.support.bundles import OPACITY
from tests.support.cases import collected

SAMPLES = Path(__file__).parents[2] / "sample_data"
FILM = SAMPLES / "kermany_NORMAL2-IM-1430-0001.jpeg"
CPU = "$__import__('torch').device('cpu')"


def write_files(folder: Path) -> dict[str, str]:
    """Files by name, with what the summary must say of each; "" is no warning of the network's input."""
    gray = np.asarray(Image.open(FILM).convert("L"))
    random = np.random.default_rng(0)
    pictures = {
        "noise.png": random.integers(0, 256, gray.shape).astype(np.uint8),
        "inverted.png": 255 - gray,
        "dim.png": gray // 40,
        "film.png": gray,
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    return {
        "noise.png": "share of its variance",
        "inverted.png": "correlation with their mean image -0.",
        "dim.png": "refused: the network's input is nearly constant",
        "film.png": "",
    }


@pytest.mark.parametrize("bundle", ["chest_xray_certified_saliency", "chest_xray_findings"])
def test_a_cohort_says_of_each_file_what_is_wrong_with_it(bundle, tmp_path, capsys) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    expected = write_files(folder)
    output = tmp_path / "out"
    arguments = [
        "certify",
        str(folder),
        "--output",
        str(output),
        "--bundle",
        bundle,
        "--samples",
        "4",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 1
    table = capsys.readouterr().out
    entries = json.loads((output / "summary.json").read_text())["results"]
    sources = json.loads((output / "index.json").read_text())["last_run"]
    assert len(entries) == len(expected)
    with collected() as case:
        for entry in entries:
            name = Path(sources[str(entry["number"])]).name
            said = expected[name]
            with case(name):
                if said.startswith("refused"):
                    assert said.removeprefix("refused: ") in entry["reason"] and said in table
                    continue
                record = json.loads((output / entry["folder"] / "certificate.json").read_text())
                found = [note for note in record["notes"] if note.startswith("Check the input")]
                assert len(found) == bool(said) and entry["notes"].count("Check the input") == 0
                for sentence in found:
                    assert said in sentence and sentence in entry["warnings"] and sentence in table
                votes = output / entry["folder"] / "votes.npz"
                files = ["verify", str(votes.with_name("certificate.json")), str(votes)]
                assert main(files) == 0
                if said:
                    assert main([*files, "--input", str(folder / name), "--bundle", bundle, "--replay"]) == 0
                    with np.load(votes) as arrays:
                        assert json.loads(str(arrays["input_warnings"])) == found


class Fails(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("my layer wants\n64 x 64")


def test_a_failing_network_is_named_with_its_own_words(tmp_path) -> None:
    bundle = load_bundle(OPACITY, overrides={"n_samples": 4, "device": CPU})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        channels = nn.Sequential(nn.Conv2d(3, 2, 128), nn.Flatten()).eval()
        probabilities = nn.Sequential(nn.Conv2d(1, 2, 128), nn.Flatten(), nn.Softmax(dim=1)).eval()
    cases = {
        "own": (Fails(), "the network raised RuntimeError: my layer wants 64 x 64"),
        "channels": (channels, "GrayscaleInput"),
        "probabilities": (probabilities, "probabilities already"),
    }
    with collected() as case:
        for name, (network, said) in cases.items():
            bundle.network = network
            summary = certify_cohort([FILM], tmp_path / name, bundle=bundle, show_progress=False)
            (result,) = summary.results
            with case(name):
                assert result.status == "refused" and said in result.reason and "report it" not in result.reason


class Quotes(MapTransform):
    def __call__(self, data: dict) -> dict:
        raise KeyError(f"no mask beside {data['image'].meta['filename_or_obj']}, 3 x 3 wanted")


def test_a_failing_transform_is_named_with_its_own_words_and_without_the_path(tmp_path) -> None:
    film = tmp_path / "DOE^JANE.png"
    Image.open(FILM).save(film)
    bundle = load_bundle(OPACITY, overrides={"n_samples": 4, "device": CPU})
    bundle.preprocessing = Compose([bundle.preprocessing.transforms[0], Quotes("image")])
    (result,) = certify_cohort([film], tmp_path / "out", bundle=bundle, show_progress=False).results
    assert "preprocessing raised KeyError" in result.reason and "3 x 3 wanted" in result.reason
    assert "report it" not in result.reason and "DOE" not in result.reason
