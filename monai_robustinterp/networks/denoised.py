"""A denoiser before the classifier: each noisy copy is denoised, then interpreted (docs/theory/shape.md, T21)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.networks.provenance import network_sha256
from monai_robustinterp.noise.counter import CounterNoise

_PROTOCOL = "denoiser-check/1"
_MOST_LEFT = 0.7
_MOST_CHANGED = 0.1


class Denoiser:
    """A fixed function of the noisy copy alone, in evaluation mode, that is told the white part of the noise.

    Args:
        network: called with images [B, 1, H, W] and the standard deviation of the noise of each, float [B]; it
            returns images of that shape.
        name: for the record.
        version: for the record.
        sigmas: smallest and largest standard deviation that it was trained for; None if that is not known.
    """

    def __init__(
        self, network: nn.Module, *, name: str, version: str = "", sigmas: Sequence[float] | None = None
    ) -> None:
        self.network = network.eval()
        for weight in network.parameters():
            weight.requires_grad_(False)
        self.name, self.version, self.sigmas = name, version, sigmas

    def __call__(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        """The images [B, 1, H, W] without the noise of this standard deviation."""
        denoised: torch.Tensor = self.network(noisy, torch.full_like(noisy[:, 0, 0, 0], sigma))
        return denoised

    @property
    def settings(self) -> dict[str, Any]:
        """What the record says of it; the hash is that of its weights, "" without any."""
        return {"name": self.name, "version": self.version, "sha256": network_sha256(self.network)}

    def check_sigma(self, sigma: float) -> None:
        """Refuses noise that it was not trained for.

        Raises:
            ValueError: if ``sigma`` is out of its range.
        """
        if self.sigmas is not None and not self.sigmas[0] <= sigma <= self.sigmas[1]:
            low, high = self.sigmas
            raise ValueError(
                f"sigma is {sigma:g} and the denoiser was trained for {low:g} to {high:g}: choose a sigma in that "
                "range, another denoiser, or none."
            )

    def check(self, clean: torch.Tensor, sigma: float, *, digest: str) -> None:
        """Tries it on an image [1, H, W], with noise that is not that of the copies.

        Raises:
            InputRefused: if it fails, gives images of another form, leaves most of the noise, or makes another image of
                the clean one: it was made for other images, or another range of values.
        """
        stream = CounterNoise(seed=0, image_hash=digest, protocol=_PROTOCOL)
        noise = sigma * stream.normal(torch.zeros(1, dtype=torch.int64, device=clean.device), tuple(clean.shape))
        pair = torch.cat([clean[None], clean[None] + noise])
        with torch.no_grad():
            try:
                denoised = self(pair, sigma)
            except Exception as error:
                raise InputRefused(
                    f"the denoiser fails on a batch of shape {tuple(pair.shape)} ({type(error).__name__}). It must "
                    "take images [B, 1, H, W] in [0, 1] and standard deviations [B]."
                ) from error
        if denoised.shape != pair.shape or not bool(torch.isfinite(denoised).all()):
            raise InputRefused(
                f"the denoiser makes {tuple(denoised.shape)} of a batch of shape {tuple(pair.shape)}, or values that "
                "are not finite. It must return images of the same size and one channel."
            )
        left = float(((denoised[1] - denoised[0]).square().mean() / noise.square().mean()).sqrt())
        changed = float((denoised[0] - clean).square().mean().sqrt())
        if left > _MOST_LEFT or changed > sigma + _MOST_CHANGED:
            raise InputRefused(
                f"the denoiser leaves {left:.0%} of the noise and changes the clean image by {changed:.2g} (root mean "
                f"square); at most {_MOST_LEFT:.0%} and {sigma + _MOST_CHANGED:.2g} are taken. It must be made for "
                "images in [0, 1], and for noise of the standard deviation that it is told."
            )


class Denoised(nn.Module):
    """A classifier after a denoiser, f(D(x)), for gradients through both.

    Args:
        network: returns logits [B, classes].
        denoise: D, of images [B, 1, H, W].
    """

    def __init__(self, network: nn.Module, denoise: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.denoise = network, denoise

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, classes] of images [B, 1, H, W]."""
        logits: torch.Tensor = self.network(self.denoise(image))
        return logits
