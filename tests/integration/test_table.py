"""A table of real films: the same whether it is stopped, resumed or shared out; what fails is in it with a sentence."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image

from monai_robustinterp.cli.main import main
from monai_robustinterp.metrics.registry import make_metric
from monai_robustinterp.study import bench
from monai_robustinterp.study.contenders import contenders
from monai_robustinterp.study.dataset import read_dataset
from monai_robustinterp.study.judged import judge
from monai_robustinterp.study.plan import TablePlan
from monai_robustinterp.study.runner import run_table
from monai_robustinterp.study.saved_table import save_table

# Kills a run five times while it makes parts, each time a little later; forked off a process that has imported already.
KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch
from monai_robustinterp.cli.main import main
torch.set_num_threads(1)
folder, arguments = Path(sys.argv[1]), sys.argv[2:]

def begin(name):
    pid = os.fork()
    if not pid:
        try:
            main([*arguments, str(folder / name)])
        finally:
            os._exit(0)
    return pid

parts = folder / "killed" / "parts"
for number in range(1, 6):
    pid = begin("killed")
    while len(list(parts.glob("*"))) < number and not os.waitpid(pid, os.WNOHANG)[0]:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(len(list(parts.glob("*"))))
(parts / ".0123456789abcdef.tmp").write_bytes(b"half")
for name in ("killed", "whole"):
    os.waitpid(begin(name), 0)
"""
SAMPLES = Path(__file__).parents[2] / "sample_data"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two films of children, made small, and one that is not there."""
    path = tmp_path_factory.mktemp("dataset") / "films.csv"
    lines = []
    for i, film in enumerate(sorted(SAMPLES.glob("**/*.jpeg"))[:2]):
        Image.open(film).convert("L").resize((160, 160)).save(path.with_name(f"{i}.png"))
        lines.append(f'{i}.png,Doeringer^John{i},{i},"20,20,80,80"')
    path.write_text("\n".join(["image,patient,present,boxes", *lines, "none.png,X,0,"]) + "\n")
    return path


def plan_of(dataset: Path, *metrics: str) -> TablePlan:
    return TablePlan(
        films=read_dataset(dataset),
        contenders=contenders([("cam", {})], kinds=["plain", "certified"], blind=["random"]),
        metrics=[make_metric(name) for name in metrics],
        bundle="chest_xray_evidence",
        n_samples=8,
        explain_samples=4,
    )


def untimed(rows: list[dict]) -> str:
    """Rows without seconds, as text."""

    def without(value):
        if isinstance(value, dict):
            return {key: without(item) for key, item in value.items() if key != "cpu_s"}
        return [without(item) for item in value] if isinstance(value, list) else value

    return json.dumps(without(rows))


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory) -> list[dict]:
    return run_table(plan_of(dataset, "box_mass", "lung_top_k"), tmp_path_factory.mktemp("whole"))


def test_rows_have_maps_radii_and_metrics_and_a_sentence_where_there_are_none(whole) -> None:
    assert [(row["film"], row["label"], row["kind"]) for row in whole] == [
        (film, *one) for film in range(3) for one in (("cam", "plain"), ("cam", "certified"), ("random", "blind"))
    ]
    certified = whole[1]
    assert certified["copies"] == 8 and certified["map"] >= certified["both"] >= 0
    assert certified["tested"] >= certified["covered"]
    assert all(0 <= row["metrics"]["box_mass"]["value"] <= 1 for row in whole[:6])
    assert all("cannot be read" in row["refused"] and "metrics" not in row for row in whole[6:])
    assert [row["patient"] for row in whole[::3]] == [0, 1, 2]


def test_a_run_that_is_stopped_again_and_again_gives_the_same_table(whole, dataset, tmp_path, monkeypatch) -> None:
    calls = {"n": 0}

    class Stopped(BaseException):
        pass

    def stopping(function, every):
        def call(*args, **kwargs):
            calls["n"] += 1
            if calls["n"] % every == every - 1:
                raise Stopped
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(bench, "take_map", stopping(bench.take_map, 3))
    monkeypatch.setattr(bench, "judge", lambda *a, **k: judge(*a, **{**k, "keep": stopping(k["keep"], 3)}))
    plan, stops = plan_of(dataset, "box_mass", "lung_top_k"), 0
    while True:
        try:
            rows = run_table(plan, tmp_path)
            break
        except Stopped:
            stops += 1
    assert stops >= 5
    assert untimed(rows) == untimed(whole)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_gives_the_same_table_and_leaves_nothing(dataset, tmp_path) -> None:
    arguments = ["compare", str(dataset), "--interpreters", "cam", "--metrics", "box_mass,lung_top_k", "--samples", "8"]
    arguments += ["--bundle", "chest_xray_evidence", "--blind", "random", "--quiet", "--output"]
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert len(run.stdout.split()) == 5, run.stdout

    def table(folder: Path) -> list[dict]:
        with (folder / "table.csv").open() as file:
            return [{name: value for name, value in row.items() if name != "cpu_s"} for row in csv.DictReader(file)]

    assert len(table(whole)) == 9 and table(killed) == table(whole)
    parts = [sorted(path.name for path in (folder / "parts").iterdir()) for folder in (killed, whole)]
    assert parts[0] == parts[1]


def test_what_is_kept_is_not_done_again_and_what_depends_on_other_settings_is(
    whole, dataset, tmp_path, monkeypatch
) -> None:
    run_table(plan_of(dataset), tmp_path)
    taken = []
    monkeypatch.setattr(bench, "take_map", lambda *a, **k: pytest.fail("a map was taken again"))
    assert untimed(run_table(plan_of(dataset, "box_mass", "lung_top_k"), tmp_path)) == untimed(whole)
    monkeypatch.undo()
    original = bench.take_map
    monkeypatch.setattr(bench, "take_map", lambda *a, **k: taken.append(a[2].slug) or original(*a, **k))
    run_table(plan_of(dataset).__class__(**{**vars(plan_of(dataset)), "seed": 1}), tmp_path)
    assert len(taken) == 6


def test_workers_give_the_same_table(whole, dataset, tmp_path) -> None:
    assert untimed(run_table(plan_of(dataset, "box_mass", "lung_top_k"), tmp_path, workers=2)) == untimed(whole)


def test_the_command_writes_table_summary_and_page_without_names_of_patients(dataset, tmp_path, capsys) -> None:
    output = tmp_path / "out"
    arguments = ["compare", str(dataset), "--interpreters", "cam", "--maps", "plain", "--blind", "center", "--quiet"]
    code = main(
        [
            *arguments,
            "--metrics",
            "box_mass,pointing_game:tolerance=2",
            "--bundle",
            "chest_xray_evidence",
            "--output",
            str(output),
        ]
    )
    assert code == 1
    with (output / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    parquet = pyarrow.parquet.read_table(output / "table.parquet").to_pylist()
    assert len(rows) == len(parquet) == 6
    assert [float(row["box_mass"]) for row in rows[:4]] == [row["box_mass"] for row in parquet[:4]]
    page = (output / "index.html").read_text()
    assert "data:image/png;base64" in page and "check the path and permissions" in page and "Not for diagnosis" in page
    texts = [path.read_bytes() for path in output.rglob("*") if path.is_file() and path.name != "films.json"]
    assert not any(b"Doeringer" in text for text in texts)
    assert "Doeringer^John0" in (output / "films.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--metrics", "beauty"], "metric is 'beauty'; it must be one of"),
        (["--metrics", "box_mass:colour=1"], "no setting 'colour'"),
        (["--metrics", "box_mass,box_mass"], "named twice"),
        (["--maps", "smooth"], "'smooth' is no kind of map"),
        (["--samples", "4", "--seconds", "1"], "two budgets"),
        (["--interpreters", "rise:colour=1"], "no setting 'colour'"),
    ],
)
def test_a_plan_that_is_none_is_refused_before_any_work(dataset, tmp_path, capsys, arguments, sentence) -> None:
    assert main(["compare", str(dataset), "--interpreters", "cam", *arguments, "--output", str(tmp_path / "out")]) == 1
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("out/parts/*"))


def test_what_only_a_dataset_takes_is_refused_with_an_image(tmp_path, capsys) -> None:
    arguments = ["compare", str(tmp_path / "film.png"), "--interpreters", "cam", "--output", str(tmp_path / "out")]
    for name, given in (("metrics", "iou"), ("maps", "plain"), ("blind", "center"), ("samples", "4"), ("workers", "1")):
        assert main([*arguments, f"--{name}", given]) == 1
        assert f"--{name} is for a dataset" in capsys.readouterr().err


@pytest.fixture(scope="module")
def repeated(dataset) -> Path:
    """The two films, the second one twice, with marks outside of it, and one whose target is no finding."""
    films = [dataset.with_name(f"{i}.png").read_bytes() for i in (0, 1, 1)]
    path = dataset.with_name("repeated.csv")
    for i, content in enumerate(films):
        path.with_name(f"r{i}.png").write_bytes(content)
    Image.open(path.with_name("0.png")).rotate(180).save(path.with_name("r3.png"))
    path.write_text('image,boxes,target\nr0.png,,\nr1.png,"0,0,400,9",\nr2.png,,\nr3.png,,Secret^Finding\n')
    return path


def blind_plan(dataset: Path, **changes) -> TablePlan:
    return TablePlan(
        films=read_dataset(dataset),
        contenders=contenders([("cam", {})], kinds=["plain"], blind=["random"]),
        metrics=[make_metric(name) for name in ("random_pair_ssim", "box_mass")],
        bundle="chest_xray_evidence",
        **changes,
    )


def test_a_film_that_is_there_twice_counts_once_and_marks_outside_of_it_are_said(repeated, tmp_path) -> None:
    rows = run_table(blind_plan(repeated), tmp_path)
    # Both films have the same pair; were the second one taken twice, the first film had a pair of SSIM 1 as well.
    pairs = [row["metrics"]["random_pair_ssim"]["value"] for row in rows[:4]]
    assert pairs[0] == pairs[2] and pairs[1] == pairs[3]
    assert "leaves the image" in rows[2]["metrics"]["box_mass"]["reason"]
    assert "the same file as film 1" in rows[4]["refused"]
    assert "no finding of the network" in rows[6]["refused"] and "Secret" not in rows[6]["refused"]


def test_damaged_parts_and_maps_of_films_with_another_target_are_made_anew(repeated, tmp_path) -> None:
    plan = blind_plan(repeated)
    first = run_table(plan, tmp_path)
    for part in (tmp_path / "parts").iterdir():
        part.write_bytes(part.read_bytes()[:40])
    assert untimed(run_table(plan, tmp_path)) == untimed(first)
    films = [dataclasses.replace(film, target=0 if film.path.name == "r1.png" else film.target) for film in plan.films]
    other = dataclasses.replace(plan, films=films)
    changed = run_table(other, tmp_path)
    assert untimed(changed) == untimed(run_table(other, tmp_path / "new"))
    # It is that of both films: the first has the same target and another value.
    assert changed[0]["metrics"]["random_pair_ssim"]["value"] != first[0]["metrics"]["random_pair_ssim"]["value"]


def test_a_table_leaves_no_file_of_an_earlier_one_and_says_what_its_budget_was(dataset, tmp_path) -> None:
    plan = dataclasses.replace(blind_plan(dataset), budget={"cam-certified": (7, 3)})
    rows = [{**dict.fromkeys(("film", "patient"), 0), "present": None, "settings": {}, "refused": "no film."}]
    rows[0] |= {"name": "cam", "kind": "plain", "label": "cam"}
    (tmp_path / "correlations.csv").write_text("first,second\n")
    save_table(plan, rows, tmp_path, about={})
    assert not (tmp_path / "correlations.csv").exists()
    page = (tmp_path / "index.html").read_text()
    assert "as many as the budget of time allows" in page and "384" not in page
