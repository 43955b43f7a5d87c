"""The quick form of every study: the command runs from its plan to its page, and leaves the published pages alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import run_module

ROOT = Path(__file__).parents[2]
# Study -> page, results, and a row that its table has.
STUDIES = {
    "certificates": ("certificates.md", "results.json", "| *control: a fixed map*, 128 |"),
    "interpreters": ("interpreters.md", "results.json", "| grad_cam | 2 |"),
    "robust_activation_map": ("robust-activation-map.md", "results.json", "| *chance: another class at random* |"),
    "speed": ("performance.md", "bench.json", "| **ours** |"),
    "classifiers": ("classifiers.md", "study.json", "| opacity_percentiles, kermany |"),
    "defaults": (
        "defaults.md",
        "results.json",
        "| certified saliency: gradient, sigma 0.1, denoiser none | 64 | yes |",
    ),
    "denoiser": ("denoiser.md", "results.json", "| 64 px | 0.05 |"),
    "attack": ("attack.md", "results.json", "| kermany_NORMAL2-IM-1430-0001 | 1 |"),
    "lungs": ("lungs.md", "results.json", "| earlier default: gradient, sigma 0.1 |"),
    "lungs.alarm": ("lung-alarm.md", "results.json", "| evidence, cam, top_k = 8 | 2 |"),
    "lungs.claims": ("lung-claims.md", "results.json", "| adults, marked by radiologists | 2 |"),
    "lungs.findings": ("findings.md", "results.json", "| a map a finding, its defaults (cam, sigma 0.3) | 2 (2) |"),
    "metrics": ("metrics.md", "chest_xray_evidence/results.json", "| cam | certified |"),
    "any_file": ("any-file.md", "results.json", "| DICOM header | 2 |"),
    "attention": ("attention.md", "results.json", "| shipped opacity classifier | map |"),
}
OPTIONS = {"speed": ("--device", "cpu")}
# In a process of their own, as a user starts them; the others run in this one, which saves the start.
STARTED = {"classifiers", "defaults", "any_file"}


def published() -> dict[Path, str]:
    """Hashes of the documentation."""
    files = [path for path in (ROOT / "docs").rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refuse_constant(name: str) -> None:
    pytest.fail(f"the results hold {name}, which is no JSON")


@pytest.mark.parametrize("study", STUDIES)
def test_the_quick_form_runs_to_its_page(study, tmp_path) -> None:
    before = published()
    if study in STARTED:
        run = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{study}", str(tmp_path), "--quick"],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stdout + run.stderr
    else:
        run_module(f"benchmarks.{study}", tmp_path, "--quick", *OPTIONS.get(study, ()))
    page, results, row = STUDIES[study]
    text = (tmp_path / page).read_text()
    assert text.startswith("# ") and "quick run" in text and row in text
    # [None] is an index that a sentence of the package recommends.
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text.replace("[None]", ""))
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG"), picture
    assert json.loads((tmp_path / results).read_text(), parse_constant=refuse_constant)
    # No unfinished file stays, and no published page is touched.
    assert not [path.name for path in tmp_path.rglob(".*") if path.is_file()]
    assert published() == before


def test_every_study_has_a_quick_form_that_is_tested() -> None:
    modules = {path.parent.name for path in (ROOT / "benchmarks").glob("*/__main__.py")}
    modules |= {path.stem for path in (ROOT / "benchmarks").glob("*.py") if '"__main__"' in path.read_text()}
    # One compares with packages that the environment does not have and makes no page, one makes pictures, not figures.
    parts = {name for name in STUDIES if "." in name}
    assert modules - {"parity_quantus", "gallery"} == set(STUDIES) - parts
