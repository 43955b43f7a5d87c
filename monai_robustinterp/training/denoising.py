"""Training of a denoiser on films of any size, and its peak signal-to-noise ratio."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from monai_robustinterp.training.tables import LabeledImage

logger = logging.getLogger(__name__)

_CROP = 128
_WHOLE = 0.6


def read_films(
    items: Sequence[LabeledImage], reading: Callable[[dict[str, str]], Mapping[str, torch.Tensor]], *, side: int
) -> list[torch.Tensor]:
    """The films of the training patients, float [1, H, W] in [0, 1].

    Args:
        items: of a set.
        reading: transforms of ``{"image": path}`` to a square film under the same key.
        side: larger films are made this many pixels wide.
    """
    films = (reading({"image": item["image"]})["image"] for item in items if item["split"] == "train")
    return [_in_small(film, side) if film.shape[-1] > side else film for film in films]


def noisy_batches(
    films: Sequence[torch.Tensor], *, batch_size: int, sigma: float, seed: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches without end: clean images of 128 x 128, the same with noise, and the standard deviation of each [B].

    A batch holds whole films in small, or parts of films at full size. Half of the images, flipped or not, get another
    exposure (contrast, brightness, slope), which leaves [0, 1] and belongs to the clean image: only the white noise is
    to be removed.

    Args:
        films: float [1, H, W] each, at least 128 x 128.
        batch_size: images a batch.
        sigma: largest standard deviation of the noise; drawn evenly from a thirtieth of it on.
        seed: of all draws.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        whole = bool(torch.rand((), generator=generator) < _WHOLE)
        chosen = torch.randint(len(films), (batch_size,), generator=generator).tolist()
        images = [_in_small(films[i], _CROP) if whole else _part(films[i], generator) for i in chosen]
        clean = _exposed(torch.stack(images), generator)
        level = sigma * (1 + 29 * torch.rand(batch_size, generator=generator)) / 30
        white = torch.randn(clean.shape, generator=generator)
        yield clean, clean + level.reshape(-1, 1, 1, 1) * white, level


def _in_small(film: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(film[None], (side, side), mode="area")[0]


def _part(film: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    top, left = (int(torch.randint(side - _CROP + 1, (), generator=generator)) for side in film.shape[-2:])
    return film[:, top : top + _CROP, left : left + _CROP]


def _exposed(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    def drawn(spread: float) -> torch.Tensor:
        changed = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        return spread * torch.randn(len(images), 1, 1, 1, generator=generator) * changed

    flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(flipped, images.flip(-1), images)
    across = torch.linspace(-1, 1, images.shape[-1])
    slope = drawn(0.05) * across + drawn(0.05) * across[:, None]
    return 0.5 + (images - 0.5) * drawn(0.15).exp() + drawn(0.08) + slope


def train_denoiser(
    network: nn.Module,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    learning_rate: float,
    dtype: torch.dtype = torch.bfloat16,
) -> nn.Module:
    """Trains for the mean peak signal-to-noise ratio, so that every noise level counts alike.

    Args:
        network: called with noisy images and standard deviations.
        batches: see :func:`noisy_batches`.
        steps: batches to train on.
        learning_rate: the largest one, of a one-cycle schedule.
        dtype: of the convolutions in training; the weights stay float32.

    Returns:
        The network whose weights are the moving average of those of about the last thousand steps.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.05)
    average = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999),  # type: ignore[no-untyped-call]
    )
    network.train()
    losses: list[float] = []
    for step, (clean, noisy, level) in zip(range(1, steps + 1), batches):
        with torch.autocast(clean.device.type, dtype):
            denoised = network(noisy, level)
        loss = (denoised.float() - clean).square().mean(dim=(1, 2, 3)).log10().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if step % 500 == 0:
            logger.info("step %d of %d: %.2f dB", step, steps, -10 * float(np.mean(losses[-500:])))
    trained: nn.Module = average.module.eval()
    return trained


def peak_ratios(
    network: nn.Module, films: Sequence[torch.Tensor], *, sigma: float, seed: int = 1
) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB, for a peak of 1, of each film with white noise after the denoiser.

    Args:
        network: called with noisy images and a standard deviation.
        films: float [1, H, W] each, in [0, 1].
        sigma: standard deviation of the noise.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    ratios = []
    with torch.no_grad():
        for film in films:
            noisy = film + sigma * torch.randn(film.shape, generator=generator)
            ratios.append(-10 * float((network(noisy[None], sigma)[0] - film).square().mean().log10()))
    return np.array(ratios)
