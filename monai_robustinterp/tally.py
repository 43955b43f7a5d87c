"""Running vote counts of one image: memory does not grow with the number of copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution
from monai_robustinterp.noise import CounterNoise
from monai_robustinterp.types import Region, VoteMap
from monai_robustinterp.voting import NonFiniteMapError, pool_cells, top_k_votes


class VoteTally:
    """Counts on the device of the image: votes, ties, decisions, and joint votes and hits of regions if wanted.

    Args:
        clean: float32 [1, H, W].
        noise: of the image.
        sigma: standard deviation of the noise.
        attribute: interprets copies [B, 1, H, W] with a network.
        finds: whether the network finds the target, logits [B, classes] to bool [B].
        top_k: number of cells that each copy votes for.
        cell_size: side of a cell in pixels; it divides H and W.
        pairs: count joint votes, int64 [c, c].
        regions: whose hits are counted.

    Raises:
        ValueError: if a region is not on the grid of the cells.
    """

    def __init__(
        self,
        clean: torch.Tensor,
        *,
        noise: CounterNoise,
        sigma: float,
        attribute: Callable[[nn.Module, torch.Tensor], Attribution],
        finds: Callable[[torch.Tensor], torch.Tensor],
        top_k: int,
        cell_size: int,
        pairs: bool = False,
        regions: Sequence[Region] = (),
    ) -> None:
        self.clean, self.noise, self.sigma, self.attribute, self.finds = clean, noise, sigma, attribute, finds
        self.top_k, self.cell_size, self.regions = top_k, cell_size, tuple(regions)
        self.grid = tuple(side // cell_size for side in clean.shape[-2:])
        self.n_samples = self.positive = self.tied = self.constant = 0
        n_cells = self.grid[0] * self.grid[1]
        self.counts = torch.zeros(n_cells, dtype=torch.int64, device=clean.device)
        self.joint = self.counts.new_zeros(n_cells, n_cells) if pairs else None
        self.region_cells = [self._cells(region) for region in regions]
        self.hits = self.counts.new_zeros(len(self.regions), top_k + 1)

    def interpret(self, network: nn.Module, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noisy copies [B, 1, H, W], pooled maps [B, h, w] and top-k masks [B, h * w]; counts ties and labels."""
        copies = self.clean + self.sigma * self.noise.normal(samples, tuple(self.clean.shape))
        attribution = self.attribute(network, copies)
        check_finite_logits(attribution.logits)
        cells = pool_cells(attribution.maps, self.cell_size)
        top = top_k_votes(
            cells.flatten(1), self.top_k, lambda rows: self.noise.order(samples[rows], self.counts.numel())
        )
        self.positive += int(self.finds(attribution.logits).sum())
        self.tied += int(top.tied.sum())
        self.constant += int(top.constant.sum())
        return copies, cells, top.mask

    def add(self, network: nn.Module, samples: torch.Tensor) -> None:
        """Counts the votes of the copies with these indices, int64 [B]."""
        mask = self.interpret(network, samples)[2]
        self.n_samples += len(samples)
        self.counts += mask.sum(dim=0)
        # Sums of at most 2**24 zeros and ones are exact in float32, where matrix products are fast.
        votes = mask.to(torch.float32)
        if self.joint is not None:
            self.joint += (votes.T @ votes).to(torch.int64)
        for row, cells in zip(self.hits, self.region_cells):
            row += (votes @ cells).to(torch.int64).bincount(minlength=self.top_k + 1)

    def votes(self, logits: torch.Tensor, digest: str) -> VoteMap:
        """The counts so far.

        Args:
            logits: of the clean image, [1, classes].
            digest: hash of the clean image.
        """
        height, width = self.clean.shape[-2:]
        return VoteMap(
            counts=self.counts.reshape(self.grid).cpu().numpy().copy(),
            n_samples=self.n_samples,
            top_k=self.top_k,
            input_shape=(height, width),
            image_sha256=digest,
            logits=logits[0].float().cpu().numpy(),
            positive=bool(self.finds(logits)[0]),
            positive_copies=self.positive,
            tied_copies=self.tied,
            constant_copies=self.constant,
            joint=None if self.joint is None else self.joint.cpu().numpy().copy(),
            regions=self.regions,
            region_hits=self.hits.cpu().numpy().copy() if self.regions else None,
        )

    def _cells(self, region: Region) -> torch.Tensor:
        if region.cells.shape != self.grid:
            raise ValueError(f"a region has {region.cells.shape} cells and the map {self.grid}: they must agree.")
        return torch.from_numpy(region.cells.ravel()).to(self.clean.device, torch.float32)


def check_finite_logits(logits: torch.Tensor) -> None:
    """Refuses logits [B, classes] that decide nothing.

    Raises:
        NonFiniteMapError: if one is NaN or infinite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise NonFiniteMapError(
            "the network gives logits that are NaN or infinite, which neither find nor miss a finding: check its "
            "weights, its preprocessing, and that it runs in float32."
        )
