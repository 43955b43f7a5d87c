"""A network's layers: found by name, and watched or replaced by hooks that are always taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_robustinterp.interpreters.context.torchscript import outermost_scripts
from monai_robustinterp.interpreters.registry import without_gradient, without_hooks

# Dots in the name of a layer that a user may mean; deeper ones are parts of blocks.
_OUTER_DEPTH = 1


class LayerNotFoundError(ValueError):
    """The target layer is missing, or there is none."""


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The submodule of that dotted name, which can be hooked.

    Raises:
        LayerNotFoundError: with the candidates, if there is none; with the interpreters that need no hooks, if the
            layer is TorchScript.
    """
    layer = _submodule(network, name) if isinstance(name, str) and name else None
    if layer is not None and not isinstance(layer, torch.jit.ScriptModule):
        return layer
    layers: dict[str, nn.Module] = dict(network.named_modules())
    candidates = _with_spatial_output(layers)
    if layer is not None or (not candidates and any(outermost_scripts(network))):
        raise _no_hooks()
    if not candidates:
        raise LayerNotFoundError(
            f"target_layer is {name!r}, and the network has no layers to look into. Use an interpreter that needs "
            f"none and no gradient, {without_gradient()}, or the network as a torch module."
        )
    raise LayerNotFoundError(
        f"target_layer is {name!r}; it must name a layer with a spatial output, usually the last one before pooling. "
        f"The last candidates of this network are {candidates[-8:]}."
    )


def _submodule(network: nn.Module, name: str) -> nn.Module | None:
    if isinstance(network, torch.jit.ScriptModule):
        return dict(network.named_modules()).get(name)
    try:
        return network.get_submodule(name)
    except AttributeError:
        return None


def _with_spatial_output(layers: Mapping[str, nn.Module]) -> list[str]:
    """Names of layers that may have an output [B, K, h, w], the outer ones of each block; all if there are no such."""
    names = [
        name
        for name, layer in layers.items()
        if name and isinstance(layer, nn.Conv2d | _BatchNorm | nn.Sequential) and not _ends_in_logits(layer)
    ]
    return [name for name in names if name.count(".") <= _OUTER_DEPTH] or names


def _ends_in_logits(layer: nn.Module) -> bool:
    return any(isinstance(inner, nn.Linear | nn.Flatten) for inner in layer.modules())


def refuse_torchscript(network: nn.Module) -> None:
    """Refuses what an interpreter that changes how layers compute cannot see into.

    Raises:
        LayerNotFoundError: with the interpreters that need no hooks, if a part of the network is TorchScript.
    """
    if any(outermost_scripts(network)):
        raise _no_hooks()


def _no_hooks() -> LayerNotFoundError:
    return LayerNotFoundError(
        "the network, or the target layer in it, is a TorchScript module, which allows no hooks, and this "
        f"interpreter needs one. Use one of those that need none, {without_hooks()}, or the network as Python code."
    )


@contextmanager
def recorded_output(layer: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Records a layer's output of each forward pass; later in-place operations touch a clone, not the record."""
    outputs: list[torch.Tensor] = []

    def record(_module: nn.Module, _inputs: Any, output: Any) -> torch.Tensor:
        if not isinstance(output, torch.Tensor):
            raise LayerNotFoundError(
                f"the target layer returns a {type(output).__name__}; it must return one tensor [B, K, h, w]. Name a "
                "layer inside it, or the next one."
            )
        # The logits come from the record, so that gradients reach it, and in bfloat16 reach it as float32.
        outputs.append(output.float() if output.dtype == torch.bfloat16 else output)
        return outputs[-1].to(output.dtype).clone()

    handle = layer.register_forward_hook(record)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def recorded_outputs(network: nn.Module) -> Iterator[list[tuple[str, torch.Tensor]]]:
    """Records the names and outputs of all layers that return one tensor of numbers, in the order they finish in."""
    outputs: list[tuple[str, torch.Tensor]] = []

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                outputs.append((name, output))

        return record

    layers = [(name, layer) for name, layer in network.named_modules() if name]
    eager = [(name, layer) for name, layer in layers if not isinstance(layer, torch.jit.ScriptModule)]
    handles = [layer.register_forward_hook(recorder(name)) for name, layer in eager]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced_output(layer: nn.Module, replacement: torch.Tensor) -> Iterator[None]:
    """Lets a layer return the replacement, in those of its calls that return something of that shape."""

    def replace(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return replacement.clone() if output.shape == replacement.shape else output

    handle = layer.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def running_layers(network: nn.Module) -> Iterator[list[str]]:
    """The names and kinds of the layers that are running, the innermost last."""
    running: list[str] = []

    def enter(described: str) -> Callable[..., None]:
        return lambda *_: running.append(described)

    def leave(*_: Any) -> None:
        running.pop()

    handles = []
    for name, module in network.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(enter(f"{name!r} ({type(module).__name__})")))
            handles.append(module.register_forward_hook(leave))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()
