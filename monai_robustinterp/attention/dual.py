"""A network's values on a line and their derivatives by the line's parameter, carried through its calls together.

As in :mod:`~monai_robustinterp.interpreters.context.relevance_rules` the rules go to the calls of torch functions, so
that functional calls and layers that are used twice are seen for what they are. A call without a rule is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.nn import functional

from monai_robustinterp.attention.switches import Forced, SwitchLayer
from monai_robustinterp.errors import InputRefused

SAME = (
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("chunk", "contiguous", "flatten", "getitem", "mean", "permute", "reshape", "split", "squeeze", "sum"),
    *("transpose", "unflatten", "unsqueeze", "view", "neg"),
)
"""Linear calls of one operand, without a constant part: they do the same with value and derivative."""
LINEAR = ("linear", "conv1d", "conv2d", "conv3d")
JOINED = ("cat", "concat", "concatenate")
SUMS = {"add": 1, "iadd": 1, "radd": 1, "sub": -1, "isub": -1, "subtract": -1}
PRODUCTS = ("mul", "imul", "rmul", "multiply", "div", "idiv", "truediv", "itruediv", "divide")


class Pass:
    """One pass of a network over points of a line: what its calls report.

    Args:
        forced: switches whose state is given.

    Attributes:
        layers: switches in the order of the calls.
        winners: the winning option of each window, int64 [B, windows]; None for activations.
    """

    def __init__(self, forced: Forced | None = None) -> None:
        self._forced = forced or {}
        self.layers: list[SwitchLayer] = []
        self.winners: list[torch.Tensor | None] = []

    def start(self, value: torch.Tensor, slope: torch.Tensor) -> Dual:
        """The network's input, [B, C, H, W] each."""
        return Dual(value, slope, self)

    def force(self, states: torch.Tensor) -> torch.Tensor:
        """The states [B, n] of the next layer's switches, with those that are given put in."""
        number = len(self.layers)
        given = [(index, state) for (layer, index), state in self._forced.items() if layer == number]
        if given:
            states = states.clone()
            for index, state in given:
                states[:, index] = state
        return states

    def report(self, layer: SwitchLayer, winner: torch.Tensor | None) -> None:
        """Adds a layer."""
        self.layers.append(layer)
        self.winners.append(winner)


