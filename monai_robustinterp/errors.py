"""The exception that says "this is not explained": what was found, the rule, and what to do."""

from __future__ import annotations

import dis
import errno
import logging
from collections.abc import Iterable
from types import TracebackType

_OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    # Of NVIDIA's libraries; the last one is what torch says when no convolution of cuDNN finds room to work in.
    *("_STATUS_ALLOC_FAILED", "_ALLOCATION_FAILED", "unable to find an engine"),
)
_NETWORK_RUNS = frozenset({"torch.nn.modules.module", "torch.autograd", "torch.autograd.graph"})
_INTERPRETER_CALLS = ("monai_robustinterp.interpreters.base", "monai_robustinterp.run.compare")
_LONGEST_MESSAGE = 300
_RAISE = dis.opmap["RAISE_VARARGS"]

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

logger = logging.getLogger(__name__)


class InputRefused(ValueError):
    """A file that the reader will not turn into an image.

    The message says what was found, which rule it breaks, and what to do. It holds no patient data: no values of DICOM
    text elements other than modality and body-part codes, and no file name, since file names may hold patient names.

    Attributes:
        path: the refused file, for callers that may show it; it is not part of the message.
    """

    path: str = ""


def own_message(error: BaseException) -> str | None:
    """The message of the ValueError of this package that is behind an error; None if there is none.

    Only these messages are known to hold no patient data. MONAI wraps what its transforms and its configuration raise.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValueError) and _by_statement(cause) and raised_in(cause).startswith("monai_robustinterp"):
            return str(cause)
        cause = cause.__cause__
    return None


def of_users_transform(error: BaseException, hidden: Iterable[str]) -> InputRefused | None:
    """What a transform of the user's preprocessing raised, in its own words; None for errors that have a sentence.

    A transform is given the metadata of its image, and may quote them.

    Args:
        error: that came out of MONAI, which wraps it.
        hidden: texts that must not be repeated: path, file name, identifiers.
    """
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if own_message(error) is not None or isinstance(cause, OSError) or out_of_memory(cause):
        return None
    words = " ".join(str(cause).split())
    for text in sorted((text for text in hidden if text), key=len, reverse=True):
        words = words.replace(text, "[...]")
    where = raised_in(cause)
    return InputRefused(
        f"the bundle's preprocessing raised {type(cause).__name__}{f' in {where}' if where else ''}: "
        f"{words[:_LONGEST_MESSAGE] or 'without a message'}"
    )


def raised_in(error: BaseException) -> str:
    """Name of the module that raised an error; empty if it was never raised."""
    trace = _origin(error)
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""


def _by_statement(error: BaseException) -> bool:
    """Whether a ``raise`` raised it; what ``int(text)`` raises quotes the text, and has no module of its own."""
    trace = _origin(error)
    return trace is not None and trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE


def _origin(error: BaseException) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host had no memory left; torch has a class of its own for some of these only."""
    # By name: the process that reads files takes its errors from here, and has no torch.
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


def _whose(error: BaseException) -> str:
    """Whose code failed, by the calls that led to the error; "" if it is this package's, or not known."""
    modules = []
    trace = error.__traceback__
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    if not _NETWORK_RUNS.isdisjoint(modules):
        return "the network"
    ours = [i for i, module in enumerate(modules) if module.startswith("monai_robustinterp")]
    below = modules[ours[-1] + 1 :] if ours else []
    # An interpreter of this package calls libraries, and one from elsewhere is called by it.
    elsewhere = bool(below) and below[0].partition(".")[0] not in ("torch", "monai", "numpy")
    return "the interpreter" if elsewhere and modules[ours[-1]] in _INTERPRETER_CALLS else ""


def refusal_reason(error: Exception) -> str:
    """Why one input or method of many was not done, in a sentence without patient data."""
    ours = own_message(error)
    if ours is not None:
        return ours
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return (
            f"the disk is full ({error.strerror}), so the result was not written: free some space and run it again; "
            "finished results are kept."
        )
    if isinstance(error, OSError):
        return f"the file cannot be read or the result not written ({error.strerror}): check the path and permissions."
    if out_of_memory(error):
        return "the device ran out of memory: take a smaller batch size, a smaller image or another device."
    logger.debug("unexpected failure", exc_info=error)
    if whose := _whose(error):
        # Network and interpreter are given tensors only, so that their messages can quote no text of a file.
        words = " ".join(str(error).split())[:_LONGEST_MESSAGE]
        return f"{whose} raised {type(error).__name__}: {words or 'without a message'}"
    return f"unexpected {type(error).__name__} in {raised_in(error)}; please report it."
