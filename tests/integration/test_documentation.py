"""The code of the documentation runs as it is written, with fewer copies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import monai_robustinterp
from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.cli.main import main

ROOT = Path(__file__).parents[2]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/how-to/use-in-monai.md"])
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys) -> None:
    few = {"n_samples": 96, "device": "$__import__('torch').device('cpu')"}
    monkeypatch.setattr(monai_robustinterp, "load_bundle", lambda: load_bundle(overrides=few))
    monkeypatch.chdir(ROOT)
    (tmp_path / "tutorial").mkdir()
    sample = "sample_data/wg04_rg1_multiple_masses.dcm"
    main(["certify", sample, "--output", str(tmp_path / "tutorial"), "--samples", "96", "--quiet"])
    namespace: dict[str, object] = {}
    blocks = python_blocks(page)
    assert blocks
    for block in blocks:
        code = block.replace("/tmp/", f"{tmp_path}/").replace('"image.dcm"', f'"{sample}"')
        exec(compile(code, page, "exec"), namespace)
    if page == "docs/tutorial.md":
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        radii = [float(radius) for _, radius in lines[-5:]]
        assert radii == sorted(radii, reverse=True)
    if "monai" in page:
        assert len(list((tmp_path / "captures").rglob("*.dcm"))) == 1


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
        results.append((namespace["votes"], namespace["certificate"]))
    assert [votes.n_samples for votes, _ in results] == [4, 4, 4]
    assert [certificate.spec.target for _, certificate in results[:1]] == [2]
    # The third network is the second as TorchScript.
    assert (results[1][0].counts == results[2][0].counts).all() and results[1][0].logits.size == 8
    assert "'gradient'" in capsys.readouterr().out


def test_a_method_of_captum_can_be_certified(monkeypatch, capsys) -> None:
    page = "docs/how-to/choose-an-interpreter.md"
    (block,) = python_blocks(page)
    code = block.replace('"image.dcm"', '"sample_data/kermany_person1951_bacteria_4882_dx.dcm"').replace(
        "n_samples=64", "n_samples=8"
    )
    monkeypatch.chdir(ROOT)
    namespace: dict[str, Any] = {}
    exec(compile(code, page, "exec"), namespace)
    spec = namespace["certificate"].spec
    assert (spec.interpreter, spec.interpreter_settings) == ("captum_occlusion", {"side": 32})
    assert "8 of 8 copies had a tie at the k-th value" in capsys.readouterr().out
    # 38 cells of 16 squares of 16 cells each: two squares whole, the rest drawn from a third one.
    assert set(namespace["votes"].counts.ravel()) > {0, 8}


def test_the_reference_lists_every_option_and_array() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    commands = ROOT / "monai_robustinterp" / "cli"
    source = "".join((commands / name).read_text() for name in ("certify.py", "compare.py", "arguments.py"))
    for option in re.findall(r'"(--[a-z-]+)"', source):
        assert option in text, option
    for name in monai_robustinterp.VoteMap.__dataclass_fields__:
        assert f"`{name}`" in text, name
