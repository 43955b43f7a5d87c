"""All model surgery, in one context manager that puts everything back."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

from monai_robustinterp.interpreters.context.cpu_layers import faster_forward, is_faster
from monai_robustinterp.interpreters.context.precision import has_tf32, running_in
from monai_robustinterp.interpreters.context.torchscript import (
    compiled_for_training,
    devices,
    outermost_scripts,
    traced_tf32,
)
from monai_robustinterp.types import Precision

# What a run changes is the network's and the process's: a second run in another thread would undo it half way.
_ONE_RUN = threading.RLock()
# Layers that in training mode mix the copies of a batch or draw at random.
_TRAINED = (_NormBase, _DropoutNd, nn.RReLU)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def explaining(network: nn.Module, precision: Precision = "float32") -> Iterator[nn.Module]:
    """Holds a network in the state that explanations need, and restores it exactly, after an exception too.

    Inside: eval mode, no parameter gradients, no in-place activations (hooks would see the overwritten values), and
    gradients enabled whatever the caller disabled. After: modes, flags, gradients and hooks are the objects of before.
    On a CPU batch norms and the first convolution compute float32 values in less time
    (:mod:`~monai_robustinterp.interpreters.context.cpu_layers`): the same values and gradients within round-off. A
    second thread waits until the first one is done.

    The in-place activations of a TorchScript module stay, for they are compiled into it. Gradients with respect to the
    input are right all the same: autograd keeps what they need, or raises. Only hooks would be wrong, and it has none.

    Args:
        network: any torch module, TorchScript too.
        precision: that it runs in (:func:`~monai_robustinterp.interpreters.context.precision.running_in`).

    Raises:
        TypeError: if ``network`` is no module.
        ValueError: if the weights are not float32, if it cannot run in that precision, or if a layer takes statistics
            from the batch or draws at random after eval(): the output for one copy would depend on the other copies or
            on chance, which voids the certificate (docs/theory/objects.md, D3).
    """
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"the network is a {type(network).__name__}; an explanation needs a torch.nn.Module. Wrap a function or a "
            "remote classifier in networks.CallableClassifier, for the interpreters that need no gradient."
        )
    with _ONE_RUN, ExitStack() as stack:
        # Walking through a deep network takes as long as a few copies: it is done once.
        modules, parameters = dict(network.named_modules()), dict(network.named_parameters())
        scripts = list(outermost_scripts(network))
        _refuse_other_precision(parameters)
        if scripts and precision != "bfloat16" and any(has_tf32(device) for device in devices(network)):
            _refuse_traced_products(scripts, precision)
        stack.callback(_restorer(list(modules.values()), list(parameters.values())))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if any(getattr(module, "training", True) for module in modules.values()):
            network.eval()
        _refuse_training(modules, scripts)
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        for module in _eager(modules.values()):
            if getattr(module, "inplace", False) is True:
                module.inplace = False
            if precision != "bfloat16" and (forward := faster_forward(module)) is not None:
                module.forward = forward
                stack.callback(vars(module).pop, "forward", None)
        # Last: of a TorchScript module torch finds the graph, which the checks read, through its forward.
        stack.enter_context(running_in(network, precision))
        yield network


@contextmanager
def own_forwards(network: nn.Module) -> Iterator[None]:
    """Gives layers that :func:`explaining` made faster their own forwards back, for whoever reads torch's calls."""
    faster = [vars(module) for module in network.modules() if is_faster(vars(module).get("forward"))]
    forwards = [attributes.pop("forward") for attributes in faster]
    try:
        yield
    finally:
        for attributes, forward in zip(faster, forwards):
            attributes["forward"] = forward


def plain_copy(network: nn.Module) -> nn.Module:
    """A copy of the network, with its own forwards, for libraries that change what they explain."""
    with own_forwards(network):
        return copy.deepcopy(network)


def _eager(modules: Iterable[nn.Module]) -> list[Any]:
    """The modules that are no TorchScript: those that can be changed and hooked."""
    return [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]


def _refuse_other_precision(parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise ValueError(
                f"the network's weight {name!r} is {parameter.dtype}; explanations and certificates are of a float32 "
                "network. Pass network.float(); weights that were rounded to fewer bits keep their values in it."
            )


def _refuse_training(modules: Mapping[str, nn.Module], scripts: Iterable[torch.jit.ScriptModule]) -> None:
    for name, module in modules.items():
        if isinstance(module, _TRAINED) and module.training:
            raise ValueError(
                f"layer {name!r}, a {type(module).__name__}, stays in training mode after network.eval(): one copy's "
                "result would depend on the other copies or on chance. Let train() and eval() of the network reach it."
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"layer {name!r} is a batch norm without running statistics: one copy's result would depend on the "
                "other copies of its batch. Use a network with track_running_stats=True."
            )
    for script in scripts:
        if compiled_for_training(script):
            raise ValueError(
                "the TorchScript network has a batch norm or a dropout that stays in training mode, so one copy's "
                "result would depend on the other copies or on chance. Export it again, after network.eval(), with "
                "track_running_stats=True."
            )


def _refuse_traced_products(scripts: Iterable[torch.jit.ScriptModule], precision: Precision) -> None:
    """Refuses a trace that would multiply otherwise than the precision says: it keeps what was set when it was made."""
    for script in scripts:
        if (precision != "tf32") in traced_tf32(script):
            raise ValueError(
                f"precision is {precision!r} and the convolutions of the traced TorchScript network are fixed to "
                f"{'float32' if precision == 'tf32' else 'tf32'}. Choose that, or trace it again with "
                f"torch.backends.cudnn.allow_tf32 = {precision == 'tf32'}, or use torch.jit.script."
            )


def _restorer(modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> Callable[[], None]:
    """A function that puts back what :func:`explaining` and the interpreters' hooks may change."""
    # A frozen TorchScript module has no mode until eval() gives it one.
    training = [(m, getattr(m, "training", None)) for m in modules]
    inplace = [(m, m.inplace) for m in _eager(modules) if isinstance(getattr(m, "inplace", None), bool)]
    gradients = [(p, p.requires_grad, p.grad) for p in parameters]
    hooks = [(found, list(found.items())) for m in modules for found in _hooks(m)]

    def restore() -> None:
        for module, mode in training:
            if mode is None:
                vars(module).pop("training", None)
            elif module.training != mode:
                module.training = mode
        for module, flag in inplace:
            module.inplace = flag
        for parameter, requires_grad, grad in gradients:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        for registered, saved in hooks:
            if registered or saved:
                registered.clear()
                registered.update(saved)

    return restore


def _hooks(module: nn.Module) -> list[OrderedDict[int, Any]]:
    """Where a module keeps the hooks that interpreters register; a frozen TorchScript module has no such place."""
    return [getattr(module, name) for name in _HOOKS if hasattr(module, name)]
