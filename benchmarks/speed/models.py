"""The models of the bench, each with an untouched copy for the peers."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from monai.networks.nets import DenseNet121
from torch import nn

from benchmarks.speed.plan import DENSENET, TINY
from monai_robustinterp import CertifiedSaliencyInferer, load_bundle

CELL_SIZE, TOP_SHARE = 8, 0.15


@dataclass(frozen=True)
class Case:
    """What every contender gets.

    Attributes:
        network: as the bundle gives it, for ours.
        plain: a copy in eval mode, frozen and contiguous: what a user would hand to a peer.
        inferer: with the bundle's settings; contenders that change it take a copy.
        image: float [1, H, W] in [0, 1], on the network's device.
    """

    network: nn.Module
    plain: nn.Module
    inferer: CertifiedSaliencyInferer
    image: torch.Tensor

    @property
    def target(self) -> int:
        """The explained logit; without a fixed one the first, since the choice costs nothing."""
        return self.inferer.recipe.target or 0


def load_case(key: str, side: int, device: str) -> Case:
    """Builds a case.

    Args:
        key: name of a shipped bundle, or ``DENSENET`` or ``TINY``, whose weights are random from a fixed seed.
        side: of the square input in pixels; a multiple of the cell size.
        device: "cpu" or "cuda".
    """
    if key in (DENSENET, TINY):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = DenseNet121(spatial_dims=2, in_channels=1, out_channels=2) if key == DENSENET else tiny_network()
        top_k = int(TOP_SHARE * (side // CELL_SIZE) ** 2)
        inferer = CertifiedSaliencyInferer(cell_size=CELL_SIZE, top_k=top_k, target=1)
        # The layout that SaliencyBundle gives every network on a CPU.
        layout = torch.channels_last if device == "cpu" else torch.contiguous_format
        network = made.to(device=device, memory_format=layout).eval()  # type: ignore[call-overload]
    else:
        bundle = load_bundle(key, {"device": f"$torch.device('{device}')"})
        network, inferer = bundle.network, bundle.inferer
    image = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    return Case(network=network, plain=untouched(network), inferer=inferer, image=image)


def untouched(network: nn.Module) -> nn.Module:
    """A contiguous, frozen copy in eval mode."""
    plain = copy.deepcopy(network).eval().requires_grad_(False)
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return plain


def tiny_network() -> nn.Module:
    """Three convolutions, so that many copies take a minute."""
    layers: list[nn.Module] = []
    for channels in (1, 16, 16):
        layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
