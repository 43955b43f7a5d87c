"""Networks of others, written down from their published descriptions; weights are read from the shared data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.films import shared_folder

Denoise = Callable[[torch.Tensor, float], torch.Tensor]
FFDNET_LARGEST = 75 / 255


class FFDNet(nn.Module):
    """FFDNet for gray images (Zhang, Zuo, Zhang, IEEE TIP 27:4608, 2018), for sigma up to 75/255."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(5, 64, 3, padding=1), nn.ReLU()]
        for _ in range(13):
            layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(64, 4, 3, padding=1))

    def forward(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        """Images [B, 1, H, W] of even sides without noise of this standard deviation."""
        blocks = F.pixel_unshuffle(noisy, 2)
        return F.pixel_shuffle(self.model(torch.cat([blocks, torch.full_like(blocks[:, :1], sigma)], dim=1)), 2)


def ffdnet() -> Denoise | None:
    """FFDNet with its published weights; None where they are not there."""
    network = _loaded(FFDNet(), "ffdnet_gray.pth")
    return network


def bm3d() -> Denoise | None:
    """BM3D (Dabov et al., IEEE TIP 16:2080, 2007) of the package of its authors, which is free for research only."""
    try:
        from bm3d import bm3d as run
    except ImportError:
        return None

    def denoise(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        images = [np.asarray(run(image[0].numpy(), sigma), dtype=np.float32) for image in noisy]
        return torch.from_numpy(np.stack(images))[:, None]

    return denoise


class MobileNet(nn.Module):
    """MobileNetV3-Small (Howard et al., ICCV 2019) for 15 findings, with batch normalization folded in."""

    # Kernel, inner and outer channels, hard-swish, squeeze and excitation, stride.
    BLOCKS = (
        *((3, 16, 16, 0, 1, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2)),
        *((5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1)),
        *((5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1)),
    )
    NAMES = (
        *("No Finding", "Infiltration", "Atelectasis", "Effusion", "Nodule", "Pneumothorax", "Mass", "Consolidation"),
        *("Pleural_Thickening", "Cardiomegaly", "Emphysema", "Fibrosis", "Edema", "Pneumonia", "Hernia"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        blocks, channels = [], 16
        for kernel, inner, outer, swish, squeeze, stride in self.BLOCKS:
            blocks.append(_Block(kernel, channels, inner, outer, bool(swish), bool(squeeze), stride))
            channels = outer
        self.bneck = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(96, 576, 1)
        self.linear3 = nn.Linear(576, 1280)
        self.bn3 = nn.BatchNorm1d(1280)
        self.linear4 = nn.Linear(1280, 15)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [B, 15] of images [B, 1, 224, 224] in [0, 1]."""
        features = F.hardswish(self.conv1((image - 0.485) / 0.229))
        pooled = F.hardswish(self.conv2(self.bneck(features))).mean(dim=(2, 3))
        return self.linear4(F.hardswish(self.bn3(self.linear3(pooled))))


class _Block(nn.Module):
    def __init__(
        self, kernel: int, channels: int, inner: int, outer: int, swish: bool, squeeze: bool, stride: int
    ) -> None:
        super().__init__()
        self.act = F.hardswish if swish else F.relu
        self.conv1 = nn.Conv2d(channels, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, kernel, stride=stride, padding=kernel // 2, groups=inner)
        self.conv3 = nn.Conv2d(inner, outer, 1)
        self.se = _Squeeze(outer) if squeeze else None
        self.skips = stride == 1
        self.shortcut = nn.Conv2d(channels, outer, 1) if self.skips and channels != outer else nn.Sequential()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv3(self.act(self.conv2(self.act(self.conv1(x)))))
        if self.se is not None:
            out = self.se(out)
        return out + self.shortcut(x) if self.skips else out


class _Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 4, 1)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


def mobilenet() -> nn.Module | None:
    """The MobileNet with its published weights; None where they are not there."""
    return _loaded(MobileNet(), "nih15_mobilenetv3s_float.pt")


def _loaded(network: nn.Module, name: str) -> nn.Module | None:
    path: Path = shared_folder() / "models" / name
    if not path.is_file():
        return None
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()