class Dual:
    """Values at B points of a line, and their derivatives by the line's parameter, of one shape [B, ...].

    Args:
        value: may carry a graph of autograd.
        slope: carries none.
        run: the pass that it belongs to.
        rectified: whether an activation made it, so that an exact 0 has no gradient.
    """

    def __init__(self, value: torch.Tensor, slope: torch.Tensor, run: Pass, *, rectified: bool = False) -> None:
        self.value, self.slope, self.run, self.rectified = value, slope, run, rectified

    @property
    def shape(self) -> torch.Size:
        """As of a tensor."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """As of a tensor."""
        return self.value.ndim

    def dim(self) -> int:
        """As of a tensor."""
        return self.value.ndim

    def size(self, dim: int | None = None) -> Any:
        """As of a tensor."""
        return self.value.shape if dim is None else self.value.shape[dim]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A tensor's method, as the call of a function."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: _call(name, getattr(torch.Tensor, name, None), (self, *args), kwargs)

    def __getitem__(self, index: Any) -> Any:
        return _call("getitem", torch.Tensor.__getitem__, (self, index), {})

    def __add__(self, other: Any) -> Any:
        return _call("add", torch.add, (self, other), {})

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return _call("sub", torch.sub, (self, other), {})

    def __mul__(self, other: Any) -> Any:
        return _call("mul", torch.mul, (self, other), {})

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _call("div", torch.div, (self, other), {})

    def __neg__(self) -> Any:
        return _call("neg", torch.neg, (self,), {})

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """What torch runs in place of each call of one of its functions."""
        return _call(getattr(func, "__name__", "").strip("_"), func, args, kwargs or {})


def _call(name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = name.rstrip("_")
    if name in SAME:
        return _same(func, args, kwargs)
    if name in LINEAR:
        return _linear(func, *args, **kwargs)
    if name in JOINED:
        return _joined(*args, **kwargs)
    if name in SUMS:
        return _sum(name, *args, **kwargs)
    if name in PRODUCTS and len(args) == 2 and not kwargs and not isinstance(args[1], Dual):
        one, factor = args
        return Dual(func(one.value, factor), func(one.slope, factor), one.run)
    rule = _RULES.get(name)
    if rule is None:
        raise InputRefused(
            f"the network calls {name!r}, which is not piecewise linear or has no rule here: exact verification knows "
            "convolutions, linear layers, batch norms, ReLU, leaky ReLU, max and average pooling, sums and "
            "concatenation. Use `certify`, which makes a claim on any network."
        )
    return rule(*args, **kwargs)


def _same(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    one = args[0] if args else kwargs.pop("input")
    value, slope = func(one.value, *args[1:], **kwargs), func(one.slope, *args[1:], **kwargs)
    parts = value if isinstance(value, tuple | list) else [value]
    if any(part.ndim == 0 or len(part) != len(one.value) for part in parts):
        raise InputRefused("the network mixes the images of a batch, so that no image has a line of its own.")
    if isinstance(value, tuple | list):
        return tuple(Dual(v, s, one.run, rectified=one.rectified) for v, s in zip(value, slope))
    return Dual(value, slope, one.run)


def _linear(func: Any, input: Dual, weight: torch.Tensor, bias: Any = None, *args: Any, **kwargs: Any) -> Dual:
    if not isinstance(input, Dual):
        raise InputRefused("the network has weights that depend on the image, which is not piecewise linear.")
    value, slope = func(input.value, weight, bias, *args, **kwargs), func(input.slope, weight, None, *args, **kwargs)
    return Dual(value, slope, input.run)


def _joined(parts: Sequence[Any], dim: int = 0) -> Dual:
    duals = list(_duals(parts))
    if len(duals) != len(parts):
        raise InputRefused("the network joins features with constants, for which exact verification has no rule.")
    rectified = all(one.rectified for one in duals)
    value, slope = torch.cat([one.value for one in duals], dim), torch.cat([one.slope for one in duals], dim)
    return Dual(value, slope, duals[0].run, rectified=rectified)


def _duals(parts: Iterable[Any]) -> Iterable[Dual]:
    return (one for one in parts if isinstance(one, Dual))


def _sum(name: str, one: Any, other: Any, *, alpha: float = 1) -> Dual:
    factor = SUMS[name] * alpha
    run = next(iter(_duals([one, other]))).run
    left, right = (part.value if isinstance(part, Dual) else part for part in (one, other))
    value = left + factor * right
    slopes = [k * part.slope for k, part in ((1, one), (factor, other)) if isinstance(part, Dual)]
    slope = sum(slopes[1:], slopes[0])
    return Dual(value, slope.expand_as(value), run)


def _batch_norm(
    input: Dual,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Dual:
    if training or running_mean is None:
        raise InputRefused("a batch norm takes statistics of its batch: use a network with running statistics.")
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    value = functional.batch_norm(input.value, running_mean, running_var, weight, bias, eps=eps)
    return Dual(value, input.slope * scale.reshape(1, -1, *[1] * (input.ndim - 2)), input.run)


def _leaky_relu(input: Dual, negative_slope: float = 0.01, inplace: bool = False) -> Dual:
    gap, slope = input.value.detach().flatten(1), input.slope.flatten(1)
    on = input.run.force(gap > 0).bool()
    input.run.report(SwitchLayer(gap, slope, on), None)
    on = on.reshape(input.shape)
    value, slope = (
        part.where(on, negative_slope * part if negative_slope else 0.0) for part in (input.value, input.slope)
    )
    return Dual(value, slope, input.run, rectified=negative_slope == 0)


def _relu(input: Dual, inplace: bool = False) -> Dual:
    return _leaky_relu(input, 0.0)


def _dropout(input: Dual, p: float = 0.5, training: bool = True, inplace: bool = False) -> Dual:
    if training:
        raise InputRefused("a dropout layer draws at random in evaluation too: exact verification needs one function.")
    return input


def _max_pool2d(
    input: Dual,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Dual:
    if ceil_mode or return_indices:
        raise InputRefused("a max pooling has ceil_mode or return_indices, for which exact verification has no rule.")
    geometry = {"kernel_size": kernel_size, "stride": stride or kernel_size, "dilation": dilation}
    kernels, strides, dilations = (_pair(geometry[key]) for key in ("kernel_size", "stride", "dilation"))
    rows, columns = _pair(padding)
    batch, channels, _, width = input.shape
    _, places = functional.max_pool2d(input.value.detach(), **geometry, padding=padding, return_indices=True)
    shape, outputs = places.shape, places.shape[2] * places.shape[3]

    def windows(values: torch.Tensor, fill: float) -> torch.Tensor:
        padded = functional.pad(values, (columns, columns, rows, rows), value=fill)
        return functional.unfold(padded, **geometry).reshape(batch, channels, -1, outputs)

    def option(place: torch.Tensor, side: int, pad: int) -> torch.Tensor:
        start = torch.arange(shape[2 + side], device=places.device) * strides[side] - pad
        return (place - (start[:, None] if side == 0 else start)) // dilations[side]

    winner = option(places // width, 0, rows) * kernels[1] + option(places % width, 1, columns)
    winner = input.run.force(winner.flatten(1)).reshape(batch, channels, 1, outputs)
    value, slope = windows(input.value, -torch.inf), windows(input.slope, 0.0)
    best, steepness = value.gather(2, winner), slope.gather(2, winner)
    gap, change = (best - value).detach(), steepness - slope
    # What is padded never wins. An exact 0 of a ReLU has no gradient, so that it wins only where the winner's own ReLU
    # goes off. The winner itself, and ties of the same values on the whole line, have gap and slope 0.
    idle = torch.isinf(gap)
    if input.rectified:
        idle |= (value.detach() == 0) & (slope == 0)
    gap, change = gap.masked_fill_(idle, 0.0), change.masked_fill_(idle, 0.0)
    every = torch.arange(channels * outputs, device=gap.device).reshape(channels, 1, outputs).expand(gap.shape[1:])
    entry = torch.arange(gap.shape[2], device=gap.device)[None, :, None].expand(gap.shape[1:])
    on = torch.ones_like(gap, dtype=torch.bool).flatten(1)
    window = (every.flatten(), entry.flatten())
    input.run.report(SwitchLayer(gap.flatten(1), change.flatten(1), on, window), winner.flatten(1))
    return Dual(best.reshape(shape), steepness.reshape(shape), input.run, rectified=input.rectified)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


_RULES: dict[str, Callable[..., Dual]] = {
    "batch_norm": _batch_norm,
    "dropout": _dropout,
    "dropout2d": _dropout,
    "leaky_relu": _leaky_relu,
    "max_pool2d": _max_pool2d,
    "relu": _relu,
}
