"""Interpreters with small settings, and images to interpret."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from monai_robustinterp.interpreters import INTERPRETERS, Interpreter

ARGUMENTS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 4},
    "gradient_shap": {"n_samples": 4},
    "smooth_grad": {"n_samples": 4},
    "rise": {"n_masks": 9, "grid": 3, "keep": 0.7},
    "grad_cam": {"target_layer": "features.norm5"},
    "cam": {"target_layer": "features.norm5"},
    "grad_cam_pp": {"target_layer": "features.norm5"},
    "robust_activation_map": {"target_layer": "features.norm5"},
    "meaningful_perturbation": {"iterations": 3},
    "extremal_perturbation": {"iterations": 3},
    "robust_perturbation": {"iterations": 3},
}


def make(name: str, **changes: Any) -> Interpreter:
    """An interpreter with small settings for ``dense``; changes of arguments that it does not take are left out."""
    cls = INTERPRETERS[name]
    arguments = ARGUMENTS.get(name, {}) | changes
    return cls(**{key: value for key, value in arguments.items() if key in inspect.signature(cls).parameters})


def noisy(*shape: int) -> torch.Tensor:
    """Images in [0, 1] plus noise: values outside occur."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(shape, generator=generator) + 0.1 * torch.randn(shape, generator=generator)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal up to the round-off of logits, which the differences of a weak map keep."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
