"""A small network that answers fast."""

from __future__ import annotations

import torch
from torch import nn


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
