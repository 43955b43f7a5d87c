"""The program that reads files, in a process of its own: a file that ends it, or takes too much, ends nothing else.

:mod:`~monai_robustinterp.io.read.decoder` starts it with this file's path. It answers requests on stdin until that
ends. It never sees torch or MONAI, whose import takes seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import types
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    """Answers requests until there are no more."""
    _leave_out_hosts()
    from monai_robustinterp.io.read import limits
    from monai_robustinterp.io.read.messages import receive, send

    # Decoders print to stdout, where the answers go.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # The process that asks decides when this one ends: by the end of the requests.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Both may quote the file.
    warnings.simplefilter("ignore")
    logging.disable()
    limits.limit_memory()
    while (request := receive(sys.stdin.buffer)) is not None:
        limits.start_clock()
        job, content = request[0], bytes(request[1])
        del request
        head, body = _answer(job, content)
        limits.stop_clock()
        send(answers, head, body)
        del content, body


def _leave_out_hosts() -> None:
    """Stands in for the packages whose __init__ imports torch and MONAI; their modules are found as ever."""
    root = Path(__file__).parents[2]
    for name, folder in ((root.name, root), (f"{root.name}.io", root / "io")):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def _answer(job: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    from monai_robustinterp.errors import InputRefused
    from monai_robustinterp.io.read import jobs

    try:
        return jobs.JOBS[job["job"]](job, content)
    except InputRefused as refused:
        reason = str(refused)
    except MemoryError:
        reason = (
            "Reading the file takes more than 2 GB of memory, more than the largest radiograph needs; it was made to "
            "do harm, or is damaged. Copy or export it again."
        )
    except Exception as error:  # host libraries raise anything for a file that contradicts itself
        reason = (
            f"The file could not be read ({type(error).__name__}); its parts must agree with each other and with the "
            "standard of its format. It is damaged: copy or export it again."
        )
    return {"refused": reason}, b""


if __name__ == "__main__":
    main()
