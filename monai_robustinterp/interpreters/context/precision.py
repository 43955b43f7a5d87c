"""The precision that a network runs in, set for the time of a run.

The rest of it is float32 in each: noise, copies, what an interpreter makes of the network's answers, cells, votes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from monai_robustinterp.interpreters.context.torchscript import devices
from monai_robustinterp.types import Precision

_NVIDIA = "NVIDIA_TF32_OVERRIDE"
# By variable, the values that leave it to torch.
_OVERRIDES = {_NVIDIA: {"0"}, "ONEDNN_DEFAULT_FPMATH_MODE": {"STRICT"}, "DNNL_DEFAULT_FPMATH_MODE": {"STRICT"}}
_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def running_in(network: nn.Module, precision: Precision) -> Iterator[None]:
    """Lets a network run in a precision, and puts back what that changes, after an exception too.

    - ``float32``: convolutions and matrix products multiply float32 values. On GPUs torch rounds those of convolutions
      to TF32, 10 bits behind the point, unless it is told not to.
    - ``tf32``: they are rounded to TF32 on a CUDA device that can.
    - ``bfloat16``: the network's forward pass is under ``torch.autocast``, and its logits leave it as float32.

    cuDNN takes algorithms that give the same result each time. An autocast that the caller is in has no effect inside;
    one that the network opens by itself is refused before any vote
    (:mod:`~monai_robustinterp.smoothing.network_check`). The TF32 settings are the process's: other threads have them
    too, and torch's older way to read them (``allow_tf32``, ``cudnn.flags``) may raise inside.

    Args:
        network: with float32 weights.
        precision: one of these.

    Raises:
        ValueError: if the network cannot run in it where its weights are, or a variable of the environment overrules
            it.
    """
    with ExitStack() as stack:
        for device_type in _AUTOCAST:
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        _refuse_overrides(precision)
        if precision == "tf32":
            check_tf32(network)
        if precision == "bfloat16":
            stack.enter_context(_autocast_forward(network, _device(network, precision).type))
        stack.enter_context(float32_products("tf32" if precision == "tf32" else "ieee"))
        stack.enter_context(_repeatable_kernels())
        yield


@contextmanager
def float32_products(kind: str) -> Iterator[None]:
    """How convolutions and matrix products of float32 values are computed, in the whole process.

    Args:
        kind: ``ieee`` or ``tf32``.
    """
    of: Any = torch.backends
    # From the general to the special: a setting that nobody made follows the one above it.
    settings = (
        *(of, of.cudnn, of.cudnn.conv, of.cudnn.rnn, of.cuda.matmul),
        *(of.mkldnn.conv, of.mkldnn.rnn, of.mkldnn.matmul),
    )
    changed: list[tuple[Any, str]] = []
    try:
        for setting in settings:
            before = setting.fp32_precision
            # One that follows already is left alone: what is once written follows no more.
            if before != kind:
                setting.fp32_precision = kind
                changed.append((setting, before))
        yield
    finally:
        for setting, before in reversed(changed):
            setting.fp32_precision = before


@contextmanager
def _repeatable_kernels() -> Iterator[None]:
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _refuse_overrides(precision: Precision) -> None:
    """Refuses variables of the environment that overrule, in the libraries below torch, what torch is told."""
    for name, as_told in _OVERRIDES.items():
        value = os.environ.get(name)
        wrong = value is not None and (value.upper() not in as_told or (precision == "tf32" and name == _NVIDIA))
        if wrong:
            raise ValueError(
                f"the environment variable {name} is {value!r}: it can change what the network computes in, so that "
                f"precision {precision!r} would not be true. Unset it."
            )


def has_tf32(device: torch.device) -> bool:
    """Whether it can round the factors of products to TF32."""
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return torch.cuda.is_tf32_supported()


def _device(network: nn.Module, precision: Precision) -> torch.device:
    """The one device of the network's weights."""
    found_on = devices(network)
    if len(found_on) == 1:
        return found_on.pop()
    found = f"weights on {sorted(map(str, found_on))}" if found_on else "no weights"
    raise ValueError(
        f"precision is {precision!r} and the network has {found}; it needs weights on one device, for which torch can "
        "change the precision. Choose 'float32', which needs none."
    )


def check_tf32(network: nn.Module) -> None:
    """Refuses a network that is on no device with TF32 (ValueError)."""
    device = _device(network, "tf32")
    if device.type != "cuda":
        raise ValueError(
            f"precision is 'tf32' and the network is on {device.type}; TF32 is a format of CUDA devices. Choose "
            "'float32', or put the network on a CUDA device."
        )
    if not has_tf32(device):
        raise ValueError(
            "precision is 'tf32' and this GPU has none: it would compute in float32. Choose 'float32', or a GPU that "
            "has it (Ampere or later)."
        )


@contextmanager
def _autocast_forward(network: nn.Module, device_type: str) -> Iterator[None]:
    with torch.autocast(device_type, dtype=torch.bfloat16):
        if not torch.is_autocast_enabled(device_type):
            raise ValueError(
                f"precision is 'bfloat16' and torch has no bfloat16 on {device_type} here. Choose 'float32', or "
                "another device."
            )
    # Not by setattr and delattr, which TorchScript modules have their own of.
    attributes = vars(network)
    before = {name: value for name, value in attributes.items() if name == "forward"}
    attributes["forward"] = _in_bfloat16(network.forward, device_type)
    try:
        yield
    finally:
        del attributes["forward"]
        attributes.update(before)


def _in_bfloat16(forward: Callable[..., Any], device_type: str) -> Callable[..., Any]:
    def run(*inputs: Any, **named: Any) -> Any:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            logits = forward(*inputs, **named)
        return logits.float() if isinstance(logits, torch.Tensor) else logits

    return run
