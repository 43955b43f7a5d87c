"""Fixtures: the shipped bundle and a small network that answers fast."""

from __future__ import annotations

import os
import tempfile

import pytest
import torch
from monai.networks.nets import DenseNet

from tests.support.networks import TinyClassifier

# Two workers on two cores: more threads than cores only wait for each other.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Batch sizes that tests find are not those of the user.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="monai_robustinterp_tests_")


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
