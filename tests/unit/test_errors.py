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
