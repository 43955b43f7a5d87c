"""What the process that reads files has spent (proc_pid_stat(5), so on Linux only)."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read import decode_worker, decoder
from monai_robustinterp.io.read.reader import ChestXRayReader


def reading_process() -> Path | None:
    """Its folder in /proc; None before the first file, and where a file has ended it."""
    program = os.fsencode(str(decode_worker.__file__))
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if program in Path("/proc", pid, "cmdline").read_bytes():
            return Path("/proc", pid)
    return None


def peak_bytes() -> int:
    """Most memory that it has had; 0 if there is none."""
    if (process := reading_process()) is None:
        return 0
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return 1024 * int(status.get("VmHWM", "0 kB").split()[0])


def cpu_seconds() -> float:
    """CPU time of this process and of the one that reads."""
    own, process = time.process_time(), reading_process()
    if process is None:
        return own
    user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    return own + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def end_reading() -> None:
    """Ends the process and waits for its end; the next file starts another one."""
    process = reading_process()
    decoder.stop_reading()
    if process is not None:
        os.waitid(os.P_PID, int(process.name), os.WEXITED | os.WNOWAIT)


def read_alone(path: Path) -> dict[str, Any]:
    """Reads one file in a new process: ``said`` ("" if it is read), ``cpu_s`` and ``peak_bytes``."""
    end_reading()
    start, said = cpu_seconds(), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ChestXRayReader().get_data(path)
        except InputRefused as refused:
            said = str(refused)
    return {"said": said, "cpu_s": cpu_seconds() - start, "peak_bytes": peak_bytes()}
