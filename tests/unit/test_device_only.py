"""The loop stays on the device: run on torch's meta device, which has no values that the host could wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monai_robustinterp import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import explaining, make_interpreter
from monai_robustinterp.smoothing import recipe
from monai_robustinterp.smoothing.tally import VoteTally, add_votes
from monai_robustinterp.types import Region

NEVER_WAIT = ["gradient", "grad_cam", "grad_cam_pp", "guided_backprop", "input_x_gradient", "integrated_gradients"]


class OneDevice(TorchDispatchMode):
    """Fails at an operation that reads or makes a tensor elsewhere: a copy between devices waits for the device."""

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        assert all(tensor.is_meta for tensor in tensors), f"{func} has tensors of several devices"
        return out


@pytest.fixture(scope="module")
def network() -> nn.Module:
    settings = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2)}
    return DenseNet(spatial_dims=2, in_channels=1, out_channels=2, **settings).eval().to("meta")


def tally_of(interpreter: str, *, digest: str = "0") -> VoteTally:
    """With everything that can be counted."""
    cells = np.zeros((4, 4), dtype=bool)
    cells[:2] = True
    made = make_interpreter(interpreter, known={"target_layer": "features.norm5"})
    inferer = CertifiedSaliencyInferer(interpreter=made, top_k=6, cell_size=8, pairs=True)
    clean = torch.zeros(1, 32, 32, device="meta")
    regions = (Region(name="upper half", cells=cells, seen=1.0),)
    # An image without values has no hash.
    with mock.patch.object(recipe, "image_sha256", return_value=digest):
        return inferer.recipe.tally(clean, 1, regions=regions, keep=8)


@pytest.mark.parametrize("interpreter", NEVER_WAIT)
def test_a_batch_of_two_images_needs_nothing_of_the_host(network, interpreter) -> None:
    tallies = [tally_of(interpreter, digest=digest) for digest in "01"]
    with explaining(network), OneDevice():
        add_votes(network, [(tally, torch.arange(3, device="meta")) for tally in tallies])
    assert [tally.n_samples for tally in tallies] == [3, 3]


@pytest.mark.parametrize(
    "look",
    [
        lambda tally: tally.check_finite(),
        lambda tally: tally.noise.normal(torch.arange(2), (1, 32, 32)) + tally.clean,
        lambda tally: torch.ones(4).to("meta"),
    ],
    ids=["reads a count", "mixes devices", "uploads"],
)
def test_what_would_wait_is_seen(look) -> None:
    with pytest.raises((AssertionError, RuntimeError)), OneDevice():
        look(tally_of("gradient"))
