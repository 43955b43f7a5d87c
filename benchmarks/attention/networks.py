"""Small networks of the study, trained for seconds on drawn shapes, and images of these."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

STEPS, BATCH = 150, 64


def shapes(count: int, side: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [count, 1, side, side] in [0, 1] of a ring (0) or a cross (1) on uneven gray with noise, and labels."""
    labels = torch.randint(2, (count,), generator=generator)
    place = torch.linspace(-1, 1, side)
    rows, columns = place[None, :, None], place[None, None, :]
    center = 0.6 * torch.rand(2, count, 1, 1, generator=generator) - 0.3
    down, right = rows - center[0], columns - center[1]
    ring = (((down**2 + right**2).sqrt() - 0.45).abs() < 0.12).float()
    bars = ((torch.minimum(down.abs(), right.abs()) < 0.12) & (torch.maximum(down.abs(), right.abs()) < 0.55)).float()
    shape = torch.where(labels[:, None, None] == 1, bars, ring)
    slope = 0.2 * torch.rand(count, 1, 1, generator=generator)
    noise = 0.05 * torch.randn(count, side, side, generator=generator)
    return (0.15 + slope * (columns + 1) + 0.4 * shape + noise).clamp(0, 1)[:, None], labels


def perceptron(width: int, depth: int, side: int) -> nn.Module:
    """``depth`` hidden layers of ``width`` ReLUs."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(side * side, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def convolutional(channels: tuple[int, int, int]) -> nn.Module:
    """Three convolutions with ReLU, of which the first two are followed by a max pooling; then the mean."""
    layers: list[nn.Module] = []
    for before, after in zip((1, *channels), channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 2))


def trained(network: nn.Module, side: int, seed: int) -> float:
    """Trains a network on shapes; returns its share of right answers on new ones."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        images, labels = shapes(BATCH, side, generator)
        loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    images, labels = shapes(256, side, generator)
    with torch.no_grad():
        return float((network(images).argmax(dim=1) == labels).double().mean())
