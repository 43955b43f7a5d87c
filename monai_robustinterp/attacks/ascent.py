"""The ascent inside a ball in standard deviations of the noise that both attacks share (docs/theory/attack.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from monai_robustinterp.attacks.objective import Evaluation
from monai_robustinterp.noise.shape import Noise

Label = Callable[[torch.Tensor], bool]
_HALVINGS = 8


class Objective(Protocol):
    """What is climbed."""

    def evaluate(self, delta: torch.Tensor, progress: float) -> Evaluation:
        """Gap and gradient at a perturbation [1, H, W], at a share of the steps in [0, 1]."""


@dataclass(frozen=True)
class Reached:
    """Best iterate of all restarts.

    Attributes:
        delta: perturbation, float [1, H, W].
        gap: of :class:`~monai_robustinterp.attacks.objective.Evaluation` at it.
    """

    delta: torch.Tensor
    gap: float


def ascend(
    objective: Objective, keeps_label: Label, *, noise: Noise, radius: float, starts: torch.Tensor, steps: int
) -> Reached:
    """Searches the ball for the smallest gap.

    From each start: steepest steps, the first one radius long and then linearly shorter, each projected into
    the ball, and halved as long as it flips the predicted label (Levine et al. 2019). The best iterate is kept, and
    every one is evaluated, the last too. Clean labels hold at 0, so a start that flips the label moves towards it.

    Args:
        objective: gap and gradient.
        keeps_label: whether the network decides at a perturbation as it does on the clean image.
        noise: whose standard deviations are the unit of lengths; of white noise the ball is one of l2 distance.
        radius: length that no iterate exceeds.
        starts: directions of the restarts, float [R, 1, H, W]; a zero one is the clean image.
        steps: steps a restart, >= 1.

    Raises:
        ValueError: if no start has a gradient although the claim is not broken there.
    """
    best: Reached | None = None
    climbed = False
    for start in starts:
        first = start * (radius / max(length(start, noise), 1e-30))
        delta = _move(torch.zeros_like(start), first, noise, radius, keeps_label)
        for step in range(steps + 1):
            here = objective.evaluate(delta, step / steps)
            if best is None or here.gap < best.gap:
                best = Reached(delta=delta, gap=here.gap)
            if step == steps or not here.gradient.any():
                break
            climbed = True
            move = noise.steepest(here.gradient) * (-radius * (1 - step / steps))
            delta = _move(delta, move, noise, radius, keeps_label)
    assert best is not None
    if not climbed and best.gap > 0:
        raise ValueError(
            "the interpretation has no gradient with respect to the image at any start, so the attack found nothing to "
            "climb and its result would prove nothing. Check that the map is not constant and that the network's "
            "activations are smooth or ReLU."
        )
    return best


def length(delta: torch.Tensor, noise: Noise) -> float:
    """Length of a perturbation [1, H, W] in standard deviations of the noise."""
    return noise.norm(delta.detach().double().cpu().numpy())


def project(delta: torch.Tensor, noise: Noise, radius: float) -> torch.Tensor:
    """The perturbation pulled into the ball along its ray, a hair inside it, so that float32 never exceeds it."""
    return delta * min(1.0, radius * (1 - 1e-6) / max(length(delta, noise), 1e-300))


def _move(delta: torch.Tensor, move: torch.Tensor, noise: Noise, radius: float, keeps_label: Label) -> torch.Tensor:
    """The projected step, halved until it keeps the label; no step if eight halvings do not help."""
    for halving in range(_HALVINGS):
        candidate = project(delta + move * 0.5**halving, noise, radius)
        if keeps_label(candidate):
            return candidate
    return delta
