"""The wheel alone is enough: bundle, schemas and command come with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel installed; its dependencies are those of the test environment."""
    folder = tmp_path_factory.mktemp("wheel")
    quiet = {"check": True, "capture_output": True}
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, **quiet)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, **quiet)
    return target


def test_the_wheel_holds_the_bundle_of_the_source_tree(site) -> None:
    shipped = site / "monai_robustinterp" / "bundles" / "chest_xray_certified_saliency"
    source = ROOT / "bundles" / "chest_xray_certified_saliency"
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    assert {path.relative_to(shipped) for path in shipped.rglob("*") if path.is_file()} == files
    assert all((shipped / name).read_bytes() == (source / name).read_bytes() for name in files)
    assert not list(site.rglob("tests"))


def test_certify_runs_from_an_empty_folder(site, tmp_path) -> None:
    source = ROOT / "sample_data" / "kermany_person1951_bacteria_4882_dx.dcm"
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    where = "import monai_robustinterp as m; print(m.__file__, m.bundle.shipped_bundle())"
    run = subprocess.run([sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True)
    assert all(path.startswith(str(site)) for path in run.stdout.split()), run.stdout
    command = [sys.executable, "-m", "monai_robustinterp", "certify", str(source), "--output", "out", "--samples", "96"]
    run = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (result,) = json.loads((empty / "out" / "summary.json").read_text())["results"]
    assert result["status"] == "certified"
    assert [path.name for path in empty.iterdir()] == ["out"]
    assert {path.name for path in (site / "monai_robustinterp" / "bundles").iterdir()} == {
        path.name for path in (ROOT / "bundles").iterdir()
    }
