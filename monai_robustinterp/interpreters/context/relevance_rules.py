"""Relevance in place of gradients, through every call that a network makes while a context manager is active.

As with :mod:`~monai_robustinterp.interpreters.context.activation_rules` the rules go to the calls of torch functions,
not to modules: functional calls, modules that are used twice and in-place activations are seen for what they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters.context.activation_rules import Function, by_rule
from monai_robustinterp.interpreters.context.hooks import running_layers

LINEAR = ("linear", "conv1d", "conv2d", "conv3d")
POOLS = ("mean", *(f"{kind}avg_pool{dimensions}d" for kind in ("", "adaptive_") for dimensions in (1, 2, 3)))
MONOTONE = (
    *("celu", "elu", "hardtanh", "leaky_relu", "logsigmoid", "relu", "relu6", "selu", "sigmoid", "softplus"),
    *("softsign", "tanh"),
)
"""Activations of one value each that never fall (a leaky slope below 0 and PReLU are not looked for)."""
CONSTANT = (
    *("add", "iadd", "radd", "sub", "isub", "rsub", "subtract", "mul", "imul", "rmul", "multiply"),
    *("div", "idiv", "itruediv", "truediv", "true_divide", "divide"),
)
"""Arithmetic that has a rule with one operand that depends on the image."""
ROUTING = (
    *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "cat", "chunk", "clone", "concat"),
    *("concatenate", "contiguous", "dropout", "dropout1d", "dropout2d", "dropout3d", "expand", "expand_as", "flatten"),
    *("float", "getitem", "max_pool1d", "max_pool2d", "max_pool3d", "movedim", "pad", "permute", "reshape", "split"),
    *("squeeze", "stack", "to", "transpose", "unflatten", "unsqueeze", "view", "view_as"),
)
"""Calls that copy or choose values: their gradient moves relevance as it is."""


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer as the network calls it, with the batch norm and the average pooling right behind it.

    Attributes:
        inputs: what it reads, [B, ...].
        weight: with the scale of a batch norm; None for a pooling alone.
        bias: with the shift of a batch norm; None for none.
        function: of inputs, weight and bias.
        kind: names of torch's functions, the linear one first.
        first: whether no other convolution or linear layer was called before.
    """

    inputs: torch.Tensor
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    function: Callable[[torch.Tensor, torch.Tensor | None, torch.Tensor | None], torch.Tensor]
    kind: str
    first: bool


LinearRule = Callable[[LinearLayer, torch.Tensor], torch.Tensor]
"""A layer, with its inputs detached, and the relevance of its outputs -> that of its inputs."""


