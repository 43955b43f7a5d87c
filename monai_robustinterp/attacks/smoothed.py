"""Attack on the smoothed vote map, through a guide: a fixed set of noise draws that stands for the expectation."""

from __future__ import annotations

import torch

from monai_robustinterp.attacks.ascent import Label, Reached, ascend
from monai_robustinterp.attacks.maps import CellMap
from monai_robustinterp.attacks.objective import SwapObjective
from monai_robustinterp.noise.counter import CounterNoise
from monai_robustinterp.noise.shape import Noise


def attack_smoothed(
    cells: CellMap,
    image: torch.Tensor,
    keeps_label: Label,
    *,
    noise: Noise,
    stream: CounterNoise,
    guide_draws: int,
    reported: torch.Tensor,
    swaps: int,
    radius: float,
    starts: torch.Tensor,
    steps: int,
    batch_size: int,
) -> Reached:
    """Swaps ``swaps`` cells of the reported set in the mean soft vote of the guide (Levine et al. 2019).

    With its draws fixed the guide is a smooth function, so the ascent needs no estimate of a noisy gradient; but the
    perturbation fits these draws, and only fresh ones can judge it (:mod:`~monai_robustinterp.attacks.judge`).

    Args:
        cells: the interpretation.
        image: float [1, H, W].
        keeps_label: see :func:`~monai_robustinterp.attacks.ascent.ascend`.
        noise: of the certificate's copies.
        stream: the random numbers of the guide.
        guide_draws: number of draws.
        reported: bool [c], the set that is claimed.
        swaps: s.
        radius: bound in standard deviations of the noise.
        starts: directions of the restarts, float [R, 1, H, W].
        steps: steps a restart.
        batch_size: draws per pass.
    """
    objective = SwapObjective(
        cells,
        image,
        draws=lambda samples: noise.copies(torch.zeros_like(image), stream, samples),
        n_draws=guide_draws,
        reported=reported,
        swaps=swaps,
        batch_size=batch_size,
    )
    return ascend(objective, keeps_label, noise=noise, radius=radius, starts=starts, steps=steps)
