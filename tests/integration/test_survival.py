"""Runs that are killed, interrupted or run twice, and folders with odd entries: nothing is lost, all is said."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_robustinterp import OutputOptions, SaliencyBundle, load_bundle
from monai_robustinterp.bundle import bundle_folder, shipped_bundle
from monai_robustinterp.cli.main import main
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import json_bytes
from monai_robustinterp.geometry.changes import NAMED
from monai_robustinterp.geometry.regions import parse_region
from monai_robustinterp.run import lists
from monai_robustinterp.run.cohort import certify_cohort
from monai_robustinterp.run.inputs import find_images
from monai_robustinterp.run.lists import CohortSummary
from monai_robustinterp.run.lock import output_folder
from tests.support.bundles import CERTIFY, OPACITY
from tests.support.cases import collected
from tests.support.dicom_factory import make_dx
from tests.support.networks import TinyClassifier
from tests.support.records import resealed

ROOT = Path(__file__).parents[2]
FILES = {"overlay.dcm", "overlay.png", "certificate.json", "votes.npz"}
# Several runs, each forked off a process that has imported already.
PROGRAM = """
import os, random, signal, sys, time, warnings
import torch
from monai_robustinterp import certify_cohort, load_bundle
from tests.support.networks import TinyClassifier
torch.set_num_threads(1)
warnings.simplefilter("ignore")
few = {"n_samples": 64, "device": "$torch.device('cpu')", "batch_size": 8}
bundle = load_bundle("chest_xray_certified_saliency", few)
torch.manual_seed(0)
bundle.network = TinyClassifier(classes=2).eval()

def begin(inputs):
    pid = os.fork()
    if pid:
        return pid
    try:
        summary = certify_cohort(inputs, "out", bundle=bundle, show_progress=False)
        os._exit(1 if summary.refused else 0)
    finally:
        os._exit(2)

def code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
KILLED = """
randomly = random.Random(int(sys.argv[1]))
for _ in range(5):
    pid = begin(["images"])
    time.sleep(randomly.uniform(0.05, 0.8))
    os.kill(pid, signal.SIGKILL)
    code(pid)
os.makedirs("out/.cxr-0123456789abcdef.01234567/deep")
open("out/.0123456789abcdef.tmp", "w").close()
print(code(begin(["images"])))
"""
TOGETHER = """
from monai_robustinterp.run.lists import Lists
alone = Lists.begin

def all_begin(lists):
    alone(lists)
    open(f"begun {os.getpid()}", "w").close()
    while sum(name.startswith("begun") for name in os.listdir()) < 3:
        time.sleep(0.01)

Lists.begin = all_begin
images = sorted("images/" + name for name in os.listdir("images"))
pids = [begin(images[i::3]) for i in range(3)]
print(*map(code, pids))
"""


