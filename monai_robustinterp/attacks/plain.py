"""Attack on an ordinary saliency map, without smoothing: how fragile the map is that everyone shows."""

from __future__ import annotations

import torch

from monai_robustinterp.attacks.ascent import Label, Reached, ascend
from monai_robustinterp.attacks.maps import CellMap
from monai_robustinterp.attacks.objective import SwapObjective
from monai_robustinterp.noise.shape import Noise


def attack_plain(
    cells: CellMap,
    image: torch.Tensor,
    keeps_label: Label,
    *,
    top_k: int,
    swaps: int,
    noise: Noise,
    radius: float,
    starts: torch.Tensor,
    steps: int,
) -> tuple[Reached, int]:
    """Moves ``swaps`` cells out of the top-k set of the interpretation of the clean image, or as near as it comes.

    Args:
        cells: the interpretation.
        image: float [1, H, W].
        keeps_label: see :func:`~monai_robustinterp.attacks.ascent.ascend`.
        top_k: k.
        swaps: s.
        noise: whose standard deviations are the unit of lengths.
        radius: bound in them.
        starts: directions of the restarts, float [R, 1, H, W].
        steps: steps a restart.

    Returns:
        The perturbation, and the number of cells that the exact top-k set at it shares with the clean one.
    """
    clean = top_k_mask(cells(image[None], differentiable=False)[0], top_k)
    objective = SwapObjective(
        cells,
        image,
        draws=lambda samples: image.new_zeros(len(samples), *image.shape),
        n_draws=1,
        reported=clean,
        swaps=swaps,
        last_margin=2e-4,
        batch_size=1,
    )
    reached = ascend(objective, keeps_label, noise=noise, radius=radius, starts=starts, steps=steps)
    attacked = top_k_mask(cells((image + reached.delta)[None], differentiable=False)[0], top_k)
    return reached, int((clean & attacked).sum())


def top_k_mask(cells: torch.Tensor, top_k: int) -> torch.Tensor:
    """The k largest of [c] cells, bool [c]; equal values are taken in reading order."""
    mask = torch.zeros_like(cells, dtype=torch.bool)
    mask[cells.argsort(descending=True, stable=True)[:top_k]] = True
    return mask
