"""State dicts that a training run starts from and leaves behind."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.atomic import atomic_write


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Writes the state dict, tensors only, replacing a file of that name in one step."""
    state = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: torch.save(state, file), overwrite=True)


def load_trunk(network: nn.Module, path: str | Path | None) -> nn.Module:
    """Starts a network from the weights of another one that differs in its last layer only.

    Args:
        network: the new network.
        path: state dict of the other one; None leaves the network as it is.

    Returns:
        The network.

    Raises:
        InputRefused: if more than one layer does not fit.
    """
    if path is None:
        return network
    own = network.state_dict()
    state = torch.load(path, map_location="cpu", weights_only=True)
    misfits = {
        name for name in own.keys() | state.keys() if getattr(state.get(name), "shape", None) != _shape(own, name)
    }
    if len({name.rpartition(".")[0] for name in misfits}) > 1:
        raise InputRefused(
            f"{len(misfits)} of {len(own)} entries of the trunk's weights do not fit the network; all layers but the "
            "last must have the same names and shapes. Give weights of the same architecture, or no trunk."
        )
    network.load_state_dict({name: value for name, value in state.items() if name not in misfits}, strict=False)
    return network


def _shape(state: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None
