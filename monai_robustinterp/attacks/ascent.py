"""The l2-bounded ascent that both attacks share (docs/theory/attack.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from monai_robustinterp.attacks.objective import Evaluation

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


def ascend(objective: Objective, keeps_label: Label, *, radius: float, starts: torch.Tensor, steps: int) -> Reached:
    """Searches the ball for the smallest gap.

    From each start: normalized gradient steps, the first one radius long and then linearly shorter, each projected into
    the ball, and halved as long as it flips the predicted label (Levine et al. 2019). The best iterate is kept, and
    every one is evaluated, the last too. Clean labels hold at 0, so a start that flips the label moves towards it.

    Args:
        objective: gap and gradient.
        keeps_label: whether the network decides at a perturbation as it does on the clean image.
        radius: l2 norm that no iterate exceeds, in units of the network's single-channel input.
        starts: directions of the restarts, float [R, 1, H, W]; a zero one is the clean image.
        steps: steps a restart, >= 1.

    Raises:
        ValueError: if no start has a gradient although the claim is not broken there.
    """
    best: Reached | None = None
    climbed = False
    for start in starts:
        delta = _move(torch.zeros_like(start), start * (radius / start.norm().clamp_min(1e-30)), radius, keeps_label)
        for step in range(steps + 1):
            here = objective.evaluate(delta, step / steps)
            if best is None or here.gap < best.gap:
                best = Reached(delta=delta, gap=here.gap)
            norm = here.gradient.norm()
            if step == steps or not norm > 0:
                break
            climbed = True
            delta = _move(delta, here.gradient * (-radius * (1 - step / steps) / norm), radius, keeps_label)
    assert best is not None
    if not climbed and best.gap > 0:
        raise ValueError(
            "the interpretation has no gradient with respect to the image at any start, so the attack found nothing to "
            "climb and its result would prove nothing. Check that the map is not constant and that the network's "
            "activations are smooth or ReLU."
        )
    return best


def project(delta: torch.Tensor, radius: float) -> torch.Tensor:
    """The nearest perturbation in the ball, a hair inside it, so that float32 never exceeds the radius."""
    return delta * min(1.0, radius * (1 - 1e-6) / max(float(delta.double().norm()), torch.finfo(torch.float64).tiny))


def _move(delta: torch.Tensor, move: torch.Tensor, radius: float, keeps_label: Label) -> torch.Tensor:
    """The projected step, halved until it keeps the label; no step if eight halvings do not help."""
    for halving in range(_HALVINGS):
        candidate = project(delta + move * 0.5**halving, radius)
        if keeps_label(candidate):
            return candidate
    return delta