class RelevanceRules(TorchFunctionMode):
    """While the network runs in it, its graph carries relevance back in place of gradients; its results are the same.

    Linear layers have the rule. What gives each output one input (monotone activations, arithmetic with constants, a
    batch norm that follows no convolution) passes its relevance on; what copies or chooses values moves it. Relevance
    is nowhere made, and only the rule loses some.

    Args:
        rule: of the linear layers.
        images: in the batch, B.

    Attributes:
        absorbed: relevance that each layer kept of each image, [B] each, after the backward pass.
    """

    def __init__(self, rule: LinearRule, *, images: int) -> None:
        super().__init__()
        self._images = images
        self.absorbed: list[torch.Tensor] = []
        self._rule = rule
        self._running: list[str] = []
        # The layer behind each output, and the output's version: an output that was overwritten is another one.
        self._layers: Any = WeakIdKeyDictionary()
        self._found_first = False

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Active, and able to name the network's layers."""
        try:
            with running_layers(network) as self._running, self:
                yield
        finally:
            # The graph holds this object, which Python's collector would not see behind the tensors kept here.
            self._layers.clear()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """What torch runs in place of each call of one of its functions."""
        kwargs = kwargs or {}
        carriers = list(_carriers([*args, *kwargs.values()]))
        name = getattr(func, "__name__", "").strip("_")
        if not carriers or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if len(carriers) == 1:
            if name in LINEAR:
                return self._linear(func, name, *args, **kwargs)
            if name in POOLS:
                return self._pool(name, lambda values: func(values, *args[1:], **kwargs), carriers[0])
            if func is nn.functional.batch_norm:
                return self._batch_norm(func, args, kwargs)
            if name in MONOTONE or name in CONSTANT:
                return _passed(func, args, kwargs, carriers[0])
        found = func(*args, **kwargs)
        if name not in ROUTING and list(_carriers([found])):
            raise self._refusal(name, len(carriers))
        return found

    def _linear(
        self, func: Any, name: str, input: torch.Tensor, weight: torch.Tensor, bias: Any = None, *args: Any, **more: Any
    ) -> torch.Tensor:
        def function(values: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
            output: torch.Tensor = func(values, weight, bias, *args, **more)
            return output

        if not input.requires_grad:
            raise self._refusal(f"{name} with weights that depend on the image", 1)
        first, self._found_first = not self._found_first, True
        with torch.no_grad():
            output = function(input, weight, bias)
        return self._tracked(LinearLayer(input, weight, bias, function, name, first), output)

    def _pool(self, name: str, pool: Callable[[torch.Tensor], torch.Tensor], input: torch.Tensor) -> Any:
        """The mean of a linear layer's outputs is a linear layer; else it is one by itself."""
        with torch.no_grad():
            output = pool(input)
        layer = self._layer_behind(input)
        if layer is None:
            alone = LinearLayer(input, None, None, lambda values, *_: pool(values), name, False)
            return self._tracked(alone, output)
        before = layer.function
        pooled = replace(layer, function=lambda *given: pool(before(*given)), kind=f"{layer.kind}, {name}")
        return self._tracked(pooled, output)

    def _batch_norm(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Folds a batch norm of fixed statistics into the convolution right before it, or passes it by."""
        call = inspect.signature(func).bind(*args, **kwargs)
        call.apply_defaults()
        given = call.arguments
        layer = self._layer_behind(given["input"])
        if layer is None or layer.kind not in LINEAR or layer.weight is None:
            return _passed(func, args, kwargs, given["input"])
        scale = (given["running_var"] + given["eps"]).rsqrt()
        scale = scale if given["weight"] is None else scale * given["weight"]
        shift = torch.zeros_like(scale) if given["bias"] is None else given["bias"]
        shift = shift - scale * given["running_mean"]
        weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        bias = shift if layer.bias is None else shift + scale * layer.bias
        with torch.no_grad():
            output = func(*args, **kwargs)
        return self._tracked(replace(layer, weight=weight, bias=bias, kind=f"{layer.kind}, batch_norm"), output)

    def _tracked(self, layer: LinearLayer, output: torch.Tensor) -> torch.Tensor:
        if not len(output) == len(layer.inputs) == self._images:
            raise self._refusal(f"{layer.kind} over the images of a batch", 1)

        def back(_function: Function, inputs: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
            received = self._rule(replace(layer, inputs=inputs), relevance)
            self.absorbed.append(relevance.flatten(1).sum(dim=1) - received.flatten(1).sum(dim=1))
            return received

        # Another tensor: what the function returns holds the graph, and the graph the function.
        tracked: torch.Tensor = by_rule(layer.inputs, lambda _: output.detach(), back)
        self._layers[tracked] = layer, tracked._version
        return tracked

    def _layer_behind(self, output: torch.Tensor) -> LinearLayer | None:
        layer, version = self._layers.get(output, (None, None))
        return layer if version == output._version else None

    def _refusal(self, name: str, carriers: int) -> InputRefused:
        where = f"layer {self._running[-1]} of the network" if self._running else "the network"
        joined = " of several features that depend on the image" if carriers > 1 else ""
        return InputRefused(
            f"{where} calls {name!r}{joined}, and LRP has no rule for that, so relevance would be lost or made there. "
            "It has rules for convolutions, linear layers, batch norms, average and max pooling, monotone activations "
            "and concatenation: networks like DenseNet and VGG. Use 'integrated_gradients', which needs no rules."
        )


def _passed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], carrier: torch.Tensor) -> Any:
    """The call, whose output's relevance is that of the one operand that depends on the image."""
    # The carrier's places, not the carrier: one that is overwritten holds the graph, and the graph this function.
    at = [i for i, one in enumerate(args) if one is carrier]
    named = [key for key, one in kwargs.items() if one is carrier]
    others = [None if i in at else one for i, one in enumerate(args)]
    other = {key: one for key, one in kwargs.items() if key not in named}

    def function(values: torch.Tensor) -> Any:
        here = [values if i in at else one for i, one in enumerate(others)]
        return func(*here, **other, **dict.fromkeys(named, values))

    return by_rule(carrier, function, lambda _function, inputs, relevance: relevance.sum_to_size(inputs.shape))


def _carriers(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among the values, and in lists of them, through which the image acts."""
    for value in values:
        if isinstance(value, torch.Tensor):
            if value.requires_grad:
                yield value
        elif isinstance(value, tuple | list):
            yield from _carriers(value)
