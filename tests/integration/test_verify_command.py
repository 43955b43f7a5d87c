"""The command as a user runs it, on what ``certify`` wrote for a real image."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_robustinterp.bundle import shipped_bundle
from monai_robustinterp.cli.main import main
from monai_robustinterp.files import json_bytes, sealed
from tests.support.bundles import CERTIFY, OPACITY

SAMPLE = Path(__file__).parents[2] / "sample_data" / "kermany_person1951_bacteria_4882_dx.dcm"
OPTIONS = {
    "plain": ["--samples", "32"],
    "everything": [
        *("--samples", "24", "--until-radius", "0.5", "--max-samples", "48", "--pairs", "--cell-size", "16"),
        *("--top-k", "10", "--region", "zone:upper", "--region", "box:100,100,900,600", "--confidence", "0.9"),
    ],
    "bfloat16": ["--samples", "24", "--precision", "bfloat16"],
    "denoised": [
        *("--samples", "24", "--sigma", "0.25", "--brightness", "0.03", "--tilt", "0.015"),
        *("--interpreter", "grad_cam", "--denoiser", "chest_xray_denoiser"),
    ],
    "two claims without confidence": ["--samples", "32", "--confidence", "0.45"],
}


@pytest.fixture(scope="module", params=OPTIONS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result folder of the sample."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert main([*CERTIFY, str(SAMPLE), "--output", str(output), "--quiet", *OPTIONS[request.param]]) == 0
    return next(output.glob("cxr-*"))


def audit(folder: Path, *arguments: object) -> int:
    return main(["verify", str(folder / "certificate.json"), str(folder / "votes.npz"), *map(str, arguments)])


def test_what_certify_wrote_is_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(folder, "--input", SAMPLE, "--bundle", OPACITY) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("verified: ") and not err
    assert "not checked" not in out and "source.file_sha256" not in out and "source.pixel_sha256" in out
    assert audit(folder) == 0
    out = capsys.readouterr().out
    assert "not checked: the image file" in out and "not checked: configuration and weights" in out
    assert "covered by the content hash only" in out and "source.file_sha256" in out


def test_a_replay_on_this_machine_is_equal_bit_for_bit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Early stopping, pairs, hits of regions and bfloat16 too."""
    record = json.loads((folder / "certificate.json").read_text())
    arguments = ["--input", SAMPLE, "--bundle", OPACITY, "--replay"]
    if name := record["spec"]["denoiser"].get("name"):
        # No denoiser is loaded by a recorded name.
        assert audit(folder, *arguments, "--denoiser", "none") == 1
        assert "give the one of the record with --denoiser" in capsys.readouterr().out
        arguments += ["--denoiser", name]
    assert audit(folder, *arguments) == 0
    out, err = capsys.readouterr()
    assert "replayed votes: 0 of " in out and "replay: equal bit for bit" in out and not err
    given = [region["name"] for region in record["regions"] if not region["name"].startswith("lungs (")]
    assert ("not replayed: that the cells of the given regions" in out) is bool(given)
    assert ("not replayed: that the looks" in out) is ("sampling" in record)


