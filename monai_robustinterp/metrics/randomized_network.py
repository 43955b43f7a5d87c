"""Networks with parameters drawn anew, stage by stage from the output to the input."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import nn

from monai_robustinterp.metrics.base import NotApplicable

# A training that started from the same seed drew these very values, which trained ones resemble.
_STREAM = 7_360_123_451


def stages(network: nn.Module, number: int) -> list[list[str]]:
    """Names of the layers with parameters in runs of about equal length, those nearest to the output first.

    Layers are in the order in which the network registers them.

    Args:
        network: any module.
        number: of runs; fewer where there are fewer layers.

    Raises:
        NotApplicable: if there is no such layer.
    """
    names = [name for name, layer in network.named_modules() if [*layer.parameters(recurse=False)]][::-1]
    if not names:
        raise NotApplicable("the network shows no parameters that could be drawn anew, as a remote classifier.")
    number = min(number, len(names))
    edges = [round(len(names) * i / number) for i in range(number + 1)]
    return [names[start:end] for start, end in itertools.pairwise(edges)]


def randomized(network: nn.Module, names: Sequence[str], *, seed: int) -> nn.Module:
    """A copy of a network in which some layers draw their parameters from their classes' default distributions.

    A layer without a default, as those of TorchScript, has its parameters' values shuffled.

    Args:
        network: stays as it is.
        names: of the layers.
        seed: of the draw; torch's own generator is as before afterwards.
    """
    changed = copy.deepcopy(network)
    layers = dict(changed.named_modules())
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(_STREAM + seed)
        for name in names:
            _draw_anew(layers[name])
    return changed


def _draw_anew(layer: nn.Module) -> None:
    default = getattr(layer, "reset_parameters", None)
    if callable(default):
        default()
        return
    for parameter in layer.parameters(recurse=False):
        parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].view_as(parameter))
