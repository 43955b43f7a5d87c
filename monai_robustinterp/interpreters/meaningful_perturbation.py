"""Meaningful perturbation (Fong & Vedaldi, ICCV 2017, arXiv:1704.03296)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, get_args

import torch
from torch import nn

from monai_robustinterp.interpreters.checks import check_choice, check_not_negative, check_seed, check_whole
from monai_robustinterp.interpreters.mask_optimization import (
    MaskInterpreter,
    MaskProblem,
    Network,
    probabilities,
    refuse_one_softmax_logit,
)
from monai_robustinterp.interpreters.reference_image import Blend, Reference, gaussian_blur, mean_gray, scaled, toward
from monai_robustinterp.types import Activation

_PAPER_PX = 224
_CELLS = 28
_IMAGE_BLUR, _MASK_BLUR, _JITTER = 10, 5, 4
_LEARNING_RATE = 0.1


class MeaningfulPerturbation(MaskInterpreter):
    """The smallest smooth region whose blurring lowers the target's probability.

    1 - m for the mask m (1 = kept) that minimizes::

        p_target(m x + (1 - m) x_r) + sparsity sum|1 - a| + smoothness sum (d_y a^2 + d_x a^2)^(3/2)

    where a is the mask on a grid of 28 cells along the shorter side, whose sums are those of the paper's 28 x 28, and
    m is a, linear at the input's size and blurred (sigma 5). At each step x and x_r are moved by up to two pixels under
    the mask (jitter 4). Adam, learning rate 0.1. Pixels are those of the paper's 224 a side: all lengths keep their
    share of the input's shorter side.

    The mask starts as all kept. The authors start from the smallest centerd disc that hides the target, which presumes
    the object at the center, and makes a choice that round-off can flip. Their gradient leaves out the mask's blur;
    ours is that of the loss.

    Args:
        activation: makes probabilities of the logits: ``softmax`` (the paper's) for exclusive classes, ``sigmoid`` for
            independent findings.
        reference: x_r: ``blur``, Gaussian with sigma 10, or ``mean``, the image's mean gray. The paper has both.
        iterations: steps.
        sparsity: weight of the sum over cells of |1 - a|.
        smoothness: weight of the sum over cells of the gradient's third power.
        seed: of the jitter, which is the same for every copy.

    Raises:
        ValueError: if an argument is out of its range.
    """

    name: ClassVar[str] = "meaningful_perturbation"
    amplifies_round_off: ClassVar[bool] = True

    def __init__(
        self,
        *,
        activation: Activation = "softmax",
        reference: Reference = "blur",
        iterations: int = 300,
        sparsity: float = 1e-4,
        smoothness: float = 1e-2,
        seed: int = 0,
    ) -> None:
        check_choice("activation", activation, get_args(Activation))
        check_choice("reference", reference, get_args(Reference))
        check_whole(1, iterations=iterations)
        check_seed(seed)
        check_not_negative(sparsity=sparsity, smoothness=smoothness)
        self.activation, self.reference, self.iterations = activation, reference, iterations
        self.sparsity, self.smoothness, self.seed = sparsity, smoothness, seed

    def blend(self, inputs: torch.Tensor) -> Blend:
        """See :meth:`MaskInterpreter.blend`."""
        return toward(inputs, self._reference(inputs))

    def _reference(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.reference == "mean":
            return mean_gray(inputs)
        return gaussian_blur(inputs, scaled(_IMAGE_BLUR, of_px=_PAPER_PX, images=inputs))

    def problem(self, inputs: torch.Tensor, logits: torch.Tensor, target: int) -> MaskProblem:
        """See :meth:`MaskInterpreter.problem`."""
        refuse_one_softmax_logit(logits, self.activation)
        return _Problem(self, inputs, self._reference(inputs), target)


class _Problem(MaskProblem):
    def __init__(
        self, method: MeaningfulPerturbation, inputs: torch.Tensor, reference: torch.Tensor, target: int
    ) -> None:
        self.method, self.inputs, self.reference, self.target = method, inputs, reference, target
        self.blend = toward(inputs, reference)
        sigma = scaled(_MASK_BLUR, of_px=_PAPER_PX, images=inputs)
        shorter = min(inputs.shape[-2:])
        cells = [round(side * min(_CELLS, shorter) / shorter) for side in inputs.shape[-2:]]
        down, across = (upsampling(n, side, sigma).to(inputs.device) for n, side in zip(cells, inputs.shape[-2:]))
        self.down, self.across = down, across.T
        self.reach = round(scaled(_JITTER / 2, of_px=_PAPER_PX, images=inputs))
        self.draws = torch.Generator().manual_seed(method.seed)
        self.parameters = inputs.new_ones(len(inputs), 1, *cells).requires_grad_()
        self.optimizer = torch.optim.Adam([self.parameters], lr=_LEARNING_RATE)

    def masks(self) -> torch.Tensor:
        return 1 - self.importance()

    def importance(self) -> torch.Tensor:
        # Not 1 - m: where nothing is removed this is 0 exactly, and no pattern of round-off.
        return self.down @ (1 - self.parameters) @ self.across

    def losses(self, network: Network) -> Iterator[torch.Tensor]:
        shift = torch.randint(-self.reach, self.reach + 1, (2,), generator=self.draws).tolist()
        images = toward(moved(self.inputs, shift), moved(self.reference, shift))(self.masks())
        score = probabilities(network(images), self.method.activation)[:, self.target]
        missing = (1 - self.parameters).abs().sum(dim=(1, 2, 3))
        yield score + self.method.sparsity * missing + self.method.smoothness * cubed_gradient(self.parameters)


def upsampling(cells: int, size: int, sigma: float) -> torch.Tensor:
    """What brings cells to pixels along one axis, as a matrix [size, cells]: linear, then blurred; rows sum to 1.

    A matrix, because the gradient of torch's interpolation is not deterministic on a GPU.
    """
    basis = nn.functional.interpolate(torch.eye(cells)[:, None], size=size, mode="linear", align_corners=False)
    return gaussian_blur(basis, sigma)[:, 0].T


def moved(images: torch.Tensor, shift: list[int]) -> torch.Tensor:
    """The images [B, C, H, W] moved by [rows, columns]; the border is repeated into the gap."""
    down, across = shift
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - across).clamp(0, width - 1)
    return images[..., rows[:, None], columns]


def cubed_gradient(masks: torch.Tensor) -> torch.Tensor:
    """Sum over cells of (d_y^2 + d_x^2)^(3/2), forward differences, 0 behind the last row and column, [B]."""
    down = nn.functional.pad(masks.diff(dim=2), (0, 0, 0, 1))
    across = nn.functional.pad(masks.diff(dim=3), (0, 1))
    return (down.square() + across.square()).pow(1.5).sum(dim=(1, 2, 3))
