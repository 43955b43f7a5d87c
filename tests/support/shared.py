"""Where the tests find shared data and external programs: skipped without them, failed in continuous integration."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_SHARED = Path(__file__).resolve().parents[3] / "shared"
_DEFAULT = _SHARED / "data"


def shared_data(name: str) -> Path:
    """Path of a file of the shared data, given relative to its folder (MONAI_ROBUSTINTERP_SHARED_DATA)."""
    path = Path(os.environ.get("MONAI_ROBUSTINTERP_SHARED_DATA", _DEFAULT)) / name
    if not path.exists():
        _missing(f"shared data {name} is not at {path}: set MONAI_ROBUSTINTERP_SHARED_DATA")
    return path


def shared_case(name: str) -> Path:
    """Path of a file of the shared cases, given relative to their folder (MONAI_ROBUSTINTERP_SHARED_CASES)."""
    path = Path(os.environ.get("MONAI_ROBUSTINTERP_SHARED_CASES", _SHARED / "cases")) / name
    if not path.exists():
        _missing(f"shared case {name} is not at {path}: set MONAI_ROBUSTINTERP_SHARED_CASES")
    return path


def require_tool(name: str) -> str:
    """Path of an executable."""
    path = shutil.which(name)
    if path is None:
        _missing(f"the program {name} is not installed")
    return path


def require_folder(path: Path, command: str) -> Path:
    """Path of a folder that a command makes."""
    if not path.is_dir():
        _missing(f"the folder {path.name} is not there: {command}")
    return path


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
