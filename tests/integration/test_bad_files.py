"""Vote files and certificates that are none, or made to do harm: a sentence from each command, in little memory."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_robustinterp.files import json_bytes
from tests.support.records import make_arrays, make_masks, make_record, make_run

MOST_KIB = 2e9 / 1024
PROGRAM = """
import contextlib, io, json, sys, time
from monai_robustinterp.cli.main import main
for name, command in json.load(open(sys.argv[1])):
    out, err, start = io.StringIO(), io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peak = int(status["VmHWM"].split()[0])
    print(json.dumps([name, command[0], code, out.getvalue(), err.getvalue(), time.perf_counter() - start, peak]))
"""


def archive(*members: tuple[str, bytes, int], method: int = 8, flags: int = 0) -> bytes:
    """A zip archive of (name, packed bytes, declared size), written by hand so that it may lie."""
    body, directory, start = [], [], 0
    for name, packed, size in members:
        common = struct.pack("<5H3I2H", 20, flags, method, 0, 0, 0, len(packed), size, len(name), 0)
        directory.append(b"PK\1\2\x14\0" + common + struct.pack("<3H2I", 0, 0, 0, 0, start) + name.encode())
        body.append(b"PK\3\4" + common + name.encode() + packed)
        start += len(body[-1])
    count, size = min(len(members), 0xFFFF), sum(map(len, directory))
    end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, count, count, size, start, 0)
    return b"".join([*body, *directory, end])


def crowded(n_entries: int) -> bytes:
    """A directory of that many empty names, and nothing else."""
    entry, size = archive(("", b"", 0))[30:76], 46 * n_entries
    return entry * n_entries + b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 0xFFFF, 0xFFFF, size, 0, 0)


def zeros(n_mebibytes: int) -> bytes:
    """A deflate stream of that many mebibytes of zeros: one block, repeated."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * n_mebibytes + zlib.compressobj(wbits=-15).flush()


