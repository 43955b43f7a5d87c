"""Top-k votes: each noisy copy marks its k largest cells; only integer counts are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional


class NonFiniteMapError(ValueError):
    """An interpretation has NaN or infinite values: the network or the interpreter failed, and nothing is voted."""


def pool_cells(maps: torch.Tensor, cell_size: int) -> torch.Tensor:
    """Sums the attribution over square cells.

    Where an interpreter gives signed values a cell's sum is its net evidence, and the cells of a complete method still
    add up to the change of the logit.

    Args:
        maps: [B, 1, H, W]; larger = more important.
        cell_size: side of a cell in pixels; it must divide H and W.

    Returns:
        [B, h, w] with h = H / cell_size.

    Raises:
        ValueError: if the cells do not fit.
    """
    height, width = maps.shape[-2:]
    if height % cell_size or width % cell_size:
        raise ValueError(
            f"cell_size is {cell_size} and the map {height} x {width} pixels: cells must tile the map. "
            f"Choose a cell_size that divides both."
        )
    return functional.avg_pool2d(maps, cell_size, divisor_override=1)[:, 0]


@dataclass(frozen=True)
class TopK:
    """Votes of a batch of copies.

    Attributes:
        mask: bool [B, c], exactly k ones a row.
        tied: bool [B], whether the random order decided.
        constant: bool [B], whether all values of the copy are equal.
        finite: bool [B], whether they are; the votes of a row that is not mean nothing.
    """

    mask: torch.Tensor
    tied: torch.Tensor
    constant: torch.Tensor
    finite: torch.Tensor


def top_k_votes(values: torch.Tensor, top_k: int, order: Callable[[torch.Tensor], torch.Tensor]) -> TopK:
    """Marks the k largest values of each row, exactly k; ties at the k-th value fall by a random order.

    A fixed order would let a dead, constant map certify best of all (docs/theory/objects.md, D4). Nothing here
    waits for an accelerator.

    Args:
        values: [B, c], one row a copy.
        top_k: k, in [1, c].
        order: gives random ranks, int64 [R, c], for the row numbers (int64 [R]) that need them.

    Returns:
        The votes, and which rows were tied, constant or finite.

    Raises:
        ValueError: if k is out of range.
    """
    n_cells = values.shape[1]
    if not 1 <= top_k <= n_cells:
        raise ValueError(f"top_k is {top_k} and the map has {n_cells} cells: top_k must lie in [1, {n_cells}].")
    kth = values.topk(top_k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    above, level = values > kth, values == kth
    wanted = top_k - above.sum(dim=1)
    tied = level.sum(dim=1) > wanted
    mask = above | level
    # Which rows are tied only the device knows, and asking an accelerator would stop it: there all rows are ranked.
    rows = tied.nonzero()[:, 0] if values.is_cpu else torch.arange(len(values), device=values.device)
    if len(rows):
        mask[rows] = above[rows] | _lowest(order(rows), level[rows], wanted[rows])
    constant = (values == values[:, :1]).all(dim=1)
    return TopK(mask=mask, tied=tied, constant=constant, finite=torch.isfinite(values).all(dim=1))


def _lowest(ranks: torch.Tensor, allowed: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Marks in each row the ``wanted`` allowed cells of lowest rank."""
    last = torch.iinfo(torch.int64).max
    by_rank = ranks.masked_fill(~allowed, last).argsort(dim=1, stable=True)
    position = torch.empty_like(by_rank)
    position.scatter_(1, by_rank, torch.arange(ranks.shape[1], device=ranks.device).expand_as(by_rank))
    return position < wanted[:, None]
