"""GradientSHAP, or expected gradients (Lundberg & Lee 2017, arXiv:1705.07874; Erion et al. 2021, arXiv:1906.10670)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.checks import check_finite, check_not_negative, check_seed, check_whole
from monai_robustinterp.interpreters.passes import input_gradient, target_logits


class GradientShap(Interpreter):
    """Mean of (x' - baseline) * gradient at a random point between them, x' the input plus noise, with its sign.

    Over the draws the map sums to the mean logit(x') - logit(baseline), in expectation. Captum's takes its draws from
    the global generators, others for each copy. Here they come from the seed, and are the same for every copy. A sample
    is a forward and a backward pass over the batch, and one forward pass more gives the clean logits.

    Args:
        n_samples: draws of a point and a noise, >= 1.
        sigma: standard deviation of the inner noise, in the input's unit, >= 0; it is not the certificate's noise.
        baseline: value of all pixels of the image without evidence; 0 is black.
        seed: of the draws.

    Raises:
        ValueError: if an argument is out of range.
    """

    name: ClassVar[str] = "gradient_shap"

    def __init__(self, n_samples: int = 16, *, sigma: float = 0.05, baseline: float = 0.0, seed: int = 0) -> None:
        check_whole(1, n_samples=n_samples)
        check_not_negative(sigma=sigma)
        check_finite(baseline=baseline)
        check_seed(seed)
        self.n_samples, self.sigma, self.baseline, self.seed = n_samples, sigma, baseline, seed

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        with torch.no_grad():
            logits = target_logits(network(inputs.clone()), target)
        generator = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(inputs)
        for _ in range(self.n_samples):
            share = float(torch.rand((), generator=generator))
            noise = self.sigma * torch.randn(inputs.shape[1:], generator=generator).to(inputs.device)
            change = inputs.detach() + noise - self.baseline
            total += change * input_gradient(network, self.baseline + share * change, target)[0]
        return Attribution(maps=total.sum(dim=1, keepdim=True) / self.n_samples, logits=logits)
