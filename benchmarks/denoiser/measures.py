"""Peak signal-to-noise ratios, seconds, and areas under the curve before and after denoising."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from benchmarks.denoiser.peers import Denoise
from benchmarks.places import OPACITY
from monai_robustinterp import load_bundle
from monai_robustinterp.metrics.classification import area_under_curve
from monai_robustinterp.networks import Denoiser
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.study.films import prepared
from monai_robustinterp.training.tables import LabeledImage

Row = dict[str, Any]
_PROTOCOL = "denoiser-study/1"
_FEWEST = 5


def gray(path: str | Path, side: int) -> torch.Tensor:
    """A film of 8-bit gray values in [0, 1], its middle square in ``side`` pixels, float [1, side, side]."""
    pixels = torch.from_numpy(np.asarray(Image.open(path).convert("L"), dtype=np.float32) / 255)
    small = min(pixels.shape)
    top, left = ((length - small) // 2 for length in pixels.shape)
    square = pixels[top : top + small, left : left + small]
    return F.interpolate(square[None, None], (side, side), mode="area")[0]


def noisy(image: torch.Tensor, sigma: float, draws: int = 1) -> torch.Tensor:
    """Copies [draws, 1, H, W] of an image with white noise."""
    stream = CounterNoise(seed=0, image_hash=image_sha256(image), protocol=_PROTOCOL)
    return image + sigma * stream.normal(torch.arange(draws), tuple(image.shape))


def ratio_row(labels: Row, denoise: Denoise, paths: Sequence[str]) -> Row:
    """Mean peak signal-to-noise ratio in dB over the films, for a peak of 1.

    Args:
        labels: of the row, with ``side`` in pixels and ``sigma`` of the noise.
        denoise: takes the noise away.
        paths: of the films.
    """
    films, sigma = [gray(path, labels["side"]) for path in paths], labels["sigma"]
    with torch.no_grad():
        errors = [float((denoise(noisy(film, sigma), sigma)[0] - film).square().mean()) for film in films]
    return {**labels, "ratio": float(np.mean([-10 * np.log10(error) for error in errors])), "films": len(films)}


def copies_per_second(film: Path, *, denoiser: str, interpreter: str, n_samples: int) -> float:
    """Noisy copies a second of the default bundle, without its start, on all threads."""
    overrides = {"denoiser": denoiser, "interpreter_name": interpreter, "sigma": 0.25, "n_samples": n_samples}
    bundle = load_bundle(OPACITY, overrides=overrides | {"device": "$torch.device('cpu')"})
    image = prepared(bundle, film)
    # The first run finds the batch size and warms up.
    bundle.inferer.vote(image, bundle.network)
    start = time.perf_counter()
    bundle.inferer.vote(image, bundle.network)
    return n_samples / (time.perf_counter() - start)


def classifier_areas(
    network: nn.Module,
    names: Sequence[str],
    items: Sequence[LabeledImage],
    denoiser: Denoiser,
    *,
    sigma: float,
    draws: int,
    side: int,
) -> Row:
    """Mean area over findings of a softmax classifier: clean, denoised, and of mean noisy scores without and with D."""

    def scores(images: torch.Tensor) -> np.ndarray:
        found: np.ndarray = network(images).double().softmax(dim=1).mean(dim=0).numpy()
        return found

    kinds: dict[str, Callable[[torch.Tensor], np.ndarray]] = {
        "clean": lambda image: scores(image[None]),
        "denoised": lambda image: scores(denoiser(image[None], sigma)),
        "noisy": lambda image: scores(noisy(image, sigma, draws)),
        "noisy, denoised": lambda image: scores(denoiser(noisy(image, sigma, draws), sigma)),
    }
    labeled = [item for item in items if item["findings"]]
    with torch.no_grad():
        images = [gray(item["image"], side) for item in labeled]
        found = {kind: np.array([of(image) for image in images]) for kind, of in kinds.items()}
    areas: Row = {kind: [] for kind in kinds}
    for column, name in enumerate(names):
        positive = np.array([(item["findings"] or {}).get(name) == 1 for item in labeled])
        if min(positive.sum(), (~positive).sum()) >= _FEWEST:
            for kind, values in found.items():
                areas[kind].append(area_under_curve(values[:, column], positive))
    row = {kind: float(np.mean(values)) for kind, values in areas.items()}
    return row | {"sigma": sigma, "findings": len(areas["clean"]), "images": len(labeled), "draws": draws}
