"""SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.checks import check_not_negative, check_seed, check_whole
from monai_robustinterp.interpreters.passes import input_gradient, target_logits


class SmoothGrad(Interpreter):
    """Mean of |d logit / d input| over noisy inputs, summed over the channels.

    The absolute value is inside the mean, as in Captum's ``NoiseTunnel`` over ``Saliency``: signed gradients cancel,
    and their mean shrinks with the number of samples. The noise comes from the seed, the same for every copy. A sample
    is a forward and a backward pass over the batch, and one forward pass more gives the clean logits.

    Args:
        n_samples: noisy inputs, >= 1.
        sigma: standard deviation of the inner noise, in the input's unit, >= 0; it is not the certificate's noise. With
            0 the map is that of ``gradient``.
        seed: of the noise.

    Raises:
        ValueError: if an argument is out of range.
    """

    name: ClassVar[str] = "smooth_grad"

    def __init__(self, n_samples: int = 16, *, sigma: float = 0.1, seed: int = 0) -> None:
        check_whole(1, n_samples=n_samples)
        check_not_negative(sigma=sigma)
        check_seed(seed)
        self.n_samples, self.sigma, self.seed = n_samples, sigma, seed

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`."""
        with torch.no_grad():
            logits = target_logits(network(inputs.clone()), target)
        generator = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(inputs)
        for _ in range(self.n_samples):
            noise = self.sigma * torch.randn(inputs.shape[1:], generator=generator).to(inputs.device)
            total += input_gradient(network, inputs.detach() + noise, target)[0].abs()
        return Attribution(maps=total.sum(dim=1, keepdim=True) / self.n_samples, logits=logits)