def npy(shape: str, values: bytes, kind: str = "<i8") -> bytes:
    """An array as numpy writes it, of any claimed shape."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + values


def names(*given: tuple[str, bytes, int]) -> list[tuple[str, bytes, int]]:
    """The members, and empty ones of all other names that the format must have."""
    required = (
        *("format", "counts", "n_samples", "top_k", "input_shape", "image_sha256", "logits", "decision"),
        *("found_copies", "tied_copies", "constant_copies", "pairs", "spec", "provenance"),
    )
    rest = {f"{name}.npy" for name in required} - {name for name, _, _ in given}
    return [*given, *((name, b"\3\0", 0) for name in sorted(rest))]


HUGE = npy("(99999999, 99999999)", b"x")
BITS = npy("(2, 8388608)", b"x", "|u1")
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no archive": lambda: b"Doe^John 1970",
    "pickle": lambda: pickle.dumps({"counts": 1}),
    "bomb of 3 GiB": lambda: archive(*names(("counts.npy", zeros(3072), 3 * 2**30))),
    "bomb that says it is small": lambda: archive(*names(("counts.npy", zeros(3072), 2**25))),
    "bomb of copies": lambda: archive(*names(("copy_votes.npy", zeros(32), 2**25))),
    "copies of a claimed shape": lambda: archive(*names(("copy_votes.npy", BITS, len(BITS))), method=0),
    "bomb of many arrays": lambda: archive(
        *names(*((f"{name}.npy", zeros(32), 2**25) for name in ("counts", "region_cells", "region_hits")))
    ),
    "1.4 million entries": lambda: crowded(1_400_000),
    "two of one name": lambda: archive(*names(("counts.npy", b"\3\0", 0), ("counts.npy", b"\3\0", 0))),
    "a claimed shape": lambda: archive(*names(("counts.npy", HUGE, len(HUGE))), method=0),
    "lzma": lambda: archive(*names(("counts.npy", b"\3\0", 0)), method=14),
    "encrypted": lambda: archive(*names(("counts.npy", b"\3\0", 0)), flags=1),
    "no arrays but texts": lambda: archive(("readme.txt", b"\3\0", 0)),
    "an end that claims another directory": lambda: archive(*names())[:-10] + b"\xff" * 8 + b"\0\0",
}


def nested(depth: int) -> np.ndarray:
    return np.array("[" * depth + "]" * depth)


def text(good: dict[str, Any], name: str, old: str, new: str) -> dict[str, Any]:
    assert old in str(good[name])
    return {name: np.array(str(good[name]).replace(old, new))}


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "100,000 brackets": lambda good: {"spec": np.array("[" * 10**5)},
    "30,000 brackets": lambda good: {"spec": np.array("[" * 30000)},
    "500 brackets in the spec": lambda good: {"spec": nested(500)},
    "500 brackets in the provenance": lambda good: {"provenance": nested(500)},
    "500 brackets of the regions": lambda good: {"regions": nested(500)},
    "an infinite logit": lambda good: {"logits": np.array([0.3, np.inf], np.float32)},
    "a logit that is NaN": lambda good: {"logits": np.array([np.nan, 1], np.float32)},
    "an infinite sigma": lambda good: text(good, "spec", '"sigma": 0.1', '"sigma": Infinity'),
    "a sigma beyond floats": lambda good: text(good, "spec", '"sigma": 0.1', '"sigma": 1e999'),
    "a region that is NaN": lambda good: text(good, "regions", "0.75", "NaN"),
    "a number of 5,000 digits": lambda good: text(good, "spec", '"seed": 0', '"seed": ' + "9" * 5000),
    "a foreign array": lambda good: {"later": np.zeros(3)},
    "1,000 foreign arrays": lambda good: {f"later{i}": np.zeros(3) for i in range(1000)},
    "objects": lambda good: {"logits": np.array([{}], dtype=object)},
    "real counts": lambda good: {"counts": good["counts"] * 1.0},
    "no counts": lambda good: {"counts": np.zeros((0, 4), np.int64)},
    "pairs of 4 million cells": lambda good: {
        "counts": np.zeros((2048, 2048), np.int64),
        "copy_votes": np.zeros((16, 2**19), np.uint8),
        "pairs": np.array(True),
    },
    "records": lambda good: {"n_samples": np.zeros((), [("a", np.int64)])},
    "a long text": lambda good: {"image_sha256": np.array("a" * 10**5)},
}


def write_bad_files(folder: Path, good: dict[str, Any]) -> list[Path]:
    """Vote files that must be refused."""
    paths = [folder / name for name in (*ARCHIVES, *CHANGES, "cut", "sparse", "pipe")]
    for path in paths:
        if path.name in ARCHIVES:
            path.write_bytes(ARCHIVES[path.name]())
        elif path.name in CHANGES:
            with path.open("wb") as file:
                np.savez_compressed(file, **good | CHANGES[path.name](good))
    content = (folder / "100,000 brackets").read_bytes()
    (folder / "cut").write_bytes(content[: len(content) // 2])
    os.mkfifo(folder / "pipe")
    with (folder / "sparse").open("wb") as file:
        file.truncate(3 * 2**30)
    return paths


def run_all(commands: list[tuple[str, list[str]]], folder: Path) -> list[list[Any]]:
    """Runs commands one after another in a process of its own: outcomes, seconds and peak memory in KiB after each."""
    (folder / "commands.json").write_text(json.dumps(commands))
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM, str(folder / "commands.json")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    """Arrays of an honest run, whose certificate.json lies in ``tmp_path``."""
    run = make_run(make_masks(m=16), regions=1)
    (tmp_path / "certificate.json").write_bytes(json_bytes(make_record(*run)))
    return make_arrays(*run, tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_each_bad_vote_file_is_one_sentence_of_both_commands(tmp_path: Path, good: dict[str, Any]) -> None:
    certificate, output = str(tmp_path / "certificate.json"), ["--output", str(tmp_path / "curve.png")]
    commands = []
    for path in write_bad_files(tmp_path, good):
        commands += [(path.name, ["verify", certificate, str(path)]), (path.name, ["curve", str(path), *output])]
    outcomes = run_all(commands, tmp_path)
    assert len(outcomes) == len(commands)
    wrong = [
        outcome
        for outcome in outcomes
        if not (outcome[2:4] == [1, ""] and outcome[4].count("\n") == 1 and len(outcome[4]) < 250)
        or not outcome[4].startswith("monai-robustinterp: the vote file ")
        or "Doe" in outcome[4]
        or outcome[5] > 5
    ]
    assert wrong == []
    assert outcomes[-1][-1] < MOST_KIB
    assert not (tmp_path / "curve.png").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_the_largest_vote_files_that_are_read_fit_into_2_gb(tmp_path: Path, good: dict[str, Any]) -> None:
    """As many bytes as may be read, of distinct counts and of regions: they contradict themselves, which is said."""
    rng = np.random.default_rng(0)
    arrays = good | {
        "counts": rng.integers(2**40, 2**60, (2048, 2048)),
        "region_cells": np.ones((7, 2048, 2048), bool),
        "regions": np.array(json.dumps([{"name": "box", "seen": 1.0}] * 7)),
        "region_hits": np.zeros((7, 5), np.int64),
    }
    del arrays["copy_votes"], arrays["copy_found"]
    with (tmp_path / "large").open("wb") as file:
        np.savez(file, **arrays)
    with (tmp_path / "copies").open("wb") as file:
        np.savez(file, **largest_copies(good))
    certificate, output = str(tmp_path / "certificate.json"), ["--output", str(tmp_path / "curve.png")]
    commands = [
        ("large", ["verify", certificate, str(tmp_path / "large")]),
        ("large", ["curve", str(tmp_path / "large"), *output]),
        ("copies", ["verify", certificate, str(tmp_path / "copies")]),
        ("copies", ["curve", str(tmp_path / "copies"), *output]),
    ]
    verified, drawn, of_copies, _ = outcomes = run_all(commands, tmp_path)
    assert [outcome[2] for outcome in outcomes] == [1, 1, 1, 0]
    assert "verified: " in of_copies[3] and outcomes[-1][-1] < MOST_KIB
    assert "votes.npz contradicts itself: the counts sum to" in verified[3] and drawn[4].count("\n") == 1
    assert drawn[-1] < MOST_KIB, f"{drawn[-1]} KiB"


def largest_copies(good: dict[str, Any]) -> dict[str, Any]:
    """As many copies of as many cells as the format has, with pairs; each votes for the same 4 cells."""
    m = 2**17
    counts = np.zeros((32, 32), np.int64)
    counts[0, :4] = m
    votes = np.zeros((m, 128), np.uint8)
    votes[:, 0] = 0b11110000
    plain = {name: array for name, array in good.items() if not name.startswith("region")}
    return plain | {
        "counts": counts,
        "n_samples": np.array(m),
        "input_shape": np.array([128, 128]),
        "spec": np.array(str(good["spec"]).replace('"n_samples": 16', f'"n_samples": {m}')),
        "pairs": np.array(True),
        "found_copies": np.array(m),
        "copy_votes": votes,
        "copy_found": np.full(m // 8, 255, np.uint8),
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_each_bad_certificate_is_one_sentence(tmp_path: Path, good: dict[str, Any]) -> None:
    honest = (tmp_path / "certificate.json").read_text()
    texts = {
        "deep": "[" * 10**5,
        "deep inside": honest.replace('"beta": "0.5"', '"beta": ' + "[" * 500 + "]" * 500),
        "infinite": honest.replace('"beta": "0.5"', '"beta": Infinity'),
        "texts that do not end": '"\\' * 10**6,
        "cut": honest[:-100],
    }
    for name, content in texts.items():
        assert content != honest
        (tmp_path / name).write_text(content)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(3 * 2**30)
    os.mkfifo(tmp_path / "pipe")
    votes = str(tmp_path / "votes.npz")
    outcomes = run_all([(n, ["verify", str(tmp_path / n), votes]) for n in (*texts, "sparse", "pipe")], tmp_path)
    wrong = [
        outcome
        for outcome in outcomes
        if outcome[2:4] != [1, ""] or outcome[4].count("\n") != 1 or "the certificate" not in outcome[4]
    ]
    assert wrong == [] and len(outcomes) == len(texts) + 2
    assert outcomes[-1][-1] < MOST_KIB
