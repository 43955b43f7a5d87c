"""Fixtures: the shipped bundle and a small network that answers fast."""

from __future__ import annotations

import os
import tempfile

import pytest
import torch
from monai.networks.nets import DenseNet
from torch import nn

# Two workers on two cores: more threads than cores only wait for each other.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Batch sizes that tests find are not those of the user.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="monai_robustinterp_tests_")


class TinyClassifier(nn.Module):
    """Two convolutions with in-place ReLU, batch norm and dropout: all that model surgery has to restore."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(image).mean(dim=(2, 3))))


@pytest.fixture
def tiny() -> TinyClassifier:
    """A seeded network [B, 1, H, W] -> [B, 3]."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyClassifier().eval()


@pytest.fixture
def dense() -> DenseNet:
    """A small MONAI DenseNet, whose last ReLU overwrites the output of ``features.norm5``."""
    with torch.random.fork_rng():
        # Grad-CAM is not all zero for this seed, for either class.
        torch.manual_seed(4)
        return DenseNet(
            spatial_dims=2, in_channels=1, out_channels=2, init_features=8, growth_rate=4, block_config=(2, 2)
        ).eval()


@pytest.fixture
def image() -> torch.Tensor:
    """A smooth image [1, 32, 32] in [0, 1]."""
    axis = torch.linspace(0, 1, 32)
    return (0.5 + 0.5 * torch.sin(6 * axis)[:, None] * torch.cos(4 * axis)[None, :])[None]
