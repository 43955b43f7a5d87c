"""Running vote counts: all memory is taken beforehand, and the host does not wait for the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from monai_robustinterp.certificates.pairs import pair_counts
from monai_robustinterp.interpreters.base import Attribution
from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.noise.shape import Draws
from monai_robustinterp.smoothing.voting import NonFiniteMapError, TopK, pool_cells, top_k_votes
from monai_robustinterp.types import Region, VoteMap, packed_bytes

Attribute = Callable[[nn.Module, torch.Tensor], Attribution]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """A batch of copies, counted.

    Attributes:
        counts: votes for each cell, int64 [c].
        copies: of each kind (:attr:`VoteTally.copies`), int64 [5].
        hits: of each copy in each region, int64 [B] a region.
        ones: int64 [B].
    """

    counts: torch.Tensor
    copies: torch.Tensor
    hits: list[torch.Tensor]
    ones: torch.Tensor


class VoteTally:
    """Counts on the device of one image: votes, ties, decisions, hits of regions, and the votes of each copy if kept.

    Args:
        clean: float32 [1, H, W].
        digest: its hash (:func:`~monai_robustinterp.noise.counter.image_sha256`).
        stream: the random numbers of the image.
        noise: makes the copies.
        attribute: interprets copies [B, 1, H, W] with a network.
        finds: whether the network finds the target, logits [B, classes] to bool [B].
        top_k: number of cells that each copy votes for.
        cell_size: side of a cell in pixels; it divides H and W.
        keep: number of copies, from the first, whose own votes are kept, a bit a cell; 0 keeps none.
        pairs: make pair counts of the votes of each copy, at each look.
        regions: whose hits are counted.

    Raises:
        ValueError: if a region is not on the grid of the cells.
    """

    def __init__(
        self,
        clean: torch.Tensor,
        *,
        digest: str,
        stream: CounterNoise,
        noise: Draws,
        attribute: Attribute,
        finds: Callable[[torch.Tensor], torch.Tensor],
        top_k: int,
        cell_size: int,
        keep: int = 0,
        pairs: bool = False,
        regions: Sequence[Region] = (),
    ) -> None:
        self.digest = digest
        self.clean, self.stream, self.noise, self.attribute, self.finds = clean, stream, noise, attribute, finds
        self.top_k, self.cell_size, self.regions = top_k, cell_size, tuple(regions)
        self.grid = tuple(side // cell_size for side in clean.shape[-2:])
        self.n_samples = 0
        n_cells = self.grid[0] * self.grid[1]
        self.counts = torch.zeros(n_cells, dtype=torch.int64, device=clean.device)
        # Copies that find the target, that are tied, constant, and whose map or logits are not finite.
        self.copies = self.counts.new_zeros(5)
        self.pairs = pairs
        # Row i is of copy i, whatever the batches.
        self.kept_votes = self.counts.new_zeros(keep, packed_bytes(n_cells), dtype=torch.uint8)
        self.kept_found = self.counts.new_zeros(keep, dtype=torch.uint8)
        self.bits = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=clean.device)
        self.region_cells = [self._cells(region) for region in regions]
        self.hits = self.counts.new_zeros(len(self.regions), top_k + 1)

    def noisy(self, samples: torch.Tensor) -> torch.Tensor:
        """The copies [B, 1, H, W] with these indices, int64 [B]."""
        return self.noise.copies(self.clean, self.stream, samples)

    def top_cells(self, samples: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, TopK]:
        """Pooled maps [B, h, w] of these copies' maps [B, 1, H, W], and their votes."""
        cells = pool_cells(maps, self.cell_size)
        return cells, top_k_votes(
            cells.flatten(1), self.top_k, lambda rows: self.stream.order(samples[rows], self.counts.numel())
        )

    def count(self, samples: torch.Tensor, attribution: Attribution) -> None:
        """Counts the votes of these copies.

        Raises:
            ValueError: if there are more copies than were to be kept.
        """
        self.add(self.counted(samples, attribution))

    def counted(self, samples: torch.Tensor, attribution: Attribution) -> Counted:
        """What :meth:`add` adds to the counts: all that needs memory is done here.

        Raises:
            ValueError: as :meth:`count`.
        """
        if 0 < len(self.kept_votes) < self.n_samples + len(samples):
            raise ValueError(f"the votes of {len(self.kept_votes)} copies are kept, and these are more.")
        _, top = self.top_cells(samples, attribution.maps)
        found, finite_logits = self.finds(attribution.logits), torch.isfinite(attribution.logits).all(dim=1)
        kinds = (found, top.tied, top.constant, ~top.finite, ~finite_logits)
        copies = torch.stack([kind.sum() for kind in kinds])
        # Sums of at most 2**24 zeros and ones are exact in float32, where matrix products are fast.
        hits = [(top.mask.to(torch.float32) @ cells).to(torch.int64) for cells in self.region_cells]
        if len(self.kept_votes):
            # A batch that is taken again writes the same rows.
            self.kept_votes.index_copy_(0, samples, self._packed(top.mask))
            self.kept_found.index_copy_(0, samples, found.to(torch.uint8))
        return Counted(counts=top.mask.sum(dim=0), copies=copies, hits=hits, ones=torch.ones_like(samples))

    def add(self, counted: Counted) -> None:
        """Adds a batch."""
        self.n_samples += len(counted.ones)
        self.counts += counted.counts
        self.copies += counted.copies
        for row, found in zip(self.hits, counted.hits):
            row.scatter_add_(0, found, counted.ones)

    def check_finite(self) -> None:
        """Waits for the device, and refuses copies that cannot be voted.

        Raises:
            NonFiniteMapError: if a map or a logit of a copy is NaN or infinite.
        """
        maps, logits = self.copies[3:].tolist()
        if logits:
            raise NonFiniteMapError(_LOGITS)
        if maps:
            raise NonFiniteMapError(
                f"{maps} of {self.n_samples} noisy copies have an interpretation with NaN or infinite values. A vote "
                "needs finite values: check the network's weights and the interpreter, and that the network runs in "
                "float32."
            )

    def votes(self, logits: torch.Tensor, input_warnings: tuple[str, ...] = ()) -> VoteMap:
        """The counts so far.

        Args:
            logits: of the clean image, [1, classes].
            input_warnings: of the clean image.

        Raises:
            NonFiniteMapError: see :meth:`check_finite`.
        """
        self.check_finite()
        positive, tied, constant = self.copies[:3].tolist()
        height, width = self.clean.shape[-2:]
        kept, m = len(self.kept_votes) > 0, self.n_samples
        votes = VoteMap(
            counts=self.counts.reshape(self.grid).cpu().numpy().copy(),
            n_samples=m,
            top_k=self.top_k,
            input_shape=(height, width),
            image_sha256=self.digest,
            logits=logits[0].float().cpu().numpy(),
            decision=bool(self.finds(logits)[0]),
            found_copies=positive,
            tied_copies=tied,
            constant_copies=constant,
            copy_votes=self.kept_votes[:m].cpu().numpy().copy() if kept else None,
            copy_found=np.packbits(self.kept_found[:m].cpu().numpy()) if kept else None,
            regions=self.regions,
            region_hits=self.hits.cpu().numpy().copy() if self.regions else None,
            input_warnings=input_warnings,
        )
        return dataclasses.replace(votes, pair_counts=pair_counts(votes)) if self.pairs else votes

    def _packed(self, mask: torch.Tensor) -> torch.Tensor:
        """The votes, bool [B, c], as bits: uint8 [B, ceil(c / 8)], the highest bit first."""
        whole = functional.pad(mask.to(torch.uint8), (0, -mask.shape[1] % 8))
        return (whole.view(len(whole), -1, 8) * self.bits).sum(dim=2, dtype=torch.uint8)

    def _cells(self, region: Region) -> torch.Tensor:
        if region.cells.shape != self.grid:
            raise ValueError(f"a region has {region.cells.shape} cells and the map {self.grid}: they must agree.")
        return torch.from_numpy(region.cells.ravel()).to(self.clean.device, torch.float32)


