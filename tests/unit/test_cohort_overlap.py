"""Images overlap in a cohort run: one is read and others are written while the network works; results stay the same."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from monai.transforms.post import dictionary as monai_post
from PIL import Image
from tqdm import tqdm

from monai_robustinterp import CertifiedSaliencyInferer, SaliencyBundle, load_bundle, save
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import file_sha256
from monai_robustinterp.geometry.regions import parse_region
from monai_robustinterp.run import cohort, pipeline, read_ahead
from monai_robustinterp.run.cohort import CohortSummary, certify_cohort
from monai_robustinterp.run.read_ahead import ImageRun
from tests.support.bundles import OPACITY
from tests.support.dicom_factory import make_dx
from tests.support.networks import TinyClassifier

Done = Callable[[ImageRun], None]

FILES = {"overlay.dcm", "overlay.png", "certificate.json", "votes.npz"}
N_SAMPLES = 4
# Ends a test that would hang: what is waited for comes at once, or never.
NEVER_S = 30.0
# For what must not come. Broken code that is slower than this is not caught; right code never fails for it.
SOON_S = 0.5


@pytest.fixture(scope="module")
def bundle() -> SaliencyBundle:
    """The shipped one around a network that answers fast."""
    bundle = load_bundle(
        OPACITY, overrides={"n_samples": N_SAMPLES, "device": "$torch.device('cpu')", "input_statistics": ""}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle.network = TinyClassifier(classes=2).eval()
    return bundle


@pytest.fixture
def images(tmp_path) -> list[Path]:
    """Five small images."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(1, 6):
        coarse = Image.fromarray(random.integers(0, 256, (8, 10), dtype=np.uint8))
        coarse.resize((160, 144)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


class Stages:
    """What began and ended in reading, voting and writing, image by image, and what happens before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = [f"{stage} {number}" for stage in ("read", "vote", "write") for number in range(1, 13)]
        self.began = {name: threading.Event() for name in names}
        self.ended = {name: threading.Event() for name in names}
        self.before: dict[str, Callable[[], object]] = {}
        self.threads: dict[str, set[threading.Thread]] = {"read": set(), "vote": set(), "write": set()}
        self.restart()
        for stage, owner, name in (
            ("read", pipeline, "prepare"),
            ("vote", CertifiedSaliencyInferer, "vote"),
            ("write", cohort, "save_result"),
        ):
            monkeypatch.setattr(owner, name, self._watched(stage, getattr(owner, name)))

    def restart(self) -> None:
        """The next image of each stage is its first."""
        self._numbers = {stage: count(1) for stage in self.threads}

    def _watched(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **settings: Any) -> Any:
            name = f"{stage} {next(self._numbers[stage])}"
            self.threads[stage].add(threading.current_thread())
            self.began[name].set()
            self.before.get(name, lambda: None)()
            result = function(*arguments, **settings)
            self.ended[name].set()
            return result

        return watched


@pytest.fixture
def stages(monkeypatch) -> Stages:
    return Stages(monkeypatch)


def comes(event: threading.Event) -> None:
    """What a stage raises refuses its image, so the tests look at the refusals."""
    if not event.wait(NEVER_S):
        raise TimeoutError


def never_comes(event: threading.Event) -> None:
    if event.wait(SOON_S):
        raise TimeoutError


def watch_done(monkeypatch: pytest.MonkeyPatch, watched: Callable[[Done, ImageRun], object]) -> None:
    """Whenever an image is done, the writer calls this with what it would have called."""
    made = read_ahead.ReadAhead
    monkeypatch.setattr(cohort, "ReadAhead", lambda *, done, **rest: made(done=lambda run: watched(done, run), **rest))


def certify(images: list[Path], output: Path, bundle: SaliencyBundle, **settings: Any) -> CohortSummary:
    return certify_cohort(images, output, bundle=bundle, show_progress=False, **settings)


def reasons(summary: CohortSummary) -> list[str]:
    """Why each image was refused; "" if it was not."""
    return [result.reason if result.status == "refused" else "" for result in summary.results]


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("reader", "writer"))]


def test_the_files_are_those_of_one_image_at_a_time(images, bundle, tmp_path) -> None:
    with Image.open(images[1]) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(images[1], exif=exif)
    images = [*images[:3], make_dx(tmp_path / "images" / "image.dcm")]
    regions = [parse_region("zone:lower"), parse_region("box:10,20,100,120")]
    for number, path in enumerate(images):
        (tmp_path / str(number)).mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            save(pipeline.certify_image(path, bundle, regions=regions), tmp_path / str(number))
    summary = certify(images, tmp_path / "out", bundle, regions=regions)
    assert [result.number for result in summary.results] == [1, 2, 3, 4] and not summary.refused
    for number, (path, result) in enumerate(zip(images, summary.results)):
        assert result.folder == f"cxr-{file_sha256(path)[:16]}" and result.n_samples == N_SAMPLES
        written = tmp_path / "out" / result.folder
        assert {entry.name for entry in written.iterdir()} == FILES
        for name in FILES:
            assert (written / name).read_bytes() == (tmp_path / str(number) / name).read_bytes(), (number, name)
        record = json.loads((written / "certificate.json").read_text())
        assert result.warnings == record["source"]["warnings"] and ("EXIF" in result.warnings) == (number == 1)
        names = [region["name"] for region in record["regions"]]
        assert [name.split()[0] for name in names[:2]] == ["image", "box"], names


def test_the_next_image_is_read_while_the_network_works(images, bundle, tmp_path, stages) -> None:
    for number in (1, 2):
        stages.before[f"vote {number}"] = lambda next_one=number + 1: comes(stages.ended[f"read {next_one}"])
    assert not any(reasons(certify(images[:3], tmp_path / "out", bundle)))


def test_an_image_is_written_while_the_network_works_on_the_next(images, bundle, tmp_path, stages) -> None:
    for number in (1, 2):
        stages.before[f"write {number}"] = lambda next_one=number + 1: comes(stages.began[f"vote {next_one}"])
    assert not any(reasons(certify(images[:3], tmp_path / "out", bundle)))


def test_only_the_calling_thread_runs_the_network(images, bundle, tmp_path, stages) -> None:
    certify(images[:3], tmp_path / "out", bundle)
    (reader,), (network,), (writer,) = (stages.threads[stage] for stage in ("read", "vote", "write"))
    assert network is threading.current_thread() and len({reader, network, writer}) == 3
    assert not workers()


def test_one_image_is_read_ahead_and_no_more(images, bundle, tmp_path, stages) -> None:
    def read_no_third() -> None:
        comes(stages.ended["read 2"])
        never_comes(stages.began["read 3"])

    stages.before["vote 1"] = read_no_third
    assert not any(reasons(certify(images[:3], tmp_path / "out", bundle)))


def test_two_images_wait_for_their_files_and_no_more(images, bundle, tmp_path, stages) -> None:
    def block_the_fourth() -> None:
        comes(stages.ended["vote 3"])
        never_comes(stages.began["vote 4"])

    stages.before["write 1"] = block_the_fourth
    assert not any(reasons(certify(images[:4], tmp_path / "out", bundle)))


def test_the_lists_are_written_before_the_next_votes_are_there(images, bundle, tmp_path, stages, monkeypatch) -> None:
    """Whoever kills the run while the network works finds every finished image in the lists."""
    listed = threading.Event()
    watch_done(monkeypatch, lambda done, run: (done(run), listed.set()))

    def second() -> None:
        comes(listed)
        (entry,) = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
        (folder,) = json.loads((tmp_path / "out" / "index.json").read_text())["folders"]
        assert entry["number"] == 1 and entry["folder"] == folder

    stages.before["vote 2"] = second
    assert not any(reasons(certify(images[:2], tmp_path / "out", bundle)))


def test_lists_of_a_long_run_cost_no_square_and_are_never_far_behind() -> None:
    written = [results for results in range(1, 20_001) if cohort.lists_are_due(results)]
    assert written[:200] == [*range(1, 200), 200]
    # Each is of all results so far, so the sum of the lengths is the cost; every time it would be 2e8.
    assert sum(written) < 150 * 20_000
    assert all(later - earlier <= max(1, earlier / 99) for earlier, later in pairwise(written))


def test_an_interrupt_between_two_lists_leaves_both_whole(images, bundle, tmp_path, stages, monkeypatch) -> None:
    def interrupt() -> None:
        comes(stages.ended["write 2"])
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "lists_are_due", lambda results: False)
    stages.before["vote 3"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        certify(images, tmp_path / "out", bundle)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [result["number"] for result in summary["results"]] == [1, 2]
    assert list(index["last_run"].values()) == list(map(str, images[:2]))
    assert set(index["folders"]) == {result["folder"] for result in summary["results"]}


def test_the_index_gets_back_what_a_killed_run_did_not_write(images, bundle, tmp_path) -> None:
    certify(images[:2], tmp_path / "out", bundle)
    index = tmp_path / "out" / "index.json"
    whole = json.loads(index.read_text())["folders"]
    index.write_text(json.dumps({"folders": {}, "last_run": {}}))
    shutil.copy(images[0], images[2])
    results = certify(images[:3], tmp_path / "out", bundle).results
    assert [result.kept for result in results] == [True, True, False] and results[2].reason == "the same film as 1."
    assert set(json.loads(index.read_text())["folders"]) == set(whole)
    # A copy of a file elsewhere does not take its place.
    index.write_text(json.dumps({"folders": whole, "last_run": {}}))
    certify(images[2:3], tmp_path / "out", bundle)
    assert json.loads(index.read_text())["folders"] == whole


@pytest.mark.parametrize("moment", ["read 2", "vote 1", "write 1"])
def test_a_map_is_drawn_over_the_picture_that_it_is_of(images, bundle, tmp_path, stages, moment) -> None:
    """Whatever becomes of the file meanwhile."""
    expected = certify(images[:1], tmp_path / "undisturbed", bundle).results[0]
    stages.restart()
    stages.before[moment] = lambda: shutil.copy(images[4], images[0])
    result = certify(images[:2], tmp_path / "out", bundle).results[0]
    assert result.folder == expected.folder != f"cxr-{file_sha256(images[0])[:16]}"
    for name in FILES:
        undisturbed = (tmp_path / "undisturbed" / result.folder / name).read_bytes()
        assert (tmp_path / "out" / result.folder / name).read_bytes() == undisturbed, name


def test_finishing_an_image_needs_nothing_of_its_device(images, bundle) -> None:
    """There it would wait for the votes of the next image; torch's meta device gives no values at all."""
    prepared = pipeline.prepare(images[0], bundle)
    votes, spec = bundle.inferer.vote(prepared.image, bundle.network)
    elsewhere = dataclasses.replace(prepared, image=prepared.image.to("meta"))
    here, there = (pipeline.finish(found, bundle, votes=votes, spec=spec) for found in (prepared, elsewhere))
    np.testing.assert_array_equal(here.picture.share, there.picture.share)
    np.testing.assert_array_equal(here.picture.top_k_mask, there.picture.top_k_mask)
    assert here.record == there.record


def test_a_capture_joins_the_study_that_was_read(images, bundle, tmp_path, stages) -> None:
    """A file that is replaced meanwhile puts nobody else's name on the picture."""
    folder = tmp_path / "images"
    paths = [make_dx(folder / f"{n}.dcm", seed=n, elements={"PatientName": f"P{n}"}) for n in (1, 2)]
    read = pydicom.dcmread(paths[0])
    stages.before["vote 1"] = lambda: shutil.copy(paths[1], paths[0])
    first, _ = certify(paths, tmp_path / "out", bundle).results
    capture = pydicom.dcmread(tmp_path / "out" / first.folder / "overlay.dcm")
    assert pydicom.dcmread(paths[0]).PatientName == "P2"
    assert capture.PatientName == "P1" and capture.StudyInstanceUID == read.StudyInstanceUID
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == read.SOPInstanceUID


def test_a_file_that_changes_before_it_is_read_is_the_one_that_is_read(images, bundle, tmp_path, stages) -> None:
    """Folder, hash and pixels are of one reading."""
    stages.before["read 1"] = lambda: shutil.copy(images[4], images[0])
    (result,) = certify(images[:1], tmp_path / "out", bundle).results
    record = json.loads((tmp_path / "out" / result.folder / "certificate.json").read_text())
    assert record["source"]["file_sha256"] == file_sha256(images[4]) == file_sha256(images[0])
    assert result.folder == f"cxr-{file_sha256(images[4])[:16]}"


def full() -> None:
    raise OSError(28, "No space left on device")


def test_a_failed_read_and_a_failed_write_stop_nothing(images, bundle, tmp_path, stages) -> None:
    images[1].write_bytes(b"no picture")
    images[2].unlink()
    # The third image whose votes are there.
    stages.before["write 2"] = full
    summary = certify(images, tmp_path / "out", bundle)
    none, text, missing, disk, last = reasons(summary)
    assert none == last == "" and "no known image format" in text
    assert "could not be opened" in missing and "No space left" in disk
    assert [result.number for result in summary.results] == [1, 2, 3, 4, 5]
    good = {result.folder for result in summary.results if result.status != "refused"}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {*good, "summary.json", "index.json"}
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [entry["reason"] for entry in written["results"]] == [result.reason for result in summary.results]
    assert written["totals"]["complete"] and written["totals"]["refused"] == 3


def test_the_same_file_again_is_passed_over_before_its_votes(images, bundle, tmp_path, stages) -> None:
    """Although the first one is not written when the second is read."""
    shutil.copy(images[0], images[1])
    stages.before["write 1"] = lambda: comes(stages.ended["read 2"])
    first, second, third = certify(images[:3], tmp_path / "out", bundle).results
    assert (first.status, second.status, third.status) == ("abstain", "same film", "abstain")
    assert second.reason == "the same film as 1."
    assert not second.folder and not stages.began["vote 3"].is_set()
    assert not any(result.kept for result in (first, second, third))
    totals = json.loads((tmp_path / "out" / "summary.json").read_text())["totals"]
    assert [totals[name] for name in ("inputs", "abstained", "refused", "same_film", "kept")] == [3, 2, 0, 1, 0]
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["folders"][first.folder] == str(images[0])
    again = certify(images[:2], tmp_path / "out", bundle, overwrite=True)
    assert [result.folder for result in again.results] == [first.folder, ""] and again.refused == 0
    earlier = certify(images[:2], tmp_path / "out", bundle)
    assert [result.status for result in earlier.results] == ["abstain", "same film"]
    assert [result.kept for result in earlier.results] == [True, False]


def test_the_same_file_again_is_certified_if_the_first_was_not(images, bundle, tmp_path, stages) -> None:
    shutil.copy(images[0], images[1])
    stages.before["write 1"] = full
    first, second = certify(images[:2], tmp_path / "out", bundle).results
    assert "No space left" in first.reason and second.folder == f"cxr-{file_sha256(images[0])[:16]}"


def test_a_result_of_a_faster_run_is_refused_with_the_same_sentence(images, bundle, tmp_path, stages) -> None:
    folder = f"cxr-{file_sha256(images[1])[:16]}"
    stages.before["write 2"] = lambda: (tmp_path / "out" / folder / "theirs").mkdir(parents=True)
    _, result = certify(images[:2], tmp_path / "out", bundle).results
    earlier = certify([images[1]], tmp_path / "out", bundle).results[0]
    assert result.reason == earlier.reason and folder in result.reason and "--overwrite" in result.reason
    assert (tmp_path / "out" / folder / "theirs").exists()


class Bar(tqdm):
    """A bar that the tests can look at, and that an impatient user can stop."""

    last: Bar
    at_update: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        Bar.last = self

    def update(self, n: float | None = 1) -> bool | None:
        Bar.at_update()
        return super().update(n)


@pytest.fixture
def bar(monkeypatch) -> type[Bar]:
    monkeypatch.setattr(read_ahead, "tqdm", Bar)
    monkeypatch.setattr(Bar, "at_update", staticmethod(lambda: None))
    return Bar


def test_an_interrupt_leaves_whole_results_and_no_thread(images, bundle, tmp_path, stages, bar, monkeypatch) -> None:
    """Two images wait for their files when the third one's votes are interrupted."""
    interrupted = threading.Event()

    def interrupt() -> None:
        if stages.began["vote 3"].is_set():
            comes(stages.began["write 1"])
            comes(stages.began["read 4"])
            interrupted.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(bar, "at_update", staticmethod(interrupt))
    stages.before["write 1"] = lambda: comes(interrupted)
    filters = list(warnings.filters)
    with pytest.raises(KeyboardInterrupt):
        certify_cohort(images, tmp_path / "out", bundle=bundle)
    assert not workers() and warnings.filters == filters
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["totals"]["inputs"], summary["totals"]["complete"]) == (5, False)
    folders = {entry["folder"] for entry in summary["results"]}
    assert len(folders) == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == folders | {"summary.json", "index.json"}
    for folder in folders:
        assert {path.name for path in (tmp_path / "out" / folder).iterdir()} == FILES
    assert not stages.began["read 5"].is_set()
    monkeypatch.undo()
    assert not any(reasons(certify(images[2:], tmp_path / "out", bundle)))


