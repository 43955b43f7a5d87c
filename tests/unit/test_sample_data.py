"""What the tree ships: samples that the table names, and no file of the shared data."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from benchmarks import films
from tests.support.shared import shared_data

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_data"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows_of_readme() -> dict[str, str]:
    text = (SAMPLES / "README.md").read_text()
    return dict(re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", text, flags=re.MULTILINE))


def test_the_readme_names_every_sample_with_its_hash() -> None:
    samples = {path.name: sha256(path) for path in SAMPLES.iterdir() if path.suffix not in (".md", ".py")}
    assert len(samples) == 8
    assert rows_of_readme() == samples


def test_no_patient_of_the_samples_is_in_the_split() -> None:
    """Which sample_data/README.md says; the names have "NORMAL2-IM-1430" for the table's patient "NNORMAL2-1430"."""
    with (ROOT / "bundles" / "chest_xray_certified_saliency" / "data" / "kermany_split.csv").open() as file:
        patients = {row["patient"] for row in csv.DictReader(file)}
    children = [name for name in rows_of_readme() if name.startswith("kermany_")]
    found = [re.match(r"kermany_(?:(NORMAL2)-IM-|(p)erson)(\d+)", name).groups() for name in children]
    named = [f"NNORMAL2-{number}" if normal else f"P{number}" for normal, _, number in found]
    assert len(named) == 7 and not patients.intersection(named)
    assert {"NNORMAL2-1422", "P1000"} <= patients


def test_no_tracked_file_is_one_of_the_shared_data() -> None:
    """The project ships nothing that came out of a public repository, not under another name either."""
    data = shared_data("MANIFEST.md").parent
    files = [path for folder in (data, data.parent / "cases") for path in folder.rglob("*") if path.is_file()]
    shared = {sha256(path) for path in files if path.stat().st_size}
    for archive in data.rglob("*.tar"):
        with tarfile.open(archive) as tar:
            shared |= {hashlib.sha256(tar.extractfile(member).read()).hexdigest() for member in tar if member.isfile()}
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    tracked = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert len(shared) > 3000 and len(tracked) > 100
    assert [path.name for path in tracked if sha256(path) in shared] == []


def test_films_of_the_published_tables_come_from_the_shared_data(tmp_path) -> None:
    shared_data("kermany256.tar")
    paths = films.study_films(tmp_path / "films")
    assert [path.name for path in paths] == sorted(films.FILMS)
    assert {path.name: sha256(path) for path in paths} == {name: digest for name, (_, digest) in films.FILMS.items()}


def test_without_the_films_a_study_stops_with_a_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MONAI_ROBUSTINTERP_SHARED_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"IM-0525-0001.jpg is missing .*docs/how-to/get-the-films.md"):
        films.study_films(tmp_path / "films")
    (tmp_path / "kermany256").mkdir()
    (tmp_path / "kermany256" / "IM-0525-0001.jpg").write_bytes(b"another film")
    with pytest.raises(SystemExit, match="is another file than the published one"):
        films.study_films(tmp_path / "films")
    assert not list((tmp_path / "films").iterdir())
