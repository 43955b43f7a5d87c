"""The machinery of the studies: parts that resume, whole pages, text that is never nicer than its number."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from monai_robustinterp.metrics.intervals import Interval
from monai_robustinterp.study import machine, memory, tables
from monai_robustinterp.study.report import write_json, write_page
from monai_robustinterp.study.statistics import mean_interval, paired_difference
from monai_robustinterp.study.store import earlier_votes, keep_votes, kept_arrays, kept_json
from monai_robustinterp.study.timing import Clock
from tests.support.vote_factory import spec_of, vote_map

ROOT = Path(__file__).parents[2]

# Store


def refuse() -> None:
    pytest.fail("made again")


def test_a_part_is_kept_under_its_settings_only(tmp_path) -> None:
    path = tmp_path / "new" / "part.json"
    made = kept_json(path, {"sizes": (1, 2), "sigma": 0.1}, lambda: {"radii": (float("inf"), np.float64(0.5))})
    assert made == {"radii": ["Infinity", 0.5]}
    assert kept_json(path, {"sizes": [1, 2], "sigma": 0.1}, refuse) == made
    assert kept_json(path, {"sizes": (1, 3), "sigma": 0.1}, lambda: None) is None
    # A part may be None, and is kept too.
    assert kept_json(path, {"sizes": (1, 3), "sigma": 0.1}, refuse) is None
    path.write_text('{"settings": {"sizes"')
    assert kept_json(path, {"sizes": (1, 3), "sigma": 0.1}, lambda: 1) == 1


def test_arrays_are_kept_with_their_types(tmp_path) -> None:
    path = tmp_path / "part.npz"
    arrays = {"counts": np.arange(3), "name": "one", "seconds": 0.5}
    first = kept_arrays(path, {"m": 3}, lambda: arrays)
    again = kept_arrays(path, {"m": 3}, refuse)
    assert set(again) == set(first) == set(arrays)
    for name, array in again.items():
        assert array.dtype == first[name].dtype and (array == first[name]).all()
    assert kept_arrays(path, {"m": 4}, lambda: {"counts": np.zeros(1)})["counts"].shape == (1,)


def test_a_part_that_fails_leaves_the_old_one(tmp_path) -> None:
    path = tmp_path / "part.json"
    kept_json(path, {"m": 1}, lambda: "old")
    with pytest.raises(ZeroDivisionError):
        kept_json(path, {"m": 2}, lambda: 1 / 0)
    assert kept_json(path, {"m": 1}, refuse) == "old" and list(tmp_path.iterdir()) == [path]


def test_votes_are_gone_on_with_under_the_same_settings_only(tmp_path) -> None:
    votes = vote_map([8, 7, 1, 0], n_samples=8, top_k=2)
    spec = spec_of(votes)
    path, provenance = tmp_path / "votes.npz", {"torch": "2"}
    assert earlier_votes(path, spec, provenance) is None
    for _ in range(2):
        keep_votes(path, votes, spec, provenance)
    more = dataclasses.replace(spec, n_samples=9)
    assert (earlier_votes(path, more, provenance).counts == votes.counts).all()
    assert earlier_votes(path, dataclasses.replace(spec, seed=spec.seed + 1), provenance) is None
    assert earlier_votes(path, spec, {"torch": "3"}) is None
    assert list(tmp_path.iterdir()) == [path]


# Statistics


def test_the_mean_lies_in_its_interval_which_is_about_four_standard_errors_wide() -> None:
    values = np.random.default_rng(2).normal(size=400)
    found = mean_interval(values.tolist())
    assert found.value == pytest.approx(values.mean()) and found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_a_paired_difference_has_the_interval_of_the_differences() -> None:
    found = paired_difference([0.5, 0.5, 1.0, 0.0], [0.25, 0.25, 0.75, -0.25])
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


# Text


def test_numbers_are_rounded_down_and_abstentions_counted() -> None:
    assert tables.spread([0.12349, 0.0, 0.29999]) == "0.1234 [0, 0.2999], 1 abstain"
    assert tables.spread([0.1, float("inf"), 0.3]) == "0.3000 [0.1000, unbounded]"
    assert tables.radius_text(0.00004) == "0.0000" and tables.radius_text(0.0) == "0"
    assert tables.rounded_down(1.2999) == "1.29" and tables.rounded_up(3.0001) == "3.01"
    assert tables.count_range([7, 7]) == "7" and tables.count_range([1200, 7]) == "7 to 1,200"
    interval = Interval(0.25, -0.5, 1.0, 0.95)
    assert tables.interval_text(interval) == "0.25 [-0.50, 1.00]"
    assert tables.interval_text(interval, signed=True, digits=1) == "+0.2 [-0.5, +1.0]"


def test_strict_json_has_no_infinity() -> None:
    strict = tables.strict({1: np.float64("inf"), "b": [np.int64(3), (True, 0.5)]})
    assert json.dumps(strict, allow_nan=False) == '{"1": "Infinity", "b": [3, [true, 0.5]]}'


def test_points_of_a_list_are_indented() -> None:
    lines = tables.bullet("word " * 40)
    assert lines[0].startswith("- word") and lines[1].startswith("  word") and max(map(len, lines)) <= 118


# Pages, machine, time


def test_a_page_is_written_after_its_pictures(tmp_path) -> None:
    page, picture = tmp_path / "docs" / "page.md", tmp_path / "images" / "one.png"

    class Broken(Figure):
        def savefig(self, file, **settings) -> None:
            file.write(b"half")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_page(page, [["# One"]], pictures={picture: Broken()})
    assert not page.exists() and not list(picture.parent.iterdir())
    for _ in range(2):
        write_page(page, [["# One", ""], [], ["two", "lines"]], pictures={picture: Figure()})
    assert page.read_text() == "# One\n\ntwo\nlines\n" and picture.read_bytes().startswith(b"\x89PNG")
    write_json(tmp_path / "results.json", {"radius": float("inf")})
    assert json.loads((tmp_path / "results.json").read_text()) == {"radius": "Infinity"}


def test_surroundings_name_machine_versions_and_commit(tmp_path, monkeypatch) -> None:
    found = machine.surroundings("cpu", ROOT, packages=("no-such-package",))
    json.dumps(found, allow_nan=False)
    assert found["versions"]["torch"] == torch.__version__ and found["versions"]["no-such-package"] == "not installed"
    found |= {"commit": "abc", "uncommitted_changes": True}
    text = machine.surroundings_text(found)
    assert f"torch {torch.__version__}" in text and "commit abc, with uncommitted changes; " in text
    assert "1 threads" not in text and "1 cores" not in text
    outside = machine.surroundings("cpu", tmp_path)
    assert outside["commit"] == "unknown" and outside["uncommitted_changes"] is None


def test_the_host_s_share_is_of_the_time_since(monkeypatch) -> None:
    spent = iter([(10.0, 0, 0, 5, 0, 0, 0, 1), (20.0, 0, 0, 10, 0, 0, 0, 6), ()])
    monkeypatch.setattr(machine, "core_times", lambda: next(spent))
    since = machine.core_times()
    assert machine.stolen_share(since) == 0.25 and machine.stolen_share(since) == 0.0


def test_a_clock_adds_up_the_runs_of_a_part(monkeypatch) -> None:
    times = iter([0.0, 1.0, 5.0, 7.0, 9.0, 9.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = Clock()
    assert [clock("a", lambda: "x"), clock("a", lambda: "y"), clock("b", lambda: "z")] == ["x", "y", "z"]
    assert clock.seconds == {"a": [1.0, 2.0], "b": [0.5]} and clock.totals == {"a": 3.0, "b": 0.5}


@pytest.mark.skipif(not memory.readable(torch.device("cpu")), reason="this system has no /proc/self/clear_refs")
def test_the_peak_is_that_since_the_reset() -> None:
    device = torch.device("cpu")
    bytearray(b"x") * (150 * 10**6)
    before = memory.reset_peak(device)
    bytearray(b"x") * (60 * 10**6)
    assert memory.peak(device) - before == pytest.approx(60e6, abs=15e6)
