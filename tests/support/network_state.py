"""All of a network that an interpretation could change."""

from __future__ import annotations

import torch
from torch import nn


def state(network: nn.Module) -> dict[str, object]:
    """All that surgery could change, by value or identity."""
    return {
        "training": [m.training for m in network.modules()],
        "inplace": [getattr(m, "inplace", None) for m in network.modules()],
        "requires_grad": [p.requires_grad for p in network.parameters()],
        "grads": [id(p.grad) if p.grad is not None else None for p in network.parameters()],
        "tensors": {name: value.clone() for name, value in network.state_dict().items()},
        "hooks": [
            (id(hooks), list(hooks))
            for m in network.modules()
            for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)
        ],
    }


def assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    """What ``state`` gave before and after is the same."""
    tensors, others = before.pop("tensors"), after.pop("tensors")
    assert before == after
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)