def run_program(tail: str, folder: Path, *arguments: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM + tail, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def bundle() -> SaliencyBundle:
    return small_bundle()


def small_bundle(weights: int = 0, **overrides: object) -> SaliencyBundle:
    bundle = load_bundle(OPACITY, overrides={"n_samples": 8, "device": "$torch.device('cpu')", **overrides})
    with torch.random.fork_rng():
        torch.manual_seed(weights)
        bundle.network = TinyClassifier(classes=2).eval()
    return bundle


def make_images(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 10), dtype=np.uint8))
        coarse.resize((160, 144)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def certify(inputs: list, output: Path, bundle: SaliencyBundle, **settings: object) -> CohortSummary:
    return certify_cohort(inputs, output, bundle=bundle, show_progress=False, **settings)


def check_complete(output: Path, images: list[Path]) -> dict:
    """Every image has a whole result, both lists have all of them, and nothing else is there."""
    summary, index = read_json(output / "summary.json"), read_json(output / "index.json")
    assert summary["totals"]["complete"] and summary["totals"]["refused"] == 0
    assert [entry["number"] for entry in summary["results"]] == list(range(1, len(images) + 1))
    assert all(entry["l_max"] is not None for entry in summary["results"])
    assert sorted(index["folders"].values()) == sorted(index["last_run"].values()) == sorted(map(str, images))
    assert {path.name for path in output.iterdir()} == {*index["folders"], "summary.json", "index.json"}
    for folder in index["folders"]:
        assert {path.name for path in (output / folder).iterdir()} == FILES
    return summary


def test_a_run_that_is_killed_again_and_again_is_complete_in_the_end(tmp_path) -> None:
    images = make_images(tmp_path / "images", 12)
    assert run_program(KILLED, tmp_path, "0") == ["0"]
    check_complete(tmp_path / "out", images)


def test_runs_into_one_folder_lose_nothing_of_each_other(tmp_path) -> None:
    images = make_images(tmp_path / "images", 18)
    assert run_program(TOGETHER, tmp_path) == ["0", "0", "0"]
    summary = check_complete(tmp_path / "out", images)
    assert [run["inputs"] for run in summary["runs"]] == [6, 6, 6] and summary["totals"]["inputs"] == 18


def test_a_rerun_keeps_what_it_would_make(tmp_path, bundle) -> None:
    images = make_images(tmp_path / "images", 3)
    certify(images[:2], tmp_path / "out", bundle)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("out/cxr-*/*")}
    first = read_json(tmp_path / "out" / "summary.json")["results"]
    summary = certify(images, tmp_path / "out", bundle)
    assert [result.kept for result in summary.results] == [True, True, False] and not summary.refused
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    again = check_complete(tmp_path / "out", images)
    assert again["totals"]["kept"] == 2 and again["shared_between_images"]["films"] == 3
    leave_out = {"elapsed_s": 0, "kept": 0}
    for old, new in zip(first, again["results"]):
        assert old | leave_out == new | leave_out
    # Of speed only.
    assert certify(images, tmp_path / "out", small_bundle(batch_size=3)).kept == 3
    assert certify(images, tmp_path / "out", bundle, overwrite=True).kept == 0


def test_what_a_rerun_would_make_otherwise_is_named_and_nothing_is_replaced(tmp_path, bundle) -> None:
    images, output = make_images(tmp_path / "images", 1), tmp_path / "out"
    certify(images, output, bundle)
    before = {path: path.read_bytes() for path in output.glob("cxr-*/*")}
    reference = make_dx(tmp_path / "reference.dcm")
    others = [
        ({"sigma": 0.25}, {}, "sigma 0.1 there, 0.25 here"),
        ({"n_samples": 16}, {}, "n_samples 8 there, 16 here"),
        ({"seed": 5}, {}, "seed 0 there, 5 here"),
        ({"beta": "0.6"}, {}, "beta 0.5 there, 0.6 here"),
        ({"eta": 0.01}, {}, "eta 0.001 there, 0.01 here"),
        ({"precision": "bfloat16"}, {}, "precision float32 there, bfloat16 here"),
        ({"until_radius": 0.5, "max_samples": 32}, {}, "until_radius None there, 0.5 here"),
        ({"pairs": True}, {}, "pairs False there, True here"),
        ({"target": 0}, {}, "target 1 there, 0 here"),
        ({}, {"regions": [parse_region("zone:upper")]}, "regions"),
        ({}, {"changes": NAMED[1:]}, "another list of changes in the ledger"),
        ({}, {"options": OutputOptions(capture="source")}, "the capture is another picture than source"),
        ({}, {"options": OutputOptions(transfer_syntax="rle")}, "another transfer syntax than rle"),
    ]
    with collected() as case:
        for overrides, settings, words in others:
            with case(words):
                (result,) = certify(images, output, small_bundle(**overrides), **settings).results
                assert result.status == "refused" and words in result.reason and "--overwrite" in result.reason
        with case("weights"):
            (result,) = certify(images, output, small_bundle(weights=1)).results
            assert "another network_sha256" in result.reason
        with case("reference"):
            from monai_robustinterp.io.write.overlay import read_reference

            options = OutputOptions(reference=read_reference(reference))
            (result,) = certify(images, output, bundle, options=options).results
            assert "the capture joins another study" in result.reason
    assert {path: path.read_bytes() for path in output.glob("cxr-*/*")} == before
    certificate = next(output.glob("cxr-*/certificate.json"))
    good = certificate.read_text()
    certificate.write_bytes(json_bytes(resealed(json.loads(good) | {"format": "monai_robustinterp/certificate/3"})))
    (result,) = certify(images, output, bundle).results
    assert "of an earlier format, not whole or were changed" in result.reason
    certificate.write_text(good.replace('"seed": 0', '"seed": 7'))
    (result,) = certify(images, output, bundle).results
    assert "not whole or were changed" in result.reason
    certificate.unlink()
    (result,) = certify(images, output, bundle).results
    assert "not whole or were changed" in result.reason and "--overwrite" in result.reason


