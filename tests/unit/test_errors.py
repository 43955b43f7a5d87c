"""Why an input was refused, in a sentence."""

from __future__ import annotations

import torch

from monai_robustinterp.errors import refusal_reason
from tests.support.cases import collected


def test_no_memory_is_said_to_be_that() -> None:
    every_error = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ]
    with collected() as case:
        for error in every_error:
            with case(error):
                assert "ran out of memory: take a smaller batch" in refusal_reason(error)


def test_another_failure_quotes_nothing() -> None:
    assert refusal_reason(RuntimeError("of DOE^JANE")) == "unexpected RuntimeError in ; please report it."
    assert "memory" not in refusal_reason(TypeError("out of memory"))


OWN = """
import contextlib

def rule(text):
    with contextlib.nullcontext():
        try:
            raise ValueError("the rule")
        finally:
            text.strip()

def again(text):
    try:
        rule(text)
    except ValueError as error:
        raise error

def number(text):
    return int(text)

def number_within(text):
    with contextlib.nullcontext():
        try:
            return float(text)
        except TypeError:
            pass
        except ValueError:
            raise
        finally:
            text.strip()
"""


def test_a_rule_of_ours_is_quoted_and_what_python_says_of_a_value_is_not() -> None:
    ours = {"__name__": "monai_robustinterp.somewhere"}
    exec(OWN, ours)
    unknown = "unexpected ValueError in monai_robustinterp.somewhere; please report it."
    expected = {"rule": "the rule", "again": "the rule", "number": unknown, "number_within": unknown}
    assert {name: reason_of(ours[name]) for name in expected} == expected


def reason_of(function) -> str:
    try:
        function("DOE^JANE")
    except ValueError as error:
        return refusal_reason(error)
    raise AssertionError("nothing was raised")
