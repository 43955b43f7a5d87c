"""Commands ``python -m MODULE`` in this process: the start of another one takes seconds of CPU time."""

from __future__ import annotations

import os
import runpy
import sys
import warnings

import pytest
import torch


def run_module(module: str, *arguments: object) -> None:
    """Run ``python -m MODULE ARGUMENTS``, and leave the process as it was.

    For tests of what a command does: one of how a process starts or ends needs a process.

    Args:
        module: its dotted name.
        arguments: of its command line.

    Raises:
        SystemExit: as the command does.
    """
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(), warnings.catch_warnings():
        patch.setattr(sys, "argv", [module, *map(str, arguments)])
        # The bench puts another folder there.
        patch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"])
        # Warnings of a command are its user's; in tests they are errors.
        warnings.simplefilter("default")
        runpy.run_module(module, run_name="__main__", alter_sys=True)