def test_a_rerun_after_an_abstention_names_it(tmp_path, capsys) -> None:
    """Whatever became of it, and however often it was run since."""
    (image,), output = make_images(tmp_path / "images", 1), tmp_path / "out"

    def run(**overrides: object) -> dict:
        certify([image], output, small_bundle(**overrides), overwrite=True)
        (certificate,) = output.glob("cxr-*/certificate.json")
        assert main(["verify", str(certificate), str(certificate.with_name("votes.npz"))]) == 0
        return read_json(certificate)

    first = run()
    assert (first["status"], first["selection"]) == ("abstain", [])
    assert run() == first
    second = run(n_samples=16, seed=3)
    assert second["selection"] == [
        {
            "status": "abstain",
            "n_samples": 8,
            "seed": 0,
            "content_sha256": first["content_sha256"],
            "differences": ["n_samples 8 there, 16 here", "seed 0 there, 3 here"],
        }
    ]
    assert "1 earlier run of the image" in second["notes"][-1]
    assert second["notes"][-1] in read_json(output / "summary.json")["results"][0]["notes"]
    assert run(n_samples=16, seed=3) == second
    third = run(n_samples=600, beta="0.1", eta=0.2)
    assert third["status"] == "certified" and "2 earlier runs of the image" in third["notes"][-1]
    assert third["selection"] == [*second["selection"], third["selection"][1]]
    assert third["selection"][1]["content_sha256"] == second["content_sha256"]
    # The certified one is none of those that did not certify the image.
    assert run(n_samples=640, beta="0.1", eta=0.2)["selection"] == third["selection"]
    shutil.rmtree(next(output.glob("cxr-*")))
    assert run(n_samples=600, beta="0.1", eta=0.2)["selection"] == []


def test_leftovers_stay_while_another_run_is_writing(tmp_path) -> None:
    leftover = tmp_path / ".cxr-0123456789abcdef.01234567"
    with output_folder(tmp_path) as first:
        first.share()
        leftover.mkdir()
        with output_folder(tmp_path) as second:
            assert (first.alone, second.alone) == (True, False) and leftover.exists()
    with output_folder(tmp_path) as third:
        assert third.alone and not leftover.exists()
    assert list(tmp_path.iterdir()) == []


def test_odd_entries_get_a_sentence_and_the_rest_goes_on(tmp_path, bundle) -> None:
    (good,) = make_images(tmp_path / "images", 1)
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "images") + b"/M\xfcller.png"))
    Image.fromarray(np.arange(160 * 144, dtype=np.uint32).astype(np.uint8).reshape(144, 160)).save(good)
    make_dx(odd)
    (tmp_path / "images" / "dangling.dcm").symlink_to("nowhere")
    (tmp_path / "images" / "loop").symlink_to("loop")
    (tmp_path / "images" / "notes.txt").symlink_to("nowhere")
    summary = certify(["", tmp_path / "images", "a" * 5000, tmp_path / "gone.dcm"], tmp_path / "out", bundle)
    reasons = sorted(result.reason for result in summary.results if result.status == "refused")
    expected = ["could not be opened", "could not be opened", "path is empty", "link leads to no", "link leads to no"]
    assert len(reasons) == len(expected) and len(summary.results) == 7
    assert sorted(words for words in expected) == sorted(
        next(words for words in set(expected) if words in reason) for reason in reasons
    )
    index = read_json(tmp_path / "out" / "index.json")
    assert {os.fsencode(path) for path in index["folders"].values()} == {os.fsencode(good), os.fsencode(odd)}
    (tmp_path / "out" / "index.json").read_bytes().decode("utf-8")


