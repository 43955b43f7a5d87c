"""Peak memory of a piece of work above what was held before: of the process on a CPU, of torch's allocator on a GPU."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def readable(device: torch.device) -> bool:
    """Whether peaks can be read: on a CPU they take Linux's /proc, whose peak can be reset."""
    return device.type == "cuda" or _CLEAR.exists()


def reset_peak(device: torch.device) -> int:
    """Resets the peak; returns the bytes that are held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    # What was freed goes back to the system first: else the work that reuses it would seem to need none.
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text("5")
    return _status("VmRSS")


def peak(device: torch.device) -> int:
    """Bytes at the peak since :func:`reset_peak`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])
