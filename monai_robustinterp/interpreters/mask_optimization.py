"""Masks that are optimized for each copy: the loop, what it shows of itself, and what its methods share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, IterativeInterpreter
from monai_robustinterp.interpreters.passes import input_gradient
from monai_robustinterp.interpreters.reference_image import Blend
from monai_robustinterp.types import Activation

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class MaskSnapshot:
    """The masks at one moment, and what the network says of the two images that each makes. Without inner noise.

    Attributes:
        iteration: steps done; 0 is the initial mask.
        masks: float [B, 1, H, W] in [0, 1], 1 = the image is kept.
        perturbed: logits [B, classes] at x_pt = m x + (1 - m) x_r.
        reversed: logits [B, classes] at x_rpt = (1 - m) x + m x_r.
    """

    iteration: int
    masks: torch.Tensor
    perturbed: torch.Tensor
    reversed: torch.Tensor


@dataclass(frozen=True)
class MaskRun:
    """What an optimization found, and how it got there.

    Attributes:
        attribution: maps and the logits of the clean inputs.
        snapshots: in the order of their iterations.
    """

    attribution: Attribution
    snapshots: tuple[MaskSnapshot, ...]


class MaskProblem(ABC):
    """The masks of one batch while they are optimized, all copies together and none through another.

    Attributes:
        parameters: float [B, 1, h, w] in [0, 1], a leaf with gradient; what they mean is the method's.
        optimizer: of the parameters, one that treats each number alone.
        blend: images of masks.
    """

    parameters: torch.Tensor
    optimizer: torch.optim.Optimizer
    blend: Blend

    @abstractmethod
    def masks(self) -> torch.Tensor:
        """The masks of the parameters, float [B, 1, H, W] in [0, 1], 1 = the image is kept."""

    @abstractmethod
    def importance(self) -> torch.Tensor:
        """The attribution that they mean, float [B, 1, H, W]."""

    @abstractmethod
    def losses(self, network: Network) -> Iterator[torch.Tensor]:
        """The loss of one step in parts [B]; each part holds the graph of at most one forward pass of B images.

        Draws and schedules move on with each call.
        """

    def step(self, network: Network) -> None:
        """One step of the optimizer, and back into [0, 1].

        Raises:
            ValueError: if the gradient is not finite.
        """
        # The sum over copies has each copy's own gradient.
        gradients = [torch.autograd.grad(part.sum(), self.parameters)[0] for part in self.losses(network)]
        self.parameters.grad = torch.stack(gradients).sum(dim=0)
        if not torch.isfinite(self.parameters.grad).all():
            raise ValueError(
                "the gradient of a masked image is not finite, and no mask can follow it. The network returned NaN or "
                "infinite logits: check its weights, and the weights of the loss."
            )
        self.optimizer.step()
        with torch.no_grad():
            self.parameters.clamp_(0, 1)


class MaskInterpreter(IterativeInterpreter):
    """Optimizes one mask a copy, ``iterations`` steps long."""

    needs_float32: ClassVar[bool] = True

    iterations: int

    @property
    def n_steps(self) -> int:
        """Steps of the optimizer, each of one or two passes over the batch."""
        return self.iterations

    @abstractmethod
    def blend(self, inputs: torch.Tensor) -> Blend:
        """The images between the inputs [B, C, H, W] and their references, as a function of the masks."""

    @abstractmethod
    def problem(self, inputs: torch.Tensor, logits: torch.Tensor, target: int) -> MaskProblem:
        """The optimization of a batch, at its start."""

    def attribute(
        self, network: nn.Module, inputs: torch.Tensor, target: int, progress: Callable[[int], object] | None = None
    ) -> Attribution:
        """See :meth:`IterativeInterpreter.attribute`."""
        return self.optimize(network, inputs, target, progress=progress).attribution

    def optimize(
        self,
        network: nn.Module,
        inputs: torch.Tensor,
        target: int,
        *,
        snapshots: Sequence[int] = (),
        progress: Callable[[int], object] | None = None,
    ) -> MaskRun:
        """Interprets a batch, and keeps the masks of some iterations.

        Args:
            network: as in :meth:`attribute`.
            inputs: as there.
            target: as there.
            snapshots: iterations to keep, from 0 to ``n_steps``; two more passes each, and no effect on the maps.
            progress: as there.

        Raises:
            ValueError: as there, and if a snapshot is no iteration.
        """
        _check_snapshots(snapshots, self.n_steps)
        # With its gradient: a network that lets none through is refused before the first of many steps.
        _, logits = input_gradient(network, inputs, target)
        problem = self.problem(inputs, logits, target)
        taken = [_look(problem, network, 0)] if 0 in snapshots else []
        for iteration in range(1, self.n_steps + 1):
            problem.step(network)
            if iteration in snapshots:
                taken.append(_look(problem, network, iteration))
            if progress is not None:
                progress(1)
        with torch.no_grad():
            maps = problem.importance().clone()
        return MaskRun(Attribution(maps=maps, logits=logits), tuple(taken))


def _check_snapshots(snapshots: Sequence[int], n_steps: int) -> None:
    outside = [iteration for iteration in snapshots if iteration not in range(n_steps + 1)]
    if outside:
        raise ValueError(
            f"a snapshot at iteration {outside[0]} was asked for; the iterations go from 0, the initial mask, to "
            f"{n_steps}: choose from them, or set more iterations."
        )


@torch.no_grad()
def _look(problem: MaskProblem, network: nn.Module, iteration: int) -> MaskSnapshot:
    masks = problem.masks().clamp(0, 1)
    perturbed, reversed_ = (network(problem.blend(m)).clone() for m in (masks, 1 - masks))
    return MaskSnapshot(iteration=iteration, masks=masks, perturbed=perturbed, reversed=reversed_)


def probabilities(logits: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Probabilities [B, classes] of the logits."""
    return torch.sigmoid(logits) if activation == "sigmoid" else logits.softmax(dim=1)


def refuse_one_softmax_logit(logits: torch.Tensor, activation: Activation) -> None:
    """Refuses what has no gradient.

    Raises:
        ValueError: if the activation is softmax and there is one logit.
    """
    if activation == "softmax" and logits.shape[1] == 1:
        raise ValueError(
            "the network has one logit and the activation is 'softmax', so its probability is 1 whatever the mask. "
            "Pass activation='sigmoid'."
        )
