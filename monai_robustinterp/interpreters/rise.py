"""RISE (Petsiuk, Das & Saenko 2018, arXiv:1806.07421)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, get_args

import torch
from torch import nn

from monai_robustinterp.interpreters.base import ROWS, Attribution, IterativeInterpreter
from monai_robustinterp.interpreters.checks import check_choice, check_seed, check_share, check_whole
from monai_robustinterp.interpreters.passes import target_logits
from monai_robustinterp.types import Activation

# Of float32 logits, relative to the largest of them.
_ROUND_OFF = 1e-6


class RISE(IterativeInterpreter):
    """How much the target's score is above its mean where random masks keep a pixel.

    Eq. 6 is S = sum f(x * M_i) M_i / (N E[M]), with masks as in section 3.2: a grid of independent zeros and ones, at
    (grid + 1) times the size of a cell by bilinear interpolation, cropped at random. The map is S less the mean score,
    and E[M] is the mean of the masks that were drawn, at each pixel, instead of ``keep``: all copies share these masks,
    so their surplus at a pixel would be a fixed pattern, in proportion to the score, in every copy's map. A classifier
    that ignores the image would show that pattern, and certify it; here its map is zero. One that reacts to any
    blackening still shows the masks' pattern, in every image alike: compare two seeds. The expectation is the paper's
    up to a constant, which changes no rank.

    What is masked becomes 0, black, in the [0, 1] of the network's input; the paper's zeros are those behind the
    normalization, a mean gray.

    Args:
        n_masks: random masks N, each a forward pass a copy.
        grid: cells of the masks' grid in each direction, >= 2.
        keep: probability that a cell is kept, in (0, 1).
        activation: the score is the target's ``softmax`` or ``sigmoid`` probability, as in the paper, or its logit
            (None), whose offset the means take out.
        seed: of the masks.

    Raises:
        ValueError: if an argument is out of range.
    """

    name: ClassVar[str] = "rise"
    needs_gradient: ClassVar[bool] = False
    needs_float32: ClassVar[bool] = True

    def __init__(
        self,
        n_masks: int = 1000,
        grid: int = 7,
        *,
        keep: float = 0.5,
        activation: Activation | None = None,
        seed: int = 0,
    ) -> None:
        check_whole(1, n_masks=n_masks)
        # A mask of one cell keeps all or nothing.
        check_whole(2, grid=grid)
        check_share(keep=keep)
        check_choice("activation", activation, (*get_args(Activation), None))
        check_seed(seed)
        self.n_masks, self.grid, self.keep, self.activation, self.seed = n_masks, grid, keep, activation, seed

    @property
    def n_steps(self) -> int:
        """One a mask."""
        return self.n_masks

    def attribute(
        self, network: nn.Module, inputs: torch.Tensor, target: int, progress: Callable[[int], object] | None = None
    ) -> Attribution:
        """See :meth:`IterativeInterpreter.attribute`.

        Raises:
            ValueError: also if some pixel is kept by no mask.
        """
        copies, _, height, width = inputs.shape
        # On the CPU in float64: what the masks give does not depend on the device, nor on how many go at once.
        kept = torch.zeros(height, width, dtype=torch.float64)
        weighted = kept.new_zeros(copies, height, width)
        total = kept.new_zeros(copies, 1, 1)
        with torch.no_grad():
            # A clone: without a gradient nothing else stops a network from overwriting its input.
            logits = target_logits(network(inputs.clone()), target).detach()
            self._check_classes(logits)
            for masks in self._masks((height, width), max(1, ROWS // copies)):
                masked = masks.to(inputs.device)[:, None, None] * inputs
                found = target_logits(network(masked.flatten(0, 1)), target)
                changes = self._changes(found.reshape(len(masks), *logits.shape), logits, target).T
                weights = masks.to(torch.float64)
                kept += weights.sum(dim=0)
                weighted += (changes @ weights.flatten(1)).reshape(weighted.shape)
                total += changes.sum(dim=1)[:, None, None]
                if progress is not None:
                    progress(len(masks))
        self._check_kept(kept)
        maps = weighted / kept - total / self.n_masks
        return Attribution(maps=maps[:, None].to(torch.float32).to(inputs.device), logits=logits)

    def _masks(self, size: tuple[int, int], at_once: int) -> Iterator[torch.Tensor]:
        """The masks float32 [m, H, W] in [0, 1], ``at_once`` at a time; they depend on seed and size alone."""
        generator = torch.Generator().manual_seed(self.seed)
        grids = torch.rand(self.n_masks, 1, self.grid, self.grid, generator=generator) < self.keep
        cell = [-(-side // self.grid) for side in size]
        tops, lefts = (torch.randint(side, (self.n_masks,), generator=generator).tolist() for side in cell)
        larger = [(self.grid + 1) * side for side in cell]
        for start in range(0, self.n_masks, at_once):
            some = slice(start, start + at_once)
            masks = nn.functional.interpolate(grids[some].float(), larger, mode="bilinear", align_corners=False)[:, 0]
            crops = zip(masks, tops[some], lefts[some])
            yield torch.stack([mask[top : top + size[0], left : left + size[1]] for mask, top, left in crops])

    def _changes(self, masked: torch.Tensor, clean: torch.Tensor, target: int) -> torch.Tensor:
        """What masks [m, B, classes] change in the copies' scores, [B, classes]: float64 [m, B], on the CPU."""
        masked, clean = (logits.detach().cpu().to(torch.float64) for logits in (masked, clean))
        # Other batch sizes round otherwise. A score that never changes must give exact zeros, which count as constant.
        same = (masked - clean).abs().amax(dim=-1) <= _ROUND_OFF * clean.abs().amax(dim=-1)
        if self.activation == "softmax":
            masked, clean = masked.softmax(dim=-1), clean.softmax(dim=-1)
        elif self.activation == "sigmoid":
            masked, clean = masked.sigmoid(), clean.sigmoid()
        return (masked - clean)[..., target].masked_fill(same, 0.0)

    def _check_classes(self, logits: torch.Tensor) -> None:
        if self.activation == "softmax" and logits.shape[1] == 1:
            raise ValueError(
                "the network has one logit, whose softmax is always 1, and the activation is 'softmax': choose "
                "'sigmoid', or None for the logit."
            )

    def _check_kept(self, kept: torch.Tensor) -> None:
        never = int((kept <= 0).sum())
        if never:
            raise ValueError(
                f"{never} pixels are kept by none of the {self.n_masks} masks, and nothing is known of them: choose "
                f"more masks, or keep more of the image than {self.keep}."
            )
