"""The code of the documentation runs as it is written, with fewer copies."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_the_reference_lists_every_option_and_array() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    source = (ROOT / "monai_robustinterp" / "cli" / "certify.py").read_text()
    for option in re.findall(r'"(--[a-z-]+)"', source):
        assert option in text, option
    for name in monai_robustinterp.VoteMap.__dataclass_fields__:
        assert f"`{name}`" in text, name
