"""The geometry of a max pooling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Windows:
    """The geometry of a max pooling; each of its entries is (rows, columns).

    Attributes:
        kernel: size of a window.
        stride: between windows.
        padding: around the image.
        dilation: between entries.
        size: of the image.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    size: tuple[int, int]

    def pooled(self, value: torch.Tensor) -> torch.Tensor:
        """The maxima of values [m, C, H, W]."""
        return functional.max_pool2d(value, self.kernel, self.stride, self.padding, self.dilation)

    def entries(self, value: torch.Tensor) -> Iterator[torch.Tensor]:
        """Each entry of all windows, [m, C, windows in a column, windows in a row]; minus infinity beyond the edge."""
        rows, columns = self.padding
        padded = functional.pad(value, (columns, columns, rows, rows), value=-torch.inf) if rows or columns else value
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                part = padded
                for axis, entry in ((0, row), (1, column)):
                    first, count = entry * self.dilation[axis], self.count(axis)
                    part = part.narrow(axis + 2, first, (count - 1) * self.stride[axis] + 1)
                yield part[..., :: self.stride[0], :: self.stride[1]]

    def count(self, axis: int) -> int:
        """Windows along an axis."""
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return (self.size[axis] + 2 * self.padding[axis] - reach) // self.stride[axis] + 1

    def targets(self) -> torch.Tensor:
        """Where each entry of each window lies in the image, int64 [entries, windows]; beyond the edge anywhere."""
        along = []
        for axis in (0, 1):
            entries = torch.arange(self.kernel[axis])[:, None] * self.dilation[axis] - self.padding[axis]
            along.append((entries + torch.arange(self.count(axis)) * self.stride[axis]).clamp(0, self.size[axis] - 1))
        return (along[0][:, None, :, None] * self.size[1] + along[1][None, :, None, :]).flatten(2).flatten(0, 1)
