"""State dicts that a training run starts from and leaves behind."""

from __future__ import annotations

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
    own = network.state_dict()
    state = read_state_dict(path)
    head = next(reversed(own)).rpartition(".")[0]
    trunk = {name: value for name, value in state.items() if name.rpartition(".")[0] != head}
    wanted = {name: value.shape for name, value in own.items() if name.rpartition(".")[0] != head}
    if {name: value.shape for name, value in trunk.items()} != wanted:
        raise InputRefused(
            f"the trunk's weights do not fit the network: apart from its last layer, {head!r}, all names and shapes "
            "must be the same. Give weights of the same architecture, or no trunk."
        )
    network.load_state_dict(trunk, strict=False)
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
    prefix = "features."
    state = {name: value for name, value in read_state_dict(path).items() if name.startswith(prefix)}
    own = {name: value.shape for name, value in network.state_dict().items() if name.startswith(prefix)}
    if {name: value.shape for name, value in state.items()} != own or not own:
        raise InputRefused(
            "the features of the weights do not fit the network: all names that begin with 'features.' and their shapes"
            " must be the same. Give weights of the same features."
        )
    network.load_state_dict(state, strict=False)
    return network
