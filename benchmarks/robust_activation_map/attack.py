"""White-box attacks that change the class with the largest logit; the paper does not name its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

BATCH = 32


@dataclass(frozen=True)
class Attack:
    """Gradient ascent from the clean image within a ball that may grow, projected and cut to [0, 1] after each step.

    Attributes:
        key: name in the results.
        title: name on the page.
        norm: of the ball.
        loss: what is climbed. ``cross-entropy``: that of the softmax of the logits and the clean class, as for classes
            that exclude each other; ``margin``: the next largest logit minus that of the clean class.
        radii: of the ball, in the order in which they are tried, in units of the input in [0, 1].
        steps: steps at each radius.
        step: length of a step, as a share of the radius.
        stops: whether an image is left as it is once its class has changed.
    """

    key: str
    title: str
    norm: Literal["l2", "linf"]
    loss: Literal["cross-entropy", "margin"]
    radii: tuple[float, ...]
    steps: int = 1
    step: float = 0.5
    stops: bool = True


L2_RADII = tuple(0.1 * 1.25**i for i in range(18))
LINF_RADII = tuple(0.2 / 255 * 1.25**i for i in range(18))
ATTACKS = (
    Attack("l2", "l2, smallest", "l2", "cross-entropy", L2_RADII),
    Attack("linf", "l_inf, smallest", "linf", "cross-entropy", LINF_RADII),
    Attack("margin", "l2, smallest, aimed at the runner-up", "l2", "margin", L2_RADII),
    Attack("full", "l_inf 8/255, 10 steps", "linf", "cross-entropy", (8 / 255,), steps=10, step=0.25, stops=False),
)


def attacked(network: nn.Module, images: torch.Tensor, attack: Attack) -> torch.Tensor:
    """The attacked images, float [N, 1, H, W], those too whose class did not change.

    Args:
        network: in the state of ``explaining``.
        images: float [N, 1, H, W] in [0, 1].
        attack: the attack.
    """
    return torch.cat([_attacked_batch(network, batch, attack) for batch in images.split(BATCH)])


def _attacked_batch(network: nn.Module, clean: torch.Tensor, attack: Attack) -> torch.Tensor:
    classes = network(clean).argmax(dim=1)
    images, rows = clean.clone(), torch.arange(len(clean))
    for radius in attack.radii:
        for _ in range(attack.steps):
            inputs = images[rows].requires_grad_()
            logits = network(inputs)
            (gradient,) = torch.autograd.grad(_loss(logits, classes[rows], attack.loss).sum(), inputs)
            if attack.stops:
                stays = logits.argmax(dim=1) == classes[rows]
                rows, gradient = rows[stays], gradient[stays]
                if not len(rows):
                    return images
            images[rows] = _moved(images[rows], gradient, clean[rows], radius=radius, attack=attack)
    return images


def _loss(logits: torch.Tensor, classes: torch.Tensor, loss: str) -> torch.Tensor:
    if loss == "cross-entropy":
        return nn.functional.cross_entropy(logits, classes, reduction="none")
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return others.amax(dim=1) - logits.gather(1, classes[:, None])[:, 0]


def _moved(
    images: torch.Tensor, gradient: torch.Tensor, clean: torch.Tensor, *, radius: float, attack: Attack
) -> torch.Tensor:
    if attack.norm == "linf":
        moves = images + attack.step * radius * gradient.sign() - clean
        return (clean + moves.clamp(-radius, radius)).clamp(0, 1)
    moves = images + attack.step * radius * gradient / norms(gradient).clamp_min(1e-30) - clean
    return (clean + moves * (radius / norms(moves).clamp_min(1e-30)).clamp_max(1)).clamp(0, 1)


def norms(images: torch.Tensor) -> torch.Tensor:
    """The l2 norm of each image, [N, 1, 1, 1]."""
    return torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
