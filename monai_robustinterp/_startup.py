"""The first thing that the command does: from here on a signal ends it with a sentence, imports included."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_COMMANDS = frozenset({"monai-robustinterp", "monai-robustinterp.exe", "monai-robustinterp-script.py"})
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def watch_signals() -> None:
    """Lets SIGINT and SIGTERM end the command, if this process is one; in any other one nothing changes."""
    by_module = sys.argv[:1] == ["-m"] and "monai_robustinterp" in sys.orig_argv
    if not by_module and os.path.basename(sys.argv[0] if sys.argv else "") not in _COMMANDS:
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> NoReturn:
    os.write(2, b"monai-robustinterp: interrupted; nothing was written\n")
    os._exit(128 + number)


watch_signals()
