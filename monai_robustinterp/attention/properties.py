"""What must stay along a line or in a plane: the decision, the gradient maps, the strongest cells."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from monai_robustinterp.attention.line import Piece
from monai_robustinterp.smoothing.voting import pool_cells
from monai_robustinterp.types import Activation

Theta = float | tuple[float, float]
"""The parameter, or both of them."""
MARGIN = 1e-9
"""Relative distance from a threshold within which nothing is called proven and nothing a violation."""


class Property(ABC):
    """One condition on the network at g(theta, x).

    Attributes:
        name: its word in the record.
        threshold: of :meth:`value`.
        of_map: whether the map decides on it.
    """

    name: ClassVar[str]
    threshold: float
    of_map: ClassVar[bool] = True

    @abstractmethod
    def value(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> float:
        """The number that is compared.

        Args:
            logits: float64 [classes].
            maps: gradient maps [labels, 1, H, W].
            theta: the parameter, or both.
        """

    @abstractmethod
    def holds_until(self, piece: Piece, near: float, far: float) -> float:
        """The theta up to which the condition provably holds in one piece, from ``near`` towards ``far``."""

    @abstractmethod
    def holds(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """Whether the condition holds, by more than the margin."""

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for all theta that have the same map."""
        return self.of_map

    @abstractmethod
    def violates(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """Whether it is violated, by more than the margin."""


@dataclass(frozen=True)
class ClassificationRobustness(Property):
    """CR: the predicted label set is that of the clean image.

    The value is the smallest lead of what is predicted, in logits; the threshold is 1e-9 of the largest clean logit.

    Attributes:
        leads: float64 [n, classes]; leads @ logits > 0 is the clean decision.
        threshold: see above.
    """

    leads: torch.Tensor
    threshold: float

    name: ClassVar[str] = "classification"
    of_map: ClassVar[bool] = False

    @classmethod
    def of(cls, clean: torch.Tensor, activation: Activation) -> ClassificationRobustness:
        """The property of the clean logits [classes]: their arg-max, or each one's sign for independent findings."""
        unit = torch.eye(len(clean), dtype=torch.float64)
        if activation == "sigmoid":
            leads = unit * torch.where(clean > 0, 1.0, -1.0).double()[:, None]
        else:
            best = int(clean.argmax())
            leads = torch.cat([unit[best] - unit[:best], unit[best] - unit[best + 1 :]])
        return cls(leads, MARGIN * float(clean.abs().max()))

    def value(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> float:
        """See :meth:`Property.value`."""
        return float((self.leads @ logits.cpu()).min())

    def holds(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """See :meth:`Property.holds`; the threshold is the margin."""
        return self.value(logits, maps, theta) >= self.threshold

    def violates(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """See :meth:`Property.violates`."""
        return self.value(logits, maps, theta) <= -self.threshold

    def holds_until(self, piece: Piece, near: float, far: float) -> float:
        """See :meth:`Property.holds_until`: the leads are affine in theta."""
        start, stop = (self.leads @ piece.logits_at(theta) for theta in (near, far))
        if bool((start < self.threshold).any()):
            return near
        share = ((start - self.threshold) / (start - stop)).where(stop < self.threshold, 1.0)
        return near + float(share.min()) * (far - near) if bool((stop < self.threshold).any()) else far


@dataclass(frozen=True)
class AttentionRobustness(Property):
    """AR: ai(theta) = sum_j || map_j(g(theta, x)) - g~(theta, map_j(x)) ||_2 is at most delta.

    Attributes:
        clean: gradient maps of the clean image, [labels, 1, H, W].
        expected: derivative of their expected change by theta, of the same shape; of two parameters one of each, [2,
            labels, 1, H, W].
        threshold: delta.
    """

    clean: torch.Tensor
    expected: torch.Tensor
    threshold: float

    name: ClassVar[str] = "attention"

    @property
    def is_fixed(self) -> bool:
        """See :meth:`Property.is_fixed`: where the map is expected to stay."""
        return not bool(self.expected.any())

    def value(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> float:
        """ai(theta)."""
        if isinstance(theta, tuple):
            return norm_of(maps - self.clean - theta[0] * self.expected[0] - theta[1] * self.expected[1])
        return norm_of(maps - self.clean - theta * self.expected)

    def holds(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """See :meth:`Property.holds`."""
        return self.value(logits, maps, theta) <= self.threshold * (1 - MARGIN)

    def violates(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """See :meth:`Property.violates`."""
        return self.value(logits, maps, theta) >= self.threshold * (1 + MARGIN)

    def holds_until(self, piece: Piece, near: float, far: float) -> float:
        """See :meth:`Property.holds_until`: ai is convex in theta within a piece; constant if g~ is the identity."""

        def holds(theta: float) -> bool:
            return self.holds(piece.logits_at(theta), piece.maps, theta)

        if not holds(near):
            return near
        if not bool(self.expected.any()) or holds(far):
            return far
        good, bad = near, far
        while good != (middle := (good + bad) / 2) != bad:
            good, bad = (middle, bad) if holds(middle) else (good, middle)
        return good


@dataclass(frozen=True)
class TopKOverlap(Property):
    """The k strongest cells of the first label's |gradient| share at least ``threshold`` cells with the clean ones.

    Attributes:
        clean: top-k cells of the clean image, bool [h, w].
        cell_size: side of a cell in pixels.
        threshold: number of cells that must stay, ceil(beta k).
    """

    clean: torch.Tensor
    cell_size: int
    threshold: float

    name: ClassVar[str] = "top_k"

    @classmethod
    def of(cls, maps: torch.Tensor, *, cell_size: int, top_k: int, needed: int) -> TopKOverlap:
        """The property of the clean maps [labels, 1, H, W]; equal values are taken in reading order."""
        cells = pool_cells(maps[:1].abs(), cell_size)[0]
        clean = torch.zeros_like(cells, dtype=torch.bool).flatten()
        clean[cells.flatten().argsort(descending=True, stable=True)[:top_k]] = True
        return cls(clean.reshape(cells.shape), cell_size, needed)

    def value(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> float:
        """Number of shared cells."""
        return float(self._shared(maps, slack=0.0))

    def holds(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """See :meth:`Property.holds`; a cell that is within the margin of the k-th value counts as lost."""
        return self._shared(maps, slack=MARGIN) >= self.threshold

    def violates(self, logits: torch.Tensor, maps: torch.Tensor, theta: Theta) -> bool:
        """See :meth:`Property.violates`; a cell that is within the margin of the k-th value counts as kept."""
        cells = pool_cells(maps[:1].abs(), self.cell_size)[0].flatten()
        ordered = cells.sort(descending=True).values
        possible = cells >= ordered[int(self.clean.sum()) - 1] - MARGIN * ordered[0]
        return int((self.clean.flatten() & possible).sum()) < self.threshold

    def holds_until(self, piece: Piece, near: float, far: float) -> float:
        """See :meth:`Property.holds_until`: the map is constant in a piece."""
        return far if self.holds(piece.logits_at(near), piece.maps, near) else near

    def _shared(self, maps: torch.Tensor, *, slack: float) -> int:
        cells = pool_cells(maps[:1].abs(), self.cell_size)[0].flatten()
        ordered = cells.sort(descending=True).values
        top_k = int(self.clean.sum())
        # Surely among the k largest: above the value behind them.
        behind = ordered[top_k] if top_k < len(ordered) else ordered.new_tensor(-math.inf)
        return int((self.clean.flatten() & (cells > behind + slack * ordered[0])).sum())


def norm_of(maps: torch.Tensor) -> float:
    """sum_j || map_j ||_2 of maps [labels, ...]."""
    return float(maps.flatten(1).norm(dim=1).sum())
