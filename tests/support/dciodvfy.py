"""The validator of DICOM files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.shared import require_tool


def dciodvfy_errors(path: Path) -> list[str]:
    """The error lines of dciodvfy for a file."""
    run = subprocess.run([require_tool("dciodvfy"), str(path)], capture_output=True, text=True, errors="replace")
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]