def test_a_false_number_is_a_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "Doe^John"))
    record = json.loads((changed / "certificate.json").read_text())
    del record["content_sha256"]
    record["finding"]["label_agreement"] = 0.123
    (changed / "certificate.json").write_bytes(json_bytes(sealed(record)))
    assert audit(changed) == 1
    out = capsys.readouterr().out
    assert "difference: finding.label_agreement: the file says 0.123, the counts give " in out
    assert out.splitlines()[-1] == "not verified: 1 differences."
    assert "Doe" not in out and str(tmp_path) not in out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small result that is quick to audit."""
    output = tmp_path_factory.mktemp("plain") / "out"
    options = ["--samples", "4", "--cell-size", "32", "--top-k", "3", "--quiet"]
    assert main([*CERTIFY, str(SAMPLE), "--output", str(output), *options]) == 0
    return next(output.glob("cxr-*"))


def test_another_precision_than_the_one_of_the_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One word in either file, the record sealed anew."""
    options = ["--samples", "4", "--cell-size", "32", "--top-k", "3", "--precision", "bfloat16", "--quiet"]
    assert main([*CERTIFY, str(SAMPLE), "--output", str(tmp_path / "out"), *options]) == 0
    folder = next((tmp_path / "out").glob("cxr-*"))
    assert audit(folder) == 0
    honest = (folder / "certificate.json").read_bytes()
    record = json.loads(honest)
    assert record["spec"]["precision"] == "bfloat16" and "(bfloat16)" in record["claim"]["assumptions"]
    del record["content_sha256"]
    record["spec"]["precision"] = "float32"
    (folder / "certificate.json").write_bytes(json_bytes(sealed(record)))
    assert audit(folder) == 1
    assert "difference: spec.precision: " in capsys.readouterr().out
    (folder / "certificate.json").write_bytes(honest)
    with np.load(folder / "votes.npz") as file:
        arrays = dict(file)
    arrays["spec"] = np.array(str(arrays["spec"]).replace("bfloat16", "float32"))
    np.savez(folder / "votes.npz", **arrays)
    assert audit(folder) == 1
    out = capsys.readouterr().out
    assert "difference: spec.precision: " in out and "difference: claim.assumptions: " in out


def test_other_inputs_and_networks_are_told(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = SAMPLE.parent / "kermany_person1952_bacteria_4883.jpeg"
    assert audit(plain, "--input", other) == 1
    assert "source.file_sha256: the given image file has another hash" in capsys.readouterr().out
    assert audit(plain, "--bundle", "chest_xray_findings") == 1
    out = capsys.readouterr().out
    assert "provenance.config_sha256: " in out and "provenance.weights_sha256: " in out
    copied = Path(shutil.copytree(shipped_bundle(OPACITY), tmp_path / "bundle"))
    assert audit(plain, "--bundle", copied) == 0
    with (copied / "configs" / "inference.json").open("a") as file:
        file.write("\n")
    assert audit(plain, "--bundle", copied) == 1
    out = capsys.readouterr().out.rpartition("verified: ")[0]
    assert "provenance.config_sha256: " in out and "provenance.weights_sha256: " not in out
    (copied / "models" / "model.pt").write_bytes(b"other")
    assert audit(plain, "--bundle", copied) == 1
    assert "provenance.weights_sha256: no file in models/" in capsys.readouterr().out


def test_files_that_are_none_are_a_sentence(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate, votes = plain / "certificate.json", plain / "votes.npz"
    for arguments in (
        (tmp_path / "Doe^John.json", votes),
        (certificate, tmp_path / "Doe^John.npz"),
        (votes, certificate),
        (certificate, certificate),
        (certificate, SAMPLE),
        (certificate, votes, "--input", tmp_path / "Doe^John.dcm"),
        (certificate, votes, "--input", tmp_path),
        (certificate, votes, "--bundle", tmp_path),
        (certificate, votes, "--bundle", "no_such_bundle"),
    ):
        assert main(["verify", *map(str, arguments)]) == 1
        out, err = capsys.readouterr()
        assert not out and err.startswith("monai-robustinterp: ") and err.count("\n") == 1
        assert "Doe" not in err and str(tmp_path) not in err


def test_the_python_of_the_how_to_runs(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "verify-a-certificate.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    folder = Path(shutil.copytree(plain, tmp_path / "result"))
    shutil.copyfile(SAMPLE, folder / "image.dcm")
    monkeypatch.chdir(folder)
    namespace: dict[str, Any] = {}
    exec(compile(block, page.name, "exec"), namespace)
    assert namespace["report"].verified and len(namespace["report"].not_checked) == 1


def test_wrong_usage_exits_with_2(plain: Path) -> None:
    for arguments in ([], [str(plain / "certificate.json")], ["a", "b", "c"], ["a", "b", "--inputs"]):
        with pytest.raises(SystemExit) as stop:
            main(["verify", *arguments])
        assert stop.value.code == 2
