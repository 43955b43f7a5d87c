"""A network's values at places of a line or a plane, between which they are affine, carried through its calls.

As in :mod:`~monai_robustinterp.interpreters.context.relevance_rules` the rules go to the calls of torch functions, so
that functional calls and layers that are used twice are seen for what they are. A call without a rule is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from monai_robustinterp.attention.tape import Tape
from monai_robustinterp.attention.windows import Windows
from monai_robustinterp.errors import InputRefused

SHAPES = ("contiguous", "flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view")
"""Calls that keep the order of the numbers."""
SAME = (
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("chunk", "getitem", "mean", "permute", "split", "sum", "transpose", "neg"),
)
"""Linear calls of one operand, without a constant part."""
CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
JOINED = ("cat", "concat", "concatenate")
SUMS = {"add": 1, "iadd": 1, "radd": 1, "sub": -1, "isub": -1, "subtract": -1}
PRODUCTS = ("mul", "imul", "rmul", "multiply", "div", "idiv", "truediv", "itruediv", "divide")
_COLUMNS = 1 << 20
"""Numbers that a convolution may lay out at once: what does not fit the cache takes several times as long."""


class Rows:
    """Values at m places, [m, ...]; to the network they are one image, [1, ...].

    Args:
        value: affine between the places.
        places: of the rows.
        tape: of the pass.
        node: number of the call that gave it.
        rectified: whether an activation made it, so that an exact 0 has no gradient.
    """

    def __init__(self, value: torch.Tensor, places: Any, tape: Tape, node: int, *, rectified: bool = False) -> None:
        self.value, self.places, self.tape, self.node, self.rectified = value, places, tape, node, rectified

    @property
    def shape(self) -> torch.Size:
        """Of one image, as of a tensor."""
        return torch.Size([1, *self.value.shape[1:]])

    @property
    def ndim(self) -> int:
        """As of a tensor."""
        return self.value.ndim

    def dim(self) -> int:
        """As of a tensor."""
        return self.value.ndim

    def size(self, dim: int | None = None) -> Any:
        """As of a tensor."""
        return self.shape if dim is None else self.shape[dim]

    def here(self) -> torch.Tensor:
        """The values at all places of the tape."""
        return self.tape.lifted(self.value, self.places)

    def linear(self, value: torch.Tensor, back: Callable[[torch.Tensor], torch.Tensor], **more: Any) -> Rows:
        """What a linear call made of it."""
        node = self.tape.node([self.node], lambda gradient: [back(gradient)])
        return Rows(value, self.places, self.tape, node, **more)

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
    if name in SHAPES or name in SAME:
        one, *rest = args if args else (kwargs.pop("input"),)
        return (_reshaped if name in SHAPES else _same)(func, one, rest, kwargs)
    if name in CONVOLUTIONS:
        return _convolution(func, CONVOLUTIONS[name], *args, **kwargs)
    if name in JOINED:
        return _joined(*args, **kwargs)
    if name in SUMS:
        return _sum(name, *args, **kwargs)
    if name in PRODUCTS and len(args) == 2 and not kwargs and not isinstance(args[1], Rows):
        one, factor = args
        value = _of_one_image(func(one.value, factor), one)
        return one.linear(value, lambda gradient: _as_shape(func(gradient, factor), one))
    rule = _RULES.get(name)
    if rule is None:
        raise InputRefused(
            f"the network calls {name!r}, which is not piecewise linear or has no rule here: exact verification knows "
            "convolutions, linear layers, batch norms, ReLU, leaky ReLU, max and average pooling, sums and "
            "concatenation. Use `certify`, which makes a claim on any network."
        )
    return rule(*args, **kwargs)


def _of_one_image(value: torch.Tensor, *parents: Rows) -> torch.Tensor:
    if value.ndim == 0 or len(value) != len(parents[0].value) or any(one.ndim != value.ndim for one in parents):
        raise _mixed()
    return value


def _mixed() -> InputRefused:
    return InputRefused("the network mixes the images of a batch, so that no image has a line of its own.")


def _as_shape(gradient: torch.Tensor, one: Rows) -> torch.Tensor:
    """The gradient [patterns, ...] of a broadcast value, for what was broadcast."""
    return gradient.sum_to_size(len(gradient), *one.value.shape[1:])


def _reshaped(func: Any, one: Rows, args: Sequence[Any], kwargs: dict[str, Any]) -> Rows:
    shape = func(torch.empty(one.shape, device="meta"), *args, **kwargs).shape
    if not shape or shape[0] != 1:
        raise _mixed()
    value = one.value.reshape(len(one.value), *shape[1:])
    return one.linear(value, lambda gradient: gradient.reshape(len(gradient), *one.value.shape[1:]))


def _same(func: Any, one: Rows, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    value, alone = (func(part, *args, **kwargs) for part in (one.value, torch.empty(one.shape, device="meta")))
    several = isinstance(value, tuple | list)
    found = []
    for number, (part, single) in enumerate(zip(value, alone) if several else [(value, alone)]):
        if single.ndim == 0 or single.shape[0] != 1 or part.shape != (len(one.value), *single.shape[1:]):
            raise _mixed()

        def back(gradient: torch.Tensor, number: int = number) -> torch.Tensor:
            with torch.enable_grad():
                start = gradient.new_zeros((len(gradient), *one.value.shape[1:])).requires_grad_()
                end = func(start, *args, **kwargs)
            return torch.autograd.grad(end[number] if several else end, start, gradient)[0]

        found.append(one.linear(part, back, rectified=one.rectified and several))
    return tuple(found) if several else found[0]


def _linear(input: Any, weight: Any, bias: Any = None) -> Rows:
    if not isinstance(input, Rows):
        raise _weights()
    return input.linear(functional.linear(input.value, weight, bias), lambda gradient: gradient @ weight)


def _weights() -> InputRefused:
    return InputRefused("the network has weights that depend on the image, which is not piecewise linear.")


def _convolution(
    func: Any,
    dimensions: int,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Rows:
    if not isinstance(input, Rows):
        raise _weights()
    shape = input.value.shape[1:]
    single = func(torch.empty(input.shape, device="meta"), weight.to("meta"), None, stride, padding, dilation, groups)
    columns = math.prod(weight.shape[1:]) * math.prod(single.shape[2:])
    step = max(1, _COLUMNS // columns)
    value = input.value.new_empty((len(input.value), *single.shape[1:]))
    for i in range(0, len(value), step):
        value[i : i + step] = func(input.value[i : i + step], weight, bias, stride, padding, dilation, groups)

    def back(gradient: torch.Tensor) -> torch.Tensor:
        start = gradient.new_empty(1).expand(len(gradient), *shape)
        if isinstance(padding, str):
            with torch.enable_grad():
                start = gradient.new_zeros((len(gradient), *shape)).requires_grad_()
                end = func(start, weight, None, stride, padding, dilation, groups)
            return torch.autograd.grad(end, start, gradient)[0]
        each = [[one] * dimensions if isinstance(one, int) else list(one) for one in (stride, padding, dilation)]
        none = [0] * dimensions
        found: tuple[torch.Tensor, ...] = torch.ops.aten.convolution_backward(
            gradient, start, weight, None, *each, False, none, groups, [True, False, False]
        )
        return found[0]

    return input.linear(value, back)


def _joined(parts: Sequence[Any], dim: int = 0) -> Rows:
    if not all(isinstance(one, Rows) for one in parts):
        raise InputRefused("the network joins features with constants, for which exact verification has no rule.")
    tape = parts[0].tape
    if dim % parts[0].ndim == 0:
        raise _mixed()
    value = torch.cat([one.here() for one in parts], dim)
    sizes = [one.shape[dim] for one in parts]
    node = tape.node([one.node for one in parts], lambda gradient: gradient.split(sizes, dim))
    return Rows(value, tape.places, tape, node, rectified=all(one.rectified for one in parts))


def _sum(name: str, one: Any, other: Any, *, alpha: float = 1) -> Rows:
    factor = SUMS[name] * alpha
    terms = [(part, k) for part, k in ((one, 1), (other, factor)) if isinstance(part, Rows)]
    tape = terms[0][0].tape
    left, right = (part.here() if isinstance(part, Rows) else part for part in (one, other))
    value = left + factor * right
    if len(value) != tape.n_rows or any(part.ndim != value.ndim for part, _ in terms):
        raise _mixed()
    node = tape.node(
        [part.node for part, _ in terms], lambda gradient: [_as_shape(k * gradient, part) for part, k in terms]
    )
    return Rows(value, tape.places, tape, node)


def _batch_norm(
    input: Rows,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Rows:
    if training or running_mean is None:
        raise InputRefused("a batch norm takes statistics of its batch: use a network with running statistics.")
    scale = (running_var + eps).rsqrt()
    scale = (scale if weight is None else scale * weight).reshape(1, -1, *[1] * (input.ndim - 2))
    value = functional.batch_norm(input.value, running_mean, running_var, weight, bias, eps=eps)
    return input.linear(value, lambda gradient: gradient * scale)


def _leaky_relu(input: Rows, negative_slope: float = 0.01, inplace: bool = False) -> Rows:
    layer, value = input.tape.activation(input.here(), negative_slope)
    node = input.tape.switch(input.node, layer)
    return Rows(value, input.tape.places, input.tape, node, rectified=negative_slope == 0)


def _relu(input: Rows, inplace: bool = False) -> Rows:
    return _leaky_relu(input, 0.0)


def _dropout(input: Rows, p: float = 0.5, training: bool = True, inplace: bool = False) -> Rows:
    if training:
        raise InputRefused("a dropout layer draws at random in evaluation too: exact verification needs one function.")
    return input


def _max_pool2d(
    input: Rows,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Rows:
    if ceil_mode or return_indices:
        raise InputRefused("a max pooling has ceil_mode or return_indices, for which exact verification has no rule.")
    geometry = (_pair(kernel_size), _pair(stride or kernel_size), _pair(padding), _pair(dilation))
    windows = Windows(*geometry, size=_pair(input.value.shape[2:]))
    layer, value = input.tape.pooling(input.here(), windows, rectified=input.rectified)
    node = input.tape.switch(input.node, layer)
    return Rows(value, input.tape.places, input.tape, node, rectified=input.rectified)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


_RULES: dict[str, Callable[..., Rows]] = {
    "batch_norm": _batch_norm,
    "dropout": _dropout,
    "dropout2d": _dropout,
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
    "relu": _relu,
}
