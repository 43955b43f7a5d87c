"""State dicts that a training run starts from and leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write
from monai_robustinterp.networks.state_dict import read_state_dict


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Writes the state dict, tensors only, replacing a file of that name in one step."""
    state = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: torch.save(state, file), overwrite=True)


def load_trunk(network: nn.Module, path: str | Path | None) -> nn.Module:
    """Starts a network from the weights of another one, its last layer excepted.

    Args:
        network: the new network.
        path: state dict of the other one; None leaves the network as it is.

    Returns:
        The network.

    Raises:
        InputRefused: if another layer does not fit.
    """
    if path is None:
        return network
    head = next(reversed(network.state_dict())).rpartition(".")[0]
    _load_part(
        network,
        path,
        lambda name: name.rpartition(".")[0] != head,
        f"the trunk's weights do not fit the network: apart from its last layer, {head!r}, all names and shapes "
        "must be the same. Give weights of the same architecture, or no trunk.",
    )
    return network


def load_features(network: nn.Module, path: str | Path) -> nn.Module:
    """Starts the ``features`` of a network from those of another one; all else stays as it is.

    Args:
        network: the new network.
        path: state dict of the other one.

    Returns:
        The network.

    Raises:
        InputRefused: if they do not fit.
    """
    _load_part(
        network,
        path,
        lambda name: name.startswith("features."),
        "the features of the weights do not fit the network: all names that begin with 'features.' and their shapes"
        " must be the same. Give weights of the same features.",
    )
    return network


def _load_part(network: nn.Module, path: str | Path, belongs: Callable[[str], bool], refusal: str) -> None:
    """Loads the weights whose names belong to the part, which must be all of it, in the same shapes."""
    state = {name: value for name, value in read_state_dict(path).items() if belongs(name)}
    wanted = {name: value.shape for name, value in network.state_dict().items() if belongs(name)}
    if {name: value.shape for name, value in state.items()} != wanted or not wanted:
        raise InputRefused(refusal)
    network.load_state_dict(state, strict=False)
