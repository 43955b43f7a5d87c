"""The code of the documentation runs as it is written, with fewer copies."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import monai_robustinterp
from monai_robustinterp.audit import read_record, verify
from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.cli.main import main
from tests.support import layout_picture

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "monai_robustinterp"
RUN_AS_WRITTEN = (
    "README.md",
    "docs/tutorial.md",
    "docs/how-to/use-in-monai.md",
    "docs/how-to/certify-a-region.md",
    "docs/how-to/certify-the-lungs.md",
    "docs/how-to/judge-maps.md",
    "docs/how-to/read-the-ledger.md",
    "docs/how-to/choose-the-noise.md",
    "docs/how-to/verify-a-certificate.md",
)


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", RUN_AS_WRITTEN)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys) -> None:
    few = {"n_samples": 96, "device": "$__import__('torch').device('cpu')"}
    monkeypatch.setattr(monai_robustinterp, "load_bundle", lambda: load_bundle(overrides=few))
    monkeypatch.chdir(ROOT)
    (tmp_path / "tutorial").mkdir()
    sample = "sample_data/wg04_rg1_multiple_masses.dcm"
    main(["certify", sample, "--output", str(tmp_path / "tutorial"), "--samples", "96", "--quiet"])
    (folder,) = (tmp_path / "tutorial").glob("cxr-*")
    namespace: dict[str, Any] = {}
    blocks = python_blocks(page)
    assert blocks
    for block in blocks:
        code = block.replace("/tmp/", f"{tmp_path}/").replace('"image.dcm"', f'"{sample}"')
        for name in ("certificate.json", "votes.npz"):
            code = code.replace(f'"{name}"', f'"{folder / name}"')
        exec(compile(code, page, "exec"), namespace)
    lines = capsys.readouterr().out.splitlines()
    _CHECKS[page](tmp_path, namespace, lines)


def _readme(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    assert lines[-1] == namespace["result"].certificate.sentence
    assert sorted(path.name for path in (folder / "result").iterdir()) == [
        "certificate.json",
        "overlay.dcm",
        "overlay.png",
        "votes.npz",
    ]


def _tutorial(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    radii = [float(line.split()[1]) for line in lines[-5:]]
    assert radii == sorted(radii, reverse=True) and radii[0] > 0


def _in_monai(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    assert len(list((folder / "captures").rglob("*.dcm"))) == 1
    # Of the engine's capture and of a saved result; both sentences end with what the audit says.
    assert [line.split()[-1] for line in lines if line.endswith(("True", "False"))] == ["True", "True"]


def _regions(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    assert lines[-3].startswith("image zone lower image-left")
    nifti, segmentation = lines[-2].split()[-1], lines[-1].split()[-1]
    assert nifti == segmentation and len(nifti) == 16, "the same mask as NIfTI and as DICOM has one hash"


def _lungs(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    nifti, _, segmentation, segmenter, boxes = lines[-5:]
    assert nifti.startswith("lungs (mask, NIfTI), SHA-256 ") and nifti.endswith((" True", " False"))
    assert segmentation.startswith("lungs (mask, DICOM SEG") and segmentation.split()[-1] == nifti.split()[4]
    assert segmenter == "my_segmenter None" and boxes.startswith("lungs (my_segmenter 1), SHA-256 ")


def _judged(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    assert [line.split()[:2] for line in lines[-5:-1]] == [
        [label, name] for label in ("cam", "center") for name in ("lung_top_k", "pointing_game")
    ]
    assert all(row["refused"] == "" for row in namespace["rows"])
    assert lines[-2].endswith("None the dataset marks none on this film.")
    assert lines[-1] == "[{'m': 64, 'half': 32.0}, {'m': 128, 'half': 64.0}]"
    assert (folder / "study" / "halves.csv").read_text() == '"m","half"\n64,32\n128,64\n'


def _ledger(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    assert len(lines) == len(namespace["NAMED"]) + 1 and lines[-1].startswith("dark edge, px 4.0 ")
    assert lines[0].startswith("8-bit rounding None 0.") and lines[0].endswith(" True ")


def _noise(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    spec = namespace["result"].certificate.spec
    assert (spec.denoiser["name"], round(spec.tilt, 6)) == ("chest_xray_denoiser", 0.015)
    assert lines[-1].endswith(" chest_xray_denoiser") and float(lines[-1].split()[0]) > 0


def _audit(folder: Path, namespace: dict[str, Any], lines: list[str]) -> None:
    report = namespace["report"]
    assert report.verified and report.not_checked == ("configuration and weights of the network (give --bundle)",)


_CHECKS = dict(
    zip(
        RUN_AS_WRITTEN, (_readme, _tutorial, _in_monai, _regions, _lungs, _judged, _ledger, _noise, _audit), strict=True
    )
)


def test_your_own_model_runs(tmp_path, monkeypatch, capsys) -> None:
    """From a checkpoint to TorchScript; the bundles of its section 4 are in test_own_model.py."""
    monkeypatch.chdir(ROOT)
    page = "docs/how-to/your-own-model.md"
    namespace: dict[str, Any] = {}
    results = []
    for block in python_blocks(page):
        code = block.replace("/tmp/", f"{tmp_path}/").replace(
            '"image.dcm"', '"sample_data/kermany_person1951_bacteria_4882_dx.dcm"'
        )
        exec(compile(code.replace("n_samples=384", "n_samples=4"), page, "exec"), namespace)
        results.append(namespace["result"])
    assert [result.votes.n_samples for result in results] == [4, 4, 4]
    assert results[0].certificate.spec.target == 2
    # The third network is the second as TorchScript.
    assert (results[1].votes.counts == results[2].votes.counts).all() and results[1].votes.logits.size == 8
    # What the page says of a network in memory: its record passes the audit.
    monai_robustinterp.save(results[0], tmp_path / "saved")
    assert verify(read_record(tmp_path / "saved/certificate.json"), tmp_path / "saved/votes.npz").verified
    assert len({result.record["provenance"]["network_sha256"] for result in results}) == 3
    assert "'gradient'" in capsys.readouterr().out


def test_transformers_and_other_networks_run(tmp_path, monkeypatch, capsys) -> None:
    """Their bundle is in test_own_model.py."""
    monkeypatch.chdir(ROOT)
    page = "docs/how-to/transformers-and-other-networks.md"
    namespace: dict[str, Any] = {}
    with torch.random.fork_rng():
        # The page's networks have random weights: of some draws both logits lie in [0, 1], and are refused.
        torch.manual_seed(0)
        for block in python_blocks(page):
            code = block.replace('"image.dcm"', '"sample_data/kermany_person1951_bacteria_4882_dx.dcm"')
            exec(compile(code.replace('n_samples": 384', 'n_samples": 2'), page, "exec"), namespace)
    printed = re.findall(r"print\(last_spatial_layer.*# (.*)", (ROOT / page).read_text())
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == printed == ["_swish", "network.blocks.3.norm1"]
    assert lines[-1] == "True"
    spec = namespace["result"].certificate.spec
    assert (spec.interpreter, spec.interpreter_settings["reshape"]) == ("grad_cam", "tokens")


def test_methods_of_captum_and_of_ones_own_can_be_certified(monkeypatch, capsys) -> None:
    page = "docs/how-to/choose-an-interpreter.md"
    monkeypatch.chdir(ROOT)
    namespace: dict[str, Any] = {}
    results = []
    for block in python_blocks(page):
        code = block.replace('"image.dcm"', '"sample_data/kermany_person1951_bacteria_4882_dx.dcm"')
        exec(compile(code.replace("n_samples=64", "n_samples=8"), page, "exec"), namespace)
        results.append(namespace["result"])
    captums, own = results
    spec = captums.certificate.spec
    assert (spec.interpreter, spec.interpreter_settings) == ("captum:Occlusion", namespace["settings"])
    assert "8 of 8 copies had a tie at the k-th value" in capsys.readouterr().out
    # 38 cells of 16 squares of 16 cells each: two squares whole, the rest drawn from a third one.
    assert set(captums.votes.counts.ravel()) > {0, 8}
    assert own.certificate.spec.interpreter == "margin_gradient" and own.votes.counts.sum() == 8 * 38


def test_the_plain_map_is_verified_in_python(capsys) -> None:
    namespace: dict[str, Any] = {}
    one_parameter, two_parameters = python_blocks("docs/how-to/verify-attention.md")
    exec(compile(one_parameter, "verify-attention.md", "exec"), namespace)
    low, high = namespace["found"].interval("attention")
    assert -0.5 <= low < 0 < high <= 0.5
    exec(compile(two_parameters, "verify-attention.md", "exec"), namespace)
    # Within the interval of brightness alone, which the box contains.
    assert 0 < 0.5 * namespace["found"].scales["attention"].scale <= min(-low, high)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == 2 * ["classification", "attention"]


def test_the_reference_lists_every_option_and_array() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    commands = ROOT / "monai_robustinterp" / "cli"
    source = "".join(
        (commands / name).read_text() for name in ("certify.py", "compare.py", "attention.py", "arguments.py")
    )
    for option in re.findall(r'"(--[a-z-]+)"', source):
        assert option in text, option
    for name in monai_robustinterp.VoteMap.__dataclass_fields__:
        assert f"`{name}`" in text, name


def test_the_table_from_claim_to_test_names_what_exists() -> None:
    """docs/claims.md: functions of the package, of the audit, and test files."""
    page = (ROOT / "docs" / "claims.md").read_text()
    lines = page.split("## From claim to test")[1].split("## Glossary")[0].splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| ") and not line.startswith("| claim")]
    assert len(rows) > 10
    missing = []
    for row in rows:
        functions, audit, tests = row[2], row[3], row[4]
        for cell, in_audit in ((functions, False), (audit, True)):
            missing += [name for name in re.findall(r"`([^`]+)`", cell) if not _exists(name, in_audit=in_audit)]
        named = re.findall(r"\b(\w+/test_\w+)", tests)
        missing += [name for name in named if not (ROOT / "tests" / f"{name}.py").exists()]
        missing += [] if named else [f"a test of {row[0]}"]
    assert not missing, missing


def _exists(name: str, *, in_audit: bool) -> bool:
    """Whether one module of that last name defines it, in the audit or outside of it."""
    module, *names = name.split(".")
    for path in PACKAGE.rglob(f"{module}.py"):
        if ("audit" in path.relative_to(PACKAGE).parts) != in_audit:
            continue
        body: list[ast.stmt] = ast.parse(path.read_text()).body
        for part in names:
            found = [node for node in body if getattr(node, "name", "") == part]
            if not found:
                break
            body = getattr(found[0], "body", [])
        else:
            return bool(names)
    return False


def test_the_names_of_the_reference_exist() -> None:
    """The table of Python names, from the top of the package."""
    table = (ROOT / "docs" / "reference.md").read_text().split("## Python")[1]
    cells = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`((?:ri\.)?[a-z_]+(?:\.\w+)+)", cell)]
    named = [name for name in named if not name.startswith("inferer.")]
    assert len(named) > 30
    missing = []
    for name in named:
        module, _, attribute = name.removeprefix("ri.").rpartition(".")
        owner = importlib.import_module(f"monai_robustinterp.{module}".rstrip("."))
        if not hasattr(owner, attribute) and importlib.util.find_spec(f"{owner.__name__}.{attribute}") is None:
            missing.append(name)
    assert not missing, missing


def test_the_layers_of_the_contributing_page_are_those_of_the_code() -> None:
    page = layout_picture.PAGE.read_text()
    assert layout_picture.block(page) == layout_picture.expected_block(), "run python -m tests.support.layout_picture"
    paths = re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", page.split("## The walk")[1])
    assert len(paths) > 20
    missing = [path for path in paths if not (PACKAGE / path).exists()]
    assert not missing, missing