@dataclasses.dataclass(frozen=True)
class SharedTally:
    """Tallies of several targets of one image, whose copies are drawn and interpreted once for all of them.

    Attributes:
        tallies: of one image, noise and seed, with as many copies.
        attribute: interprets copies [B, 1, H, W] with a network; the maps [B, targets, H, W] are in their order.
    """

    tallies: Sequence[VoteTally]
    attribute: Attribute

    @property
    def n_samples(self) -> int:
        """Copies counted."""
        return self.tallies[0].n_samples

    @property
    def clean(self) -> torch.Tensor:
        """See :class:`VoteTally`."""
        return self.tallies[0].clean

    def noisy(self, samples: torch.Tensor) -> torch.Tensor:
        """See :meth:`VoteTally.noisy`."""
        return self.tallies[0].noisy(samples)

    def count(self, samples: torch.Tensor, attribution: Attribution) -> None:
        """See :meth:`VoteTally.count`: of all targets or, where memory ends, of none."""
        counted = [
            tally.counted(samples, Attribution(maps=maps[:, None], logits=attribution.logits))
            for tally, maps in zip(self.tallies, attribution.maps.unbind(dim=1))
        ]
        for tally, batch in zip(self.tallies, counted):
            tally.add(batch)

    def check_finite(self) -> None:
        """See :meth:`VoteTally.check_finite`."""
        for tally in self.tallies:
            tally.check_finite()


Tally = VoteTally | SharedTally


def add_votes(network: nn.Module, parts: Sequence[tuple[Tally, torch.Tensor]], *, padding: int = 0) -> None:
    """Counts copies of one or several images, interpreted in one batch.

    Args:
        network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.
        parts: tallies that interpret alike, each with the indices of its copies, int64 [B].
        padding: further copies that fill the batch and are thrown away.
    """
    noisy = [tally.noisy(samples) for tally, samples in parts]
    if padding:
        tally, samples = parts[-1]
        noisy.append(tally.noisy(torch.arange(padding, device=samples.device)))
    copies = torch.cat(noisy) if len(noisy) > 1 else noisy[0]
    attribution = parts[0][0].attribute(network, copies)
    start = 0
    for tally, samples in parts:
        rows = slice(start, start + len(samples))
        tally.count(samples, Attribution(maps=attribution.maps[rows], logits=attribution.logits[rows]))
        start = rows.stop


def check_finite_logits(logits: torch.Tensor) -> None:
    """Refuses logits [B, classes] that decide nothing.

    Raises:
        NonFiniteMapError: if one is NaN or infinite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise NonFiniteMapError(_LOGITS)


_LOGITS = (
    "the network gives logits that are NaN or infinite, which neither find nor miss a finding: check its weights, its "
    "preprocessing, and that it runs in float32."
)
