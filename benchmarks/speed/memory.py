"""Peak memory of a contender above what was held after loading and a warm-up.

On the CPU each case is a process of its own: ``python -m benchmarks.speed.memory CASE`` prints one line of JSON. Its
peak is VmHWM of /proc, reset after the warm-up; ru_maxrss would start at the peak of the process that started it. The
threshold above which malloc maps pages stays at its first value there: as it grows of itself, what is freed goes to
the system or not by the history of the process, which moves peaks by tens of MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.places import ROOT
from benchmarks.speed.contenders import CONTENDERS
from benchmarks.speed.measure import Row, best_row
from benchmarks.speed.models import Case, load_case
from benchmarks.speed.plan import TINY, Plan
from monai_robustinterp.study import memory

TINY_SIDE, TINY_BATCH = 32, 64
MMAP_THRESHOLD = 128 * 1024


def cases(plan: Plan, rates: Sequence[Row], names: Sequence[str]) -> Iterator[Row]:
    """What is measured: ``part``, ``model``, ``side``, ``contender``, ``batch`` and ``n_samples``.

    Args:
        plan: of the run.
        rates: its timings, which tell each contender's best batch.
        names: of the contenders.
    """
    first, batch = plan.models[0], plan.memory_batch
    for model in plan.models:
        base = {"model": model.key, "side": model.side}
        for name in plan.memory_names or names:
            best = best_row(rates, model.key, name)["batch"]
            yield {"part": "best batch", **base, "contender": name, "batch": best, "n_samples": model.n_samples}
        for n_samples in model.one_batch:
            yield {"part": "one batch", **base, "contender": "captum", "batch": None, "n_samples": n_samples}
    ours = {"contender": "ours", "batch": batch}
    for n_samples in plan.memory_samples:
        yield {"part": "samples", "model": first.key, "side": first.side, **ours, "n_samples": n_samples}
    for n_samples in plan.tiny_samples:
        tiny = {"model": TINY, "side": TINY_SIDE, "contender": "ours", "batch": TINY_BATCH}
        yield {"part": "samples", **tiny, "n_samples": n_samples}
    for side in plan.sides:
        yield {"part": "pixels", "model": first.key, "side": side, **ours, "n_samples": 2 * batch}


def measure(plan: Plan, rates: Sequence[Row], names: Sequence[str], device: str) -> list[Row]:
    """The cases with ``before_mb``, ``peak_mb`` and ``added_mb``, or ``left_out``, the reason."""
    if not memory.readable(torch.device(device)):
        return [{"part": "none", "left_out": "this system has no /proc/self/clear_refs, which the measurement needs"}]
    rows = []
    for case in cases(plan, rates, names):
        rows.append(case | (in_child(case) if device == "cpu" else peak_of(case, device)))
        print(f"  memory: {rows[-1]}", flush=True)
    return rows


def peak_of(case: Row, device: str) -> dict[str, float]:
    """Loads the model of a case and measures in this process."""
    return added_memory(load_case(case["model"], case["side"], device), case)


def added_memory(loaded: Case, case: Row) -> dict[str, float]:
    """Peak above what the process, or the GPU's allocator, held before, in MB (10**6 bytes).

    Args:
        loaded: what the contender works on.
        case: ``contender``, ``batch`` and ``n_samples``.
    """
    contender, batch = CONTENDERS[case["contender"]], case["batch"]
    with contender(loaded, batch or 1, batch) as run:
        run()
    before = memory.reset_peak(loaded.image.device)
    with contender(loaded, case["n_samples"], batch) as run:
        run()
    peak = memory.peak(loaded.image.device)
    return {"before_mb": before / 1e6, "peak_mb": peak / 1e6, "added_mb": (peak - before) / 1e6}


def in_child(case: Row) -> dict[str, Any]:
    """Peak memory of a case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed.memory", json.dumps(case)]
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD)}
    child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if child.returncode:
        # The system ends a process that takes all its memory with signal 9, without a word.
        last = (child.stderr.strip().splitlines() or [""])[-1]
        return {"left_out": f"the process ended with code {child.returncode}. {last}".strip()}
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    print(json.dumps(peak_of(json.loads(sys.argv[1]), "cpu")))
