"""What a measurement depends on: machine, threads, versions, commit."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from monai_robustinterp._version import __version__

_PACKAGES = ("torch", "monai", "numpy", "scipy")


def surroundings(device: str, root: Path, *, packages: Sequence[str] = ()) -> dict[str, Any]:
    """``machine``, ``versions``, ``commit``, ``uncommitted_changes`` and ``date``, JSON values.

    Args:
        device: "cpu" or "cuda".
        root: of the repository whose commit is named.
        packages: others whose versions matter.
    """
    changed = _git(root, "status", "--porcelain")
    names = dict.fromkeys((*_PACKAGES, *packages))
    return {
        "machine": machine(device),
        "versions": {"python": platform.python_version(), "monai_robustinterp": __version__}
        | {name: _version(name) for name in names},
        "commit": _git(root, "rev-parse", "HEAD") or "unknown",
        "uncommitted_changes": bool(changed) if changed is not None else None,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def machine(device: str) -> dict[str, Any]:
    """The processor that is timed and how torch uses it."""
    found: dict[str, Any] = {
        "device": device,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
    }
    if device == "cuda":
        cudnn: Any = torch.backends.cudnn
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": cudnn.version(),
            "convolutions": cudnn.conv.fp32_precision,
            "cudnn_benchmark": cudnn.benchmark,
        }
    return found


def surroundings_text(found: Mapping[str, Any]) -> str:
    """One sentence without a final stop, from :func:`surroundings`."""
    place = found["machine"]
    gpu = ""
    if "gpu" in place:
        gpu = f"{place['gpu']}, CUDA {place['cuda']}, cuDNN {place['cudnn']}, products {place['convolutions']}; "
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    changed = ", with uncommitted changes" if found["uncommitted_changes"] else ""
    return (
        f"{gpu}{place['processor']}, {_some(place['cores'], 'core')}, {_some(place['threads'], 'thread')}, "
        f"{place['vector_instructions']}; {versions}; commit {found['commit']}{changed}; {found['date']}"
    )


def core_times() -> tuple[float, ...]:
    """Time of all cores since the start, by use (proc_stat(5)); empty where the system does not say."""
    lines = Path("/proc/stat").read_text().splitlines() if Path("/proc/stat").exists() else []
    return tuple(float(field) for field in lines[0].split()[1:9]) if lines else ()


def stolen_share(since: tuple[float, ...]) -> float:
    """Share of the cores' time that the host gave to other guests since ``core_times()`` was as given."""
    spent = [now - before for now, before in zip(core_times(), since)]
    total = sum(spent, start=0.0)
    return spent[7] / total if len(spent) == 8 and total else 0.0


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return str(version(name))
    except PackageNotFoundError:
        return "not installed"


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command; None where there is no repository."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()
