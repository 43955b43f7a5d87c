"""Extremal perturbation (Fong, Patrick & Vedaldi, ICCV 2019, arXiv:1910.08485)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, get_args

import torch

from monai_robustinterp.interpreters.checks import check_choice, check_share, check_whole
from monai_robustinterp.interpreters.mask_optimization import (
    MaskInterpreter,
    MaskProblem,
    Network,
)
from monai_robustinterp.interpreters.reference_image import (
    Blend,
    Reference,
    gaussian_blur,
    mean_gray,
    scaled,
    through_levels,
    toward,
)
from monai_robustinterp.interpreters.smooth_maximum import SmoothMaximum

Variant = Literal["preserve", "delete"]

_PAPER_PX = 224
_STEP, _SIGMA, _MAX_BLUR = 7, 21, 20
_LEVELS = 8
_LEARNING_RATE, _MOMENTUM = 0.01, 0.9
_AREA_WEIGHT, _AREA_GROWTH = 300.0, 1.0035
# Values in [0, 1] closer than 1 / _TIES are tied: sums of float32 differ by place.
_TIES = 2.0**20
# Of float32 logits, relative to the largest of them.
_ROUND_OFF = 1e-6


class ExtremalPerturbation(MaskInterpreter):
    """The region of a given area that does most for the target's logit.

    The smooth region r in [0, 1] that minimizes::

        -logit(x kept in r, perturbed elsewhere) + lambda mean (sort(r) - t)^2      (preserve)
        +logit(x perturbed in r, kept elsewhere) + lambda mean (sort(r) - t)^2      (delete)

    where the last ``area`` H W values of t are 1 and the others 0, and lambda is 300, and 0.35 % more with each step.
    r comes from values on a grid, all 1 at first, by a smooth maximum
    (:class:`~monai_robustinterp.interpreters.smooth_maximum.SmoothMaximum`), and is taken one sigma beyond the image,
    so that what lies outside counts as area. SGD, learning rate 0.01, momentum and dampening 0.9. Lengths (grid 7,
    sigma 21, blur 20) are in pixels of 224 a side, and keep their share of the input's shorter side.

    The map is r, for both variants. A copy whose logit no mask changes has the map 0: its region would follow from the
    area alone, one for all images, and be certified. Where the logit changes by little, the area term still has the
    larger part in the region; tied values of r share their places in t, so that the order of the pixels draws nothing.
    Differences from the authors' code: the area is a share of the image, and theirs of the image with its margin, which
    makes regions a third larger; and there are no horizontal flips at every second step, for in a chest X-ray they move
    the heart to the other side.

    Args:
        area: wanted share of the image, in (0, 1).
        variant: ``preserve`` looks for the region that suffices, ``delete`` for the one that is needed.
        reference: perturbed is ``blur``, through 8 levels up to sigma 20, or ``mean``, the image's mean gray.
        iterations: steps.

    Raises:
        ValueError: if an argument is out of its range.
    """

    name: ClassVar[str] = "extremal_perturbation"

    def __init__(
        self,
        *,
        area: float = 0.1,
        variant: Variant = "preserve",
        reference: Reference = "blur",
        iterations: int = 800,
    ) -> None:
        check_share(area=area)
        check_choice("variant", variant, get_args(Variant))
        check_choice("reference", reference, get_args(Reference))
        check_whole(1, iterations=iterations)
        self.area, self.variant, self.reference, self.iterations = area, variant, reference, iterations

    def blend(self, inputs: torch.Tensor) -> Blend:
        """See :meth:`MaskInterpreter.blend`."""
        if self.reference == "mean":
            return toward(inputs, mean_gray(inputs))
        strongest = scaled(_MAX_BLUR, of_px=_PAPER_PX, images=inputs)
        blurs = [gaussian_blur(inputs, strongest * (1 - i / (_LEVELS - 1))) for i in range(_LEVELS - 1)]
        return through_levels(torch.stack([*blurs, inputs]))

    def problem(self, inputs: torch.Tensor, logits: torch.Tensor, target: int) -> MaskProblem:
        """See :meth:`MaskInterpreter.problem`."""
        return _Problem(self, inputs, logits, target)


class _Problem(MaskProblem):
    def __init__(self, method: ExtremalPerturbation, inputs: torch.Tensor, logits: torch.Tensor, target: int) -> None:
        self.preserve, self.target, self.size = method.variant == "preserve", target, inputs.shape[-2:]
        self.blend = method.blend(inputs)
        step = max(1, round(scaled(_STEP, of_px=_PAPER_PX, images=inputs)))
        self.smooth = SmoothMaximum(step, scaled(_SIGMA, of_px=_PAPER_PX, images=inputs), device=inputs.device)
        self.parameters = inputs.new_ones(len(inputs), 1, *(math.ceil(side / step) for side in self.size))
        self.wanted = max(1, round(method.area * math.prod(self.size)))
        self.parameters.requires_grad_()
        self.optimizer = torch.optim.SGD([self.parameters], lr=_LEARNING_RATE, momentum=_MOMENTUM, dampening=_MOMENTUM)
        self.area_weight = _AREA_WEIGHT
        self.clean, self.round_off = logits[:, target], _ROUND_OFF * logits.abs().amax(dim=1)
        self.responds = torch.zeros_like(self.clean, dtype=torch.bool)

    def masks(self) -> torch.Tensor:
        return self._kept(self.smooth(self.parameters))

    def importance(self) -> torch.Tensor:
        return self._inside(self.smooth(self.parameters)) * self.responds[:, None, None, None]

    def _inside(self, region: torch.Tensor) -> torch.Tensor:
        margin, (height, width) = self.smooth.margin, self.size
        return region[..., margin : margin + height, margin : margin + width]

    def _kept(self, region: torch.Tensor) -> torch.Tensor:
        return self._inside(region) if self.preserve else 1 - self._inside(region)

    def losses(self, network: Network) -> Iterator[torch.Tensor]:
        region = self.smooth(self.parameters)
        logit = network(self.blend(self._kept(region)))[:, self.target]
        self.responds |= (logit.detach() - self.clean).abs() > self.round_off
        values = region.flatten(1).sort(dim=1).values
        misfit = (values - self.template(values.detach())).square().mean(dim=1)
        yield self.area_weight * misfit + (-logit if self.preserve else logit)
        self.area_weight *= _AREA_GROWTH

    def template(self, values: torch.Tensor) -> torch.Tensor:
        """What the ascending values [B, n] are to be: the last ones 1, all others 0, tied ones the mean of theirs.

        Without that the order of the pixels would decide between tied ones, and draw a region that is not the image's.
        """
        ties = (values * _TIES).round()
        first, end = (torch.searchsorted(ties, ties, right=right) for right in (False, True))
        zeros = values.shape[1] - self.wanted
        return ((end - zeros).clamp(min=0) - (first - zeros).clamp(min=0)) / (end - first)
