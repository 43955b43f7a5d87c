"""What can be read from a TorchScript module, whose graph keeps what was set when it was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


def outermost_scripts(module: nn.Module) -> Iterator[torch.jit.ScriptModule]:
    """The TorchScript modules of a network that are in no other one."""
    if isinstance(module, torch.jit.ScriptModule):
        yield module
    else:
        for child in module.children():
            yield from outermost_scripts(child)


def compiled_for_training(script: torch.jit.ScriptModule) -> bool:
    """Whether eval() cannot reach a batch norm or dropout, because tracing wrote the mode into the graph."""
    graph: Any = script.inlined_graph
    # The position of the argument `training` (`train`) in the operators' schemas.
    modes = [list(node.inputs())[5] for node in graph.findAllNodes("aten::batch_norm", recurse=True)]
    for kind in ("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout"):
        modes += [list(node.inputs())[2] for node in graph.findAllNodes(kind, recurse=True)]
    return any(mode.toIValue() is True for mode in modes)


def traced_tf32(script: torch.jit.ScriptModule) -> set[bool]:
    """What a trace fixed its convolutions to: whether CUDA devices may round their factors to TF32."""
    graph: Any = script.inlined_graph
    # The position of the argument `allow_tf32` in the operator's schema.
    return {list(node.inputs())[12].toIValue() for node in graph.findAllNodes("aten::_convolution", recurse=True)}


def devices(network: nn.Module) -> set[torch.device]:
    """Where a network's weights are; of a frozen TorchScript module they are constants of its graph."""
    weights = [*network.parameters(), *network.buffers()]
    if not weights:
        for script in outermost_scripts(network):
            graph: Any = script.inlined_graph
            constants = [node.output().toIValue() for node in graph.findAllNodes("prim::Constant", recurse=True)]
            weights += [value for value in constants if isinstance(value, torch.Tensor)]
    return {weight.device for weight in weights}
