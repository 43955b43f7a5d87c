"""DenseNet-121 as torchvision and CheXNet name it: random weights, and a forward pass that walks the names."""

from __future__ import annotations

import re

import torch
from torch.nn import functional

BLOCKS = {1: 6, 2: 12, 3: 24, 4: 16}


State = dict[str, torch.Tensor]


def torchvision_state(classes: int) -> State:
    """Random weights and batch statistics under the names of torchvision's densenet121."""
    generator = torch.Generator().manual_seed(classes)
    state: State = {}

    def conv(name: str, out: int, channels: int, side: int) -> None:
        scale = (2 / (channels * side * side)) ** 0.5
        state[f"{name}.weight"] = scale * torch.randn(out, channels, side, side, generator=generator)

    def norm(name: str, channels: int) -> None:
        for key, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            state[f"{name}.{key}"] = low + torch.rand(channels, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("features.conv0", 64, 3, 7)
    norm("features.norm0", 64)
    channels = 64
    for block, layers in BLOCKS.items():
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{name}.norm1", channels)
            conv(f"{name}.conv1", 128, channels, 1)
            norm(f"{name}.norm2", 128)
            conv(f"{name}.conv2", 32, 128, 3)
            channels += 32
        if block < 4:
            norm(f"features.transition{block}.norm", channels)
            conv(f"features.transition{block}.conv", channels // 2, channels, 1)
            channels //= 2
    norm("features.norm5", channels)
    state["classifier.weight"] = 0.1 * torch.randn(classes, channels, generator=generator)
    state["classifier.bias"] = torch.randn(classes, generator=generator)
    return state


def torchvision_forward(state: State, x: torch.Tensor) -> torch.Tensor:
    """The published architecture, walked by name."""

    def norm_relu(name: str, x: torch.Tensor) -> torch.Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return functional.relu(functional.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=1e-5))

    x = functional.conv2d(x, state["features.conv0.weight"], stride=2, padding=3)
    x = functional.max_pool2d(norm_relu("features.norm0", x), 3, stride=2, padding=1)
    for block, layers in BLOCKS.items():
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            new = functional.conv2d(norm_relu(f"{name}.norm1", x), state[f"{name}.conv1.weight"])
            new = functional.conv2d(norm_relu(f"{name}.norm2", new), state[f"{name}.conv2.weight"], padding=1)
            x = torch.cat([x, new], dim=1)
        if block < 4:
            name = f"features.transition{block}"
            x = functional.avg_pool2d(functional.conv2d(norm_relu(f"{name}.norm", x), state[f"{name}.conv.weight"]), 2)
    x = norm_relu("features.norm5", x).mean(dim=(2, 3))
    return functional.linear(x, state["classifier.weight"], state["classifier.bias"])


def old_names(state: State) -> State:
    """As torchvision wrote them before 0.3 and torch before 0.4.1."""
    renamed = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value for key, value in state.items()}
    return {key: value for key, value in renamed.items() if not key.endswith("num_batches_tracked")}


def chexnet(state: State) -> dict[str, object]:
    """Data parallel around a module that holds the densenet, whose classifier is Sequential(Linear, Sigmoid)."""
    renamed = {key.replace("classifier.", "classifier.0."): value for key, value in old_names(state).items()}
    return {"epoch": 3, "state_dict": {f"module.densenet121.{key}": value for key, value in renamed.items()}}