@pytest.mark.parametrize("fails", ["open", "search"])
def test_a_folder_without_permission_hides_nothing_else(tmp_path, monkeypatch, fails) -> None:
    """Those who run the tests may be root, whom no permission stops."""
    images = make_images(tmp_path / "images", 2)
    locked = tmp_path / "images" / "locked"
    make_images(locked, 1)
    if fails == "open":
        scandir = os.scandir

        def refuse(path: str) -> object:
            if Path(path) == locked:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
    else:
        status = Path.stat

        def refuse_file(path: Path, **settings: bool) -> os.stat_result:
            if path.parent == locked:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return status(path, **settings)

        monkeypatch.setattr(Path, "stat", refuse_file)
    found = find_images([tmp_path / "images"])
    assert list(found.images) == images
    ((path, reason),) = found.refused
    assert path in (locked, locked / "0.png") and "Permission denied" in reason


def test_a_full_disk_is_said_to_be_that(tmp_path, bundle, monkeypatch, capsys) -> None:
    images = make_images(tmp_path / "images", 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lists, "atomic_write", full)
    assert main([*CERTIFY, str(images[0]), "--output", str(tmp_path / "out"), "--samples", "8", "--quiet"]) == 1
    assert "the disk is full" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_a_sentence_also_while_it_imports(tmp_path, number) -> None:
    images = make_images(tmp_path / "images", 6)
    command = [sys.executable, "-m", "monai_robustinterp", *CERTIFY, *map(str, images), "--samples", "300"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name in ("importing", "running"):
        output = tmp_path / name
        # Where the tests run in the background, SIGINT is ignored, and a process inherits that.
        with subprocess.Popen(
            [*command, "--output", str(output)],
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as run:
            if name == "importing":
                modules = Path(f"/proc/{run.pid}/maps")
                while "numpy" not in modules.read_text():  # the first of what it imports
                    time.sleep(0.01)
            else:
                while not list(output.glob("cxr-*")):
                    time.sleep(0.05)
            run.send_signal(number)
            assert run.stderr is not None
            said = run.stderr.read().decode()
        assert run.returncode == 128 + number
        assert said.rstrip().splitlines()[-1].startswith("monai-robustinterp: interrupted") and "Traceback" not in said
        if name == "importing":
            assert not output.exists()
        else:
            results = read_json(output / "summary.json")["results"]
            assert {path.name for path in output.iterdir()} == {
                *(result["folder"] for result in results),
                "summary.json",
                "index.json",
            }


def test_a_shipped_name_never_means_a_folder_here(tmp_path, monkeypatch) -> None:
    for name in ("chest_xray_findings", "mine"):
        (tmp_path / name / "configs").mkdir(parents=True)
        (tmp_path / name / "configs" / "inference.json").write_text('{"saliency_bundle": "$1 / 0"}')
    monkeypatch.chdir(tmp_path)
    for name in ("chest_xray_findings", Path("chest_xray_findings")):
        assert bundle_folder(name) == shipped_bundle("chest_xray_findings")
    assert load_bundle("chest_xray_findings").root == shipped_bundle("chest_xray_findings")
    assert bundle_folder("./chest_xray_findings") == bundle_folder(Path("chest_xray_findings").absolute()).relative_to(
        tmp_path
    )
    assert bundle_folder("mine") == Path("mine")
    for name in ("", "nothing"):
        with pytest.raises(InputRefused, match="no such bundle folder"):
            bundle_folder(name)


def test_what_names_patients_or_paths_is_the_owners_alone(tmp_path, bundle) -> None:
    old = os.umask(0o022)
    try:
        certify([make_dx(tmp_path / "image.dcm")], tmp_path / "out", bundle)
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("out/**/*.*")}
    private = {"index.json", "overlay.dcm", "overlay.png"}
    assert {name for name, mode in modes.items() if mode == 0o600} == private
    assert {mode for name, mode in modes.items() if name not in private} == {0o644}


def test_copies_of_one_film_are_one_film_in_what_films_share(tmp_path, bundle) -> None:
    images = make_images(tmp_path / "images", 2)
    expected = certify(images, tmp_path / "out", bundle).reported.shared()
    copy = shutil.copy(images[0], tmp_path / "copy.png")
    assert certify([*images, copy], tmp_path / "again", bundle).reported.shared() == expected