def test_the_bar_ends_full_whatever_was_refused(images, bundle, tmp_path, stages, bar, capsys) -> None:
    images[0].write_bytes(b"no picture")
    shutil.copy(images[1], images[2])
    stages.before["write 2"] = full
    statuses = [result.status for result in certify_cohort(images, tmp_path / "out", bundle=bundle).results]
    assert statuses == ["refused", "abstain", "same film", "refused", "abstain"]
    assert bar.last.n == bar.last.total == 3 * N_SAMPLES
    assert "image 5/5" in capsys.readouterr().err


def test_lists_that_cannot_be_written_end_the_run(images, bundle, tmp_path, stages, monkeypatch) -> None:
    """At once: two more images at most are voted on."""
    failed = threading.Event()

    def watched(done: Done, run: ImageRun) -> None:
        try:
            done(run)
        except InputRefused:
            failed.set()
            raise

    watch_done(monkeypatch, watched)
    stages.before["write 2"] = lambda: (tmp_path / "out" / "index.json").write_text("garbage")
    stages.before["vote 3"] = lambda: comes(failed)
    with pytest.raises(InputRefused, match=r"index\.json in the output folder is damaged"):
        certify(images, tmp_path / "out", bundle)
    assert not stages.began["vote 5"].is_set() and not workers()


