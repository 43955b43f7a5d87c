"""What only a GPU can show: no waiting in the loop, the same votes, memory that does not grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_robustinterp import CertifiedSaliencyInferer, load_bundle
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.smoothing.batching import fill
from monai_robustinterp.smoothing.tally import add_votes
from tests.support.bundles import OPACITY

pytestmark = pytest.mark.gpu


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    settings = {"n_samples": 64, "top_k": 10, "cell_size": 4, "target": 1, "batch_size": 16, "sigma": 0.2}
    return CertifiedSaliencyInferer(**(settings | changes))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_the_host_never_waits_for_the_device_between_two_batches(tiny, image, cuda) -> None:
    clean, network = image.to(cuda), tiny.to(cuda)
    with explaining(network):
        tally = make_inferer().recipe.tally(clean, 1, keep=48)
        fill([tally], network, 16, batch_size=16)
        try:
            torch.cuda.set_sync_debug_mode("error")
            # From the second batch on: the first one is looked at.
            for first in (16, 32):
                add_votes(network, [(tally, torch.arange(first, first + 16, device=cuda))])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert tally.n_samples == 48


def test_the_votes_are_those_of_the_cpu_but_for_round_off(image, cuda) -> None:
    x = torch.rand(1, 128, 128, generator=torch.Generator().manual_seed(0))
    votes = []
    for device in ("cpu", "cuda"):
        bundle = load_bundle(
            OPACITY, overrides={"device": f"$torch.device({device!r})", "n_samples": 64, "batch_size": 16}
        )
        votes.append(bundle.inferer.vote(x.to(bundle.device), bundle.network)[0].counts)
    # At most two of a thousand votes.
    assert np.abs(votes[0] - votes[1]).sum() / 2 <= 0.002 * votes[0].sum()


def test_memory_does_not_grow_with_the_number_of_samples(tiny, image, cuda) -> None:
    peaks = []
    for n_samples in (64, 8192):
        torch.cuda.reset_peak_memory_stats()
        make_inferer(n_samples=n_samples).vote(image.to(cuda), tiny.to(cuda))
        peaks.append(torch.cuda.max_memory_allocated())
    # But for the votes of each copy: 8 bytes of bits, and one that it finds the target.
    assert peaks[1] <= 1.05 * peaks[0] + 9 * 8192
