"""All model surgery, in one context manager that puts everything back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class LayerNotFoundError(ValueError):
    """The target layer is missing or was never named."""


@contextmanager
def explaining(network: nn.Module) -> Iterator[nn.Module]:
    """Holds a network in the state that explanations need, and restores it exactly, after an exception too.

    Inside: eval mode, no parameter gradients, no in-place activations (hooks would see the overwritten values), and
    gradients enabled whatever the caller disabled. After: modes, flags, gradients and hooks are the objects of before.

    Args:
        network: any torch module.

    Raises:
        TypeError: if ``network`` is no module.
        ValueError: if it has a batch norm without running statistics: its output for one copy would depend on the
            other copies in the batch, which voids the certificate (docs/certificates.md, section 1).
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"the network is a {type(network).__name__}; an explanation needs a torch.nn.Module.")
    with ExitStack() as stack:
        stack.callback(_restorer(network))
        network.eval()
        for name, module in network.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is None:
                raise ValueError(
                    f"layer {name!r} is a batch norm without running statistics: one copy's result would depend on the "
                    "other copies of its batch. Use a network with track_running_stats=True."
                )
            if getattr(module, "inplace", False) is True:
                module.inplace = False
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield network


def _restorer(network: nn.Module) -> Any:
    """A function that puts back what :func:`explaining` and the interpreters' hooks may change."""
    modules = list(network.modules())
    training = [(m, m.training) for m in modules]
    inplace = [(m, m.inplace) for m in modules if isinstance(getattr(m, "inplace", None), bool)]
    parameters = [(p, p.requires_grad, p.grad) for p in network.parameters()]
    hooks = [(getattr(m, name), OrderedDict(getattr(m, name))) for m in modules for name in _HOOKS if hasattr(m, name)]

    def restore() -> None:
        for module, mode in training:
            module.training = mode
        for module, flag in inplace:
            module.inplace = flag
        for parameter, requires_grad, grad in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        for registered, saved in hooks:
            registered.clear()
            registered.update(saved)

    return restore


def find_layer(network: nn.Module, name: str | None) -> nn.Module:
    """The submodule of that dotted name.

    Raises:
        LayerNotFoundError: with the candidates, if there is none.
    """
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if name and name in layers:
        return layers[name]
    candidates = [n for n, m in layers.items() if isinstance(m, nn.Conv2d | _BatchNorm | nn.Sequential) and n]
    raise LayerNotFoundError(
        f"target_layer is {name!r}; it must name a layer with a spatial output, usually the last one before pooling. "
        f"The last candidates of this network are {candidates[-8:]}."
    )


@contextmanager
def recorded_output(layer: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Records a layer's output of each forward pass; later in-place operations touch a clone, not the record."""
    outputs: list[torch.Tensor] = []

    def record(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        outputs.append(output)
        return output.clone()

    handle = layer.register_forward_hook(record)
    try:
        yield outputs
    finally:
        handle.remove()