def test_the_time_of_an_image_is_that_of_its_own_work(images, bundle, tmp_path, monkeypatch) -> None:
    """On a clock that ticks once a look in each thread, every step of an image takes one second."""
    own, threads = threading.local(), count(1)

    def ticking() -> float:
        own.seconds = 1 + (own.seconds if hasattr(own, "seconds") else 1000 * next(threads))
        return float(own.seconds)

    monkeypatch.setattr(read_ahead, "time", SimpleNamespace(monotonic=ticking))
    images[1].write_bytes(b"no picture")
    assert [result.elapsed_s for result in certify(images[:3], tmp_path / "out", bundle).results] == [3, 1, 3]


def test_two_threads_never_invert_the_preprocessing_at_once(images, bundle, tmp_path, monkeypatch) -> None:
    """MONAI changes the shared transforms meanwhile. The reader inverts for regions, the writer for the map."""
    inside: list[str] = []
    together = threading.Event()
    switched = monai_post.allow_missing_keys_mode

    @contextmanager
    def watched(transform: Any) -> Iterator[None]:
        inside.append(threading.current_thread().name)
        if len(inside) > 1:
            together.set()
        if inside[0].startswith("writer"):
            together.wait(SOON_S)
        with switched(transform):
            yield
        inside.pop()

    monkeypatch.setattr(monai_post, "allow_missing_keys_mode", watched)
    summary = certify(images[:3], tmp_path / "out", bundle, regions=[parse_region("zone:upper")])
    assert not together.is_set() and not any(reasons(summary))
    assert not any(step.allow_missing_keys for step in bundle.preprocessing.transforms)


def test_the_reader_means_the_callers_gpu(images, bundle, tmp_path, stages, monkeypatch) -> None:
    """A current GPU is a thread's own, and "cuda" names it."""
    chosen: list[tuple[int, threading.Thread]] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: chosen.append((index, threading.current_thread())))
    monkeypatch.setattr(bundle, "device", torch.device("cuda"))
    assert not any(reasons(certify(images[:1], tmp_path / "out", bundle)))
    assert chosen == [(3, *stages.threads["read"])]
