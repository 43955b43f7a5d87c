"""A small denoiser for one channel: a residual U-Net on 2 x 2 blocks of pixels that is told the noise level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

_BLOCK = 2


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = features + self.second(F.relu(self.first(features)))
        return out


def _residuals(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[_Residual(channels) for _ in range(count)])


class UNetDenoiser(nn.Module):
    """Removes white Gaussian noise of a given standard deviation from images of any size.

    The noise level comes as one more channel, as in FFDNet (Zhang, Zuo, Zhang, IEEE TIP 27:4608, 2018), so one network
    serves all levels; the branches are those of DRUNet (Zhang et al., IEEE TPAMI 44:6360, 2021), narrower.

    Args:
        channels: of each level, from the finest (2 x 2 pixels a position) to the coarsest.
        blocks: residual blocks of each level; those of all but the coarsest occur on both ways.
    """

    def __init__(self, channels: Sequence[int] = (32, 64, 96), blocks: Sequence[int] = (1, 1, 2)) -> None:
        super().__init__()
        finer = list(pairwise(channels))
        self.multiple = _BLOCK * 2 ** len(finer)
        self.head = nn.Conv2d(_BLOCK**2 + 1, channels[0], 3, padding=1)
        self.encoders = nn.ModuleList(_residuals(width, count) for width, count in zip(channels[:-1], blocks))
        self.down = nn.ModuleList(nn.Conv2d(width, wider, 2, stride=2) for width, wider in finer)
        self.middle = _residuals(channels[-1], blocks[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(wider, width, 2, stride=2) for width, wider in finer)
        self.decoders = nn.ModuleList(_residuals(width, count) for width, count in zip(channels[:-1], blocks))
        self.tail = nn.Conv2d(channels[0], _BLOCK**2, 3, padding=1)

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
        """The images without the noise.

        Args:
            noisy: float [B, 1, H, W].
            sigma: standard deviation of the noise in units of the image; a number, or one an image, [B].

        Returns:
            [B, 1, H, W].
        """
        height, width = noisy.shape[-2:]
        padded = F.pad(noisy, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        blocks = F.pixel_unshuffle(padded, _BLOCK)
        level = torch.as_tensor(sigma, dtype=noisy.dtype, device=noisy.device).reshape(-1, 1, 1, 1)
        features = F.relu(self.head(torch.cat([blocks, level.expand_as(blocks[:, :1])], dim=1)))
        kept = []
        for encoder, down in zip(self.encoders, self.down):
            kept.append(encoder(features))
            features = down(kept[-1])
        features = self.middle(features)
        for decoder, up, skip in zip(reversed(self.decoders), reversed(self.up), reversed(kept)):
            features = decoder(up(features) + skip)
        noise = F.pixel_shuffle(self.tail(features), _BLOCK)
        return noisy - noise[..., :height, :width]
