"""Robust perturbation (Kim, Kim, Kim & Ro, IEEE Transactions on Image Processing 31:301-313, 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, get_args

import torch

from monai_robustinterp.interpreters.checks import check_choice, check_not_negative, check_seed, check_whole
from monai_robustinterp.interpreters.mask_optimization import (
    MaskInterpreter,
    MaskProblem,
    Network,
    probabilities,
    refuse_one_softmax_logit,
)
from monai_robustinterp.interpreters.reference_image import (
    Blend,
    Reference,
    gaussian_blur,
    mean_gray,
    median_blur,
    scaled,
    toward,
)
from monai_robustinterp.types import Activation

Divergence = Literal["bounded-log", "kl"]

_PAPER_PX = 300
_LEARNING_RATE = 0.1
_EPSILON = 1e-7


class RobustPerturbation(MaskInterpreter):
    """What a mask takes away that changes the target's output and no other class's.

    1 - m for the mask m (1 = kept; one value a pixel, all 0 at first) that minimizes::

        - D_T(p_o || p_pt)  + mean over NT of D(p_o || p_pt)    the target changes, the others do not
        + D_T(p_o || p_rpt) + mean over NT of f(p_rpt)          reversed, the target is back and the others absent
        + sparsity mean|1 - m| + smoothness (s / 300)^2 TV(m)

    with p_o, p_pt and p_rpt the probabilities at x, x_pt = m x + (1 - m) x_r and x_rpt = (1 - m) x + m x_r; T the
    target and NT each other class; TV the mean squared difference of neighbors in a column plus that in a row. Adam,
    learning rate 0.1. The weights suit classifiers with probabilities near 0 and 1: each of the first four terms is at
    most 1, so where the target's probability can change by little, nothing pays for 5 mean|1 - m| and the map is 0.

    The paper's images have 300 pixels a side. For a shorter side of s pixels the blurs shrink by s / 300, and TV is
    weighted as above, so that the same mask on another grid has the same loss.

    Round-off grows along the steps: on a shipped bundle (128 pixels, ``mean``, sparsity 1) a copy alone and the same
    one in a batch of 4 differed in a fifth of their top 38 cells after 150 steps. So maps depend on the batch size and
    on a copy's place in the batch, though never on the other copies.

    With softmax and two classes p_NT is 1 - p_T, so that the first two terms cancel: what is left asks for the smallest
    region that, kept alone, keeps the target's probability. Without other classes (one logit, sigmoid) their terms
    are 0.

    Args:
        activation: makes probabilities of the logits: ``sigmoid`` (the paper's) for independent findings, ``softmax``
            for exclusive classes.
        divergence: D and f. ``bounded-log``: log2(|p - q| + 1) and log2(p + 1), from the authors' code, which gave
            their results; blind to the direction of a change. ``kl``: p ln(p/q) + (1-p) ln((1-p)/(1-q)) and p, as in
            their text; 1e-7 is added to each probability under a logarithm.
        reference: x_r: ``blur``, the paper's, half Gaussian (11 x 11, sigma 5) and half median (11 x 11), or ``mean``,
            the image's mean gray.
        iterations: steps.
        sparsity: weight of mean|1 - m|.
        smoothness: weight of TV at 300 pixels.
        noise: standard deviation of the Gaussian noise added to x_pt and x_rpt, fresh for each step, in units of the
            [0, 1] input. The paper's 0.2 is in units of ImageNet's standard deviation, about 0.225.
        seed: of that noise, which is the same for every copy.

    Raises:
        ValueError: if an argument is out of its range.
    """

    name: ClassVar[str] = "robust_perturbation"
    amplifies_round_off: ClassVar[bool] = True

    def __init__(
        self,
        *,
        activation: Activation = "softmax",
        divergence: Divergence = "bounded-log",
        reference: Reference = "blur",
        iterations: int = 150,
        sparsity: float = 5.0,
        smoothness: float = 20.0,
        noise: float = 0.045,
        seed: int = 0,
    ) -> None:
        check_choice("activation", activation, get_args(Activation))
        check_choice("divergence", divergence, get_args(Divergence))
        check_choice("reference", reference, get_args(Reference))
        check_whole(1, iterations=iterations)
        check_seed(seed)
        check_not_negative(sparsity=sparsity, smoothness=smoothness, noise=noise)
        self.activation, self.divergence, self.reference = activation, divergence, reference
        self.iterations, self.sparsity, self.smoothness = iterations, sparsity, smoothness
        self.noise, self.seed = noise, seed

    def blend(self, inputs: torch.Tensor) -> Blend:
        """See :meth:`MaskInterpreter.blend`."""
        return toward(inputs, mean_gray(inputs) if self.reference == "mean" else half_gaussian_half_median(inputs))

    def problem(self, inputs: torch.Tensor, logits: torch.Tensor, target: int) -> MaskProblem:
        """See :meth:`MaskInterpreter.problem`."""
        refuse_one_softmax_logit(logits, self.activation)
        return _Problem(self, inputs, logits, target)


class _Problem(MaskProblem):
    def __init__(self, method: RobustPerturbation, inputs: torch.Tensor, logits: torch.Tensor, target: int) -> None:
        self.method, self.shape, self.target = method, inputs.shape[1:], target
        self.blend = method.blend(inputs)
        self.original = probabilities(logits, method.activation)
        self.tv_weight = method.smoothness * scaled(1, of_px=_PAPER_PX, images=inputs) ** 2
        self.draws = torch.Generator().manual_seed(method.seed)
        self.parameters = inputs.new_zeros(len(inputs), 1, *inputs.shape[2:]).requires_grad_()
        self.optimizer = torch.optim.Adam([self.parameters], lr=_LEARNING_RATE)

    def masks(self) -> torch.Tensor:
        return self.parameters

    def importance(self) -> torch.Tensor:
        return 1 - self.parameters

    def losses(self, network: Network) -> Iterator[torch.Tensor]:
        divergence, original = self.method.divergence, self.original
        changed = divergences(original, self._noisy_output(network, self.parameters), divergence)
        yield others(changed, self.target) - changed[:, self.target]
        output = self._noisy_output(network, 1 - self.parameters)
        back = divergences(original, output, divergence)
        yield back[:, self.target] + others(presences(output, divergence), self.target)
        missing = (1 - self.parameters).abs().mean(dim=(1, 2, 3))
        yield self.method.sparsity * missing + self.tv_weight * total_variation(self.parameters)

    def _noisy_output(self, network: Network, masks: torch.Tensor) -> torch.Tensor:
        noise = self.method.noise * torch.randn(self.shape, generator=self.draws)
        return probabilities(network(self.blend(masks) + noise.to(masks.device)), self.method.activation)


def half_gaussian_half_median(images: torch.Tensor) -> torch.Tensor:
    """The paper's reference: at 300 pixels both kernels are 11 x 11, the Gaussian with sigma 5."""
    sigma = scaled(5, of_px=_PAPER_PX, images=images)
    radius = max(1, round(sigma))
    return (gaussian_blur(images, sigma, radius=radius) + median_blur(images, radius)) / 2


def divergences(p: torch.Tensor, q: torch.Tensor, divergence: Divergence) -> torch.Tensor:
    """D(p || q) of each class alone, [B, classes]; the formulas are in :class:`RobustPerturbation`."""
    if divergence == "bounded-log":
        return torch.log2((p - q).abs() + 1)
    present = p * torch.log((p + _EPSILON) / (q + _EPSILON))
    return present + (1 - p) * torch.log((1 - p + _EPSILON) / (1 - q + _EPSILON))


def presences(p: torch.Tensor, divergence: Divergence) -> torch.Tensor:
    """The term f(p) of each class alone, [B, classes]."""
    return torch.log2(p + 1) if divergence == "bounded-log" else p


def others(values: torch.Tensor, target: int) -> torch.Tensor:
    """Mean of [B, classes] over the classes but the target, [B]; 0 where there is none."""
    kept = torch.arange(values.shape[1], device=values.device) != target
    return values[:, kept].sum(dim=1) / max(1, values.shape[1] - 1)


def total_variation(masks: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of neighbors in a column plus that in a row, [B]."""
    down, across = (masks.diff(dim=dim).square().mean(dim=(1, 2, 3)) for dim in (2, 3))
    return down + across
