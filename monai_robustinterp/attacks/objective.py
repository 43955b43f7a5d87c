"""What the attack climbs: swapping as many cells as would break the claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from monai_robustinterp.attacks.maps import CellMap

_TEMPERATURE = 0.3
_MARGIN = 0.2


@dataclass(frozen=True)
class Evaluation:
    """One iterate.

    Attributes:
        gap: s-th smallest soft vote share inside the set minus s-th largest outside; < 0 where the claim is broken.
        gradient: of the loss with respect to the perturbation, [1, H, W].
    """

    gap: float
    gradient: torch.Tensor


def soft_votes(cells: torch.Tensor, top_k: int) -> torch.Tensor:
    """Differentiable votes: sigmoid of each cell's distance from the copy's own threshold.

    The threshold lies midway between the k-th and the next value. The unit is the copy's mean distance from it, so
    maps of any scale vote alike. Both count as constants.

    Args:
        cells: [B, c], c > k.
        top_k: k.

    Returns:
        [B, c] in (0, 1); above 1/2 exactly where the cell is among the k largest, ties aside.
    """
    threshold = cells.detach().topk(top_k + 1, dim=1).values[:, -2:].mean(dim=1, keepdim=True)
    distance = cells - threshold
    scale = distance.detach().abs().mean(dim=1, keepdim=True)
    return torch.sigmoid(distance / (_TEMPERATURE * scale.clamp_min(torch.finfo(scale.dtype).tiny)))


def swap_loss(shares: torch.Tensor, reported: torch.Tensor, swaps: int, margin: float) -> tuple[torch.Tensor, float]:
    """Mean over pairs of (inside share - outside share + margin)_+^2, over the s weakest inside and strongest outside.

    The claim fails exactly where those s x s pairs are all in the wrong order (docs/theory/objects.md, L1), so at
    margin 0 the loss is 0 there and nowhere else, and for a map linear in the image and a fixed choice of cells it is
    convex. The attribution mass left on the whole set (Ghorbani et al. 2019; Levine et al. 2019) spends the budget on
    cells that need not move: on one image and the network of version 0.1 it left 23 to 25 of 38 cells at a radius
    (0.4) where this left 18.

    Args:
        shares: [c], soft vote shares.
        reported: bool [c], the set that is claimed.
        swaps: s.
        margin: by how much each pair shall be in the wrong order, >= 0.

    Returns:
        The loss, and the gap of :class:`Evaluation`.
    """
    inside = shares[reported].topk(swaps, largest=False).values
    outside = shares[~reported].topk(swaps).values
    loss = torch.relu(inside[:, None] - outside[None, :] + margin).square().mean()
    return loss, float((inside[-1] - outside[-1]).detach())


class SwapObjective:
    """Loss of a perturbation under fixed draws of the noise; memory does not grow with their number.

    Args:
        cells: the interpretation.
        image: float [1, H, W].
        draws: noise [B, 1, H, W], scaled by sigma, of the draws with these indices (int64 [B]).
        n_draws: number of draws.
        reported: bool [c], the set that is claimed.
        swaps: s.
        last_margin: the margin goes geometrically from 0.2 at progress 0 to this at progress 1. For a plain map nearly
            0, where the loss is 0 exactly if the claim is broken; for a smoothed one 0.2, since fresh draws must
            confirm what the guide shows.
        batch_size: draws per pass; it changes nothing but speed, up to float round-off.
    """

    def __init__(
        self,
        cells: CellMap,
        image: torch.Tensor,
        *,
        draws: Callable[[torch.Tensor], torch.Tensor],
        n_draws: int,
        reported: torch.Tensor,
        swaps: int,
        last_margin: float = _MARGIN,
        batch_size: int,
    ) -> None:
        self.cells, self.image, self.draws, self.n_draws = cells, image, draws, n_draws
        self.reported, self.swaps, self.batch_size = reported, swaps, batch_size
        self.top_k = int(reported.sum())
        self.shrink = last_margin / _MARGIN

    def evaluate(self, delta: torch.Tensor, progress: float) -> Evaluation:
        """Gap and gradient at a perturbation.

        Two passes over the draws: the loss depends on their mean votes, and its derivative with respect to these is
        what the second pass pulls back to the image.

        Args:
            delta: float [1, H, W].
            progress: share of the steps that are done, in [0, 1]. At 1 no step follows, and the gradient is left 0.
        """
        shares = torch.zeros_like(self.reported, dtype=torch.float32)
        for copies in self._copies(delta):
            shares += soft_votes(self.cells(copies, differentiable=False), self.top_k).sum(dim=0) / self.n_draws
        shares.requires_grad_()
        loss, gap = swap_loss(shares, self.reported, self.swaps, _MARGIN * self.shrink**progress)
        (weights,) = torch.autograd.grad(loss, shares)
        gradient = torch.zeros_like(delta)
        if progress < 1 and bool(weights.any()):
            for copies in self._copies(delta):
                copies.requires_grad_()
                votes = soft_votes(self.cells(copies, differentiable=True), self.top_k)
                gradient += torch.autograd.grad((votes @ weights).sum() / self.n_draws, copies)[0].sum(dim=0)
        return Evaluation(gap=gap, gradient=gradient)

    def _copies(self, delta: torch.Tensor) -> Iterator[torch.Tensor]:
        for start in range(0, self.n_draws, self.batch_size):
            stop = min(start + self.batch_size, self.n_draws)
            yield (self.image + delta + self.draws(torch.arange(start, stop, device=delta.device))).detach()
