"""CPU seconds and memory of one image, for each method, at several sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.interpreters.plan import Method, Plan
from monai_robustinterp import SaliencyBundle
from monai_robustinterp.interpreters import Interpreter, explaining, make_interpreter
from monai_robustinterp.interpreters.base import IterativeInterpreter
from monai_robustinterp.study import memory

BARE = "bare network, forward and backward"
REPEATS = 3
# A method of many passes is timed over so many of them: each pass does the same.
TIMED_STEPS = 20


def measure(plan: Plan, bundle: SaliencyBundle, image: torch.Tensor) -> list[dict[str, Any]]:
    """A row a method and size.

    Args:
        plan: methods and sizes.
        bundle: the classifier.
        image: float [1, H, W], resized to each size.
    """
    rows = []
    for side in plan.sides:
        resized = nn.functional.interpolate(image[None], size=(side, side), mode="bilinear", align_corners=False)
        rows.append({"method": BARE, "side": side, **_bare(bundle.network, resized)})
        for method in plan.methods:
            rows.append({"method": method.label, "side": side, **_cost(method, bundle, resized)})
            print(f"  {side} px, {method.label}: {rows[-1]}", flush=True)
    return rows


def _bare(network: nn.Module, inputs: torch.Tensor) -> dict[str, Any]:
    def once() -> None:
        x = inputs.clone().requires_grad_()
        torch.autograd.grad(network(x)[:, 0].sum(), x)

    with explaining(network):
        return _timed(once, repeats=REPEATS) | {"scaled_from": None}


def _cost(method: Method, bundle: SaliencyBundle, inputs: torch.Tensor) -> dict[str, Any]:
    interpreter = make_interpreter(method.name, known=bundle.interpreter_arguments, settings=method.settings)
    timed, scale = _shortened(interpreter, bundle, method)

    def once() -> None:
        timed.attribute(bundle.network, inputs.clone(), 0)

    with explaining(bundle.network):
        found = _timed(once, repeats=1 if scale > 1 else REPEATS)
    found["seconds"] *= scale
    return found | {"scaled_from": timed.n_steps if isinstance(timed, IterativeInterpreter) and scale > 1 else None}


def _shortened(interpreter: Interpreter, bundle: SaliencyBundle, method: Method) -> tuple[Interpreter, float]:
    """The interpreter with fewer steps, and what its time is to be multiplied by."""
    if not isinstance(interpreter, IterativeInterpreter) or interpreter.n_steps <= TIMED_STEPS:
        return interpreter, 1.0
    steps = "n_masks" if "n_masks" in interpreter.settings else "iterations"
    settings = {**method.settings, steps: TIMED_STEPS}
    shorter = make_interpreter(method.name, known=bundle.interpreter_arguments, settings=settings)
    return shorter, interpreter.n_steps / TIMED_STEPS


def _timed(run: Callable[[], None], *, repeats: int) -> dict[str, Any]:
    """Fastest of the repeats, and the peak of memory above what was held before."""
    run()
    device = torch.device("cpu")
    before = memory.reset_peak(device)
    seconds = []
    for _ in range(repeats):
        # Of the process: on a shared host the clock tells less.
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds), "megabytes": (memory.peak(device) - before) / 2**20}
