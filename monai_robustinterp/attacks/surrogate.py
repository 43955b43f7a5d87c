"""ReLUs with a second derivative, for as long as an attack needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_RELUS = (torch.relu, torch.relu_, torch.nn.functional.relu, torch.Tensor.relu, torch.Tensor.relu_)
_IN_PLACE = (torch.relu_, torch.Tensor.relu_)


class SoftplusCurvature(TorchFunctionMode):
    """Within this context a ReLU has the second derivative of a softplus; everything else of it stays.

    The gradient map of a ReLU network is piecewise constant, so its own derivative is zero almost everywhere and tells
    an attack nothing. The literature attacks a copy of the network with softplus for ReLU (Dombrowski et al. 2019,
    arXiv:1906.07983); its maps differ from the network's, the more the deeper it is. Here values and first derivatives
    remain the ReLU's, so that each iterate is judged by the true map, and only the missing second derivative is
    softplus'': ``beta s (1 - s)`` with ``s = sigmoid(beta x)``.

    It intercepts the calls themselves, of modules and of ``torch.nn.functional``, in place or not. The network is never
    touched, so there is nothing to restore. The inside of a TorchScript module is out of its reach.

    Args:
        beta: sharpness of the softplus in units of 1 / pre-activation, > 0; its bump is about 4 / beta wide.

    Raises:
        ValueError: if beta is not > 0.
    """

    def __init__(self, beta: float = 50.0) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta is {beta}; the sharpness of the softplus must be > 0.")
        self.beta = beta

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replaces the calls of a ReLU."""
        named = kwargs or {}
        if func not in _RELUS:
            return func(*args, **named)
        source = args[0] if args else named["input"]
        in_place = func in _IN_PLACE or (func is torch.nn.functional.relu and (*args[1:], named.get("inplace"))[0])
        if not in_place:
            return _relu(source, self.beta)
        # Written back, because the caller may go on with the tensor that it passed.
        return source.copy_(_relu(source.clone(), self.beta))


def _relu(x: torch.Tensor, beta: float) -> torch.Tensor:
    rectified: torch.Tensor = _Relu.apply(x, beta)  # type: ignore[no-untyped-call]
    return rectified


class _Relu(torch.autograd.Function):
    """ReLU whose derivative is :class:`_Step`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, beta: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.beta = beta
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        stepped: torch.Tensor = _Step.apply(x, outer[0], ctx.beta)  # type: ignore[no-untyped-call]
        return stepped, None


class _Step(torch.autograd.Function):
    """``outer * (x > 0)``, with the derivative of ``outer * sigmoid(beta x)`` with respect to x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, outer: torch.Tensor, beta: float) -> torch.Tensor:
        ctx.save_for_backward(x, outer)
        ctx.beta = beta
        return outer * (x > 0)

    @staticmethod
    def backward(ctx: Any, *outermost: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, outer = ctx.saved_tensors
        s = torch.sigmoid(ctx.beta * x)
        return outermost[0] * outer * (ctx.beta * s * (1 - s)), outermost[0] * (x > 0), None
