"""What is compared: each contender is a context in which a function processes exactly m noisy copies."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import nn

from benchmarks.speed.models import Case
from benchmarks.speed.peers import zennit_attribution
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.context.precision import float32_products
from monai_robustinterp.smoothing.voting import pool_cells, top_k_votes
from monai_robustinterp.types import Precision

Run = Callable[[], Any]
Contender = Callable[[Case, int, int | None], AbstractContextManager[Run]]


def batches(n_samples: int, batch_size: int | None) -> list[int]:
    """Sizes of the batches, the last one smaller if need be; without a size all copies are one batch."""
    size = batch_size or n_samples
    full, rest = divmod(n_samples, size)
    return [size] * full + [rest] * (rest > 0)


@contextmanager
def bare(case: Case, n_samples: int, batch_size: int | None) -> Iterator[Run]:
    """Forward and backward in the very state in which the inferer runs the network; entering it takes no time here."""
    with explaining(case.network) as network:
        yield _loop(network, case, batches(n_samples, batch_size))


@contextmanager
def bare_as_given(case: Case, n_samples: int, batch_size: int | None) -> Iterator[Run]:
    """The same loop on the untouched copy."""
    yield _loop(case.plain, case, batches(n_samples, batch_size))


@contextmanager
def passes(case: Case, n_samples: int, batch_size: int | None) -> Iterator[Run]:
    """Forward passes of the denoiser and the network, which is all that an additive map by position needs."""
    recipe = case.inferer.recipe
    copies = _copies(case, batches(n_samples, batch_size))

    def run() -> torch.Tensor:
        for size in batches(n_samples, batch_size):
            logits: torch.Tensor = network(recipe.denoiser(copies[:size], recipe.sigma))
        return logits

    with explaining(case.network) as network, torch.no_grad():
        yield run


@contextmanager
def ours(case: Case, n_samples: int, batch_size: int | None, *, precision: Precision = "float32") -> Iterator[Run]:
    """The inferer's votes; without a batch size it looks for one itself."""
    settings = {"n_samples": n_samples, "batch_size": batch_size, "precision": precision}
    recipe = dataclasses.replace(case.inferer.recipe, any_input=True, **settings)
    yield lambda: recipe.vote([case.image], case.network)


@contextmanager
def captum(case: Case, n_samples: int, batch_size: int | None) -> Iterator[Run]:
    """Captum on the untouched copy; without a batch size its default, all copies at once."""
    yield _noise_tunnel(case.plain, case, batches(n_samples, batch_size))


@contextmanager
def captum_in_our_state(case: Case, n_samples: int, batch_size: int | None) -> Iterator[Run]:
    """Captum on the network as the inferer prepares it."""
    with explaining(case.network) as network:
        yield _noise_tunnel(network, case, batches(n_samples, batch_size))


@contextmanager
def captum_tf32(case: Case, n_samples: int, batch_size: int | None) -> Iterator[Run]:
    """Captum as torch runs it on a GPU unless it is told not to."""
    with float32_products("tf32"), captum(case, n_samples, batch_size) as run:
        yield run


@contextmanager
def zennit(case: Case, n_samples: int, batch_size: int | None) -> Iterator[Run]:
    """SmoothGrad of zennit on the untouched copy: a batch is the image as often, each with noise of its own."""
    smooth_grad = zennit_attribution().SmoothGrad
    # Its noise is relative to the range of the image; the inferer's sigma is absolute.
    noise_level = case.inferer.recipe.sigma / float(case.image.max() - case.image.min())
    parts = Counter(batches(n_samples, batch_size))

    def of_target(logits: torch.Tensor) -> torch.Tensor:
        weights = torch.zeros_like(logits)
        weights[:, case.target] = 1
        return weights

    def run() -> torch.Tensor:
        for size, n_iter in parts.items():
            attributor = smooth_grad(case.plain, noise_level=noise_level, n_iter=n_iter, attr_output=of_target)
            maps: torch.Tensor = attributor(case.image.expand(size, -1, -1, -1))[1]
        return maps

    yield run


CONTENDERS: dict[str, Contender] = {
    "bare": bare,
    "bare_as_given": bare_as_given,
    "ours": ours,
    "captum": captum,
    "captum_in_our_state": captum_in_our_state,
    "zennit": zennit,
    "ours_tf32": partial(ours, precision="tf32"),
    "captum_tf32": captum_tf32,
    "ours_bfloat16": partial(ours, precision="bfloat16"),
}
DENOISED: dict[str, Contender] = {"passes": passes}
CUDA_ONLY = frozenset({"ours_tf32", "captum_tf32", "ours_bfloat16"})


def _loop(network: nn.Module, case: Case, sizes: list[int]) -> Run:
    copies = _copies(case, sizes)

    def run() -> torch.Tensor:
        for size in sizes:
            x = copies[:size].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(network(x)[:, case.target].sum(), x)
        return gradient

    return run


def _copies(case: Case, sizes: list[int]) -> torch.Tensor:
    noise = torch.randn(max(sizes), *case.image.shape, device=case.image.device)
    return case.image + case.inferer.recipe.sigma * noise


def _noise_tunnel(network: nn.Module, case: Case, sizes: list[int]) -> Run:
    """One call a batch, each with its top-k; it averages a batch's maps, so that it has fewer votes to take than ours.

    Captum's own loop over batches would make no votes before its end.
    """
    tunnel, inferer = NoiseTunnel(Saliency(network)), case.inferer

    def run() -> torch.Tensor:
        counts: torch.Tensor | int = 0
        for size in sizes:
            maps: torch.Tensor = tunnel.attribute(
                case.image[None],
                nt_type="smoothgrad",
                nt_samples=size,
                nt_samples_batch_size=size,
                stdevs=inferer.recipe.sigma,
                target=case.target,
            )
            cells = pool_cells(maps.detach(), inferer.recipe.cell_size).flatten(1)
            counts = counts + top_k_votes(cells, inferer.recipe.top_k, partial(_by_index, size=cells.shape[1])).mask
        return maps

    return run


def _by_index(rows: torch.Tensor, size: int) -> torch.Tensor:
    return torch.arange(size, device=rows.device).expand(len(rows), size)
