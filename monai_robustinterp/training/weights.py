"""State dicts that a training run starts from and leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write
from monai_robustinterp.networks.evidence import EvidenceDenseNet
from monai_robustinterp.networks.findings_evidence import FindingsEvidenceDenseNet
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


def load_evidence(network: EvidenceDenseNet, path: str | Path) -> EvidenceDenseNet:
    """Starts a network of evidence for two classes from an ordinary DenseNet of the same features.

    The features are taken as they are. With w and b the last layer's weights and bias for the second class less those
    for the first, a position of features f gets w . f + b as evidence before its softplus, scaled and moved so that
    the logits are about the ordinary network's: the softplus is linear to first order where evidence begins.

    Args:
        network: the new network.
        path: state dict of the other one.

    Returns:
        The network.

    Raises:
        InputRefused: if they do not fit.
    """
    _load_features(network, path)
    state, head = read_state_dict(path), network.head
    weight, bias = (state.get(f"class_layers.out.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None or len(weight) != 2 or head.weight.shape != (2, 1):
        raise InputRefused("the weights have no last layer 'class_layers.out' of two classes. Give those of two.")
    gain = head.weight[1] - head.weight[0]
    _begin_as(network, weight[1:] - weight[:1], bias[1:] - bias[:1], gain=gain)
    return network


def load_findings_evidence(network: FindingsEvidenceDenseNet, path: str | Path) -> FindingsEvidenceDenseNet:
    """Starts a network with a map a finding from an ordinary DenseNet of the same features and findings.

    As :func:`load_evidence`, with the last layer's weights and bias for finding j at the positions of map j.

    Args:
        network: the new network.
        path: state dict of the other one.

    Returns:
        The network.

    Raises:
        InputRefused: if they do not fit.
    """
    _load_features(network, path)
    state, findings = read_state_dict(path), len(network.head.weight)
    weight, bias = (state.get(f"class_layers.out.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None or len(weight) != findings:
        raise InputRefused(
            f"the weights have no last layer 'class_layers.out' of {findings} findings, which are those that the "
            "training images show often enough. Give weights that were trained for the same ones."
        )
    _begin_as(network, weight, bias, gain=network.head.weight.diagonal())
    return network


def _begin_as(network: EvidenceDenseNet, weight: torch.Tensor, bias: torch.Tensor, *, gain: torch.Tensor) -> None:
    """Gives each map the evidence at which its logit is about weight . mean feature + bias, by its gain in the head."""
    last = network.evidence.get_submodule("1")
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    with torch.no_grad():
        slope = gain * last.bias.sigmoid()
        last.weight.copy_((weight / slope[:, None])[..., None, None])
        last.bias += bias / slope


def interpolate_weights(network: nn.Module, start: nn.Module, *, share: float) -> nn.Module:
    """A network between the one that a training began with and the one that it ended with.

    The middle often keeps what the beginning knew and has what the training taught (Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models").

    Args:
        network: trained.
        start: of the same architecture.
        share: of the way, in [0, 1]; 1 is the trained network.

    Returns:
        A new network; counts are the trained network's.

    Raises:
        InputRefused: if the share is out of its range.
    """
    if not 0 <= share <= 1:
        raise InputRefused(f"the share of the training is {share}; it must be in [0, 1], and 1 is the trained network.")
    between = copy.deepcopy(network)
    begun = start.state_dict()
    with torch.no_grad():
        for name, value in between.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(begun[name].to(value.device), value, share))
    return between


def _load_features(network: EvidenceDenseNet, path: str | Path) -> None:
    _load_part(
        network,
        path,
        lambda name: name.startswith("features."),
        "the features of the weights do not fit the network: all names that begin with 'features.' and their shapes"
        " must be the same. Give weights of the same features.",
    )


def _load_part(network: nn.Module, path: str | Path, belongs: Callable[[str], bool], refusal: str) -> None:
    """Loads the weights whose names belong to the part, which must be all of it, in the same shapes."""
    state = {name: value for name, value in read_state_dict(path).items() if belongs(name)}
    wanted = {name: value.shape for name, value in network.state_dict().items() if belongs(name)}
    if {name: value.shape for name, value in state.items()} != wanted or not wanted:
        raise InputRefused(refusal)
    network.load_state_dict(state, strict=False)
