"""One look at the network, before any vote: does it take the image, and are its outputs logits that depend on it alone?

It costs one forward pass of two copies beside that of the clean image. Draws that move a logit by less than round-off
may (:data:`ROUND_OFF`) are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from monai_robustinterp.interpreters.passes import target_logits
from monai_robustinterp.networks.callable_classifier import CallableClassifier
from monai_robustinterp.types import Precision

ROUND_OFF = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 5e-2}
"""Difference of logits that batches may make, in units of max(1, largest logit)."""

_SUMS_TO_ONE = 1e-3
# Images beyond all that a network was made for: logits leave [0, 1] there, probabilities cannot.
_PROBES, _FAR = 4, 1e3


def first_logits(network: nn.Module, image: torch.Tensor, *, target: int, precision: Precision) -> torch.Tensor:
    """The network's logits of one image, float [1, classes].

    What the network raises goes on as it is, but where it wants other channels than one.

    Args:
        network: in the state of :func:`~monai_robustinterp.interpreters.explaining`.
        image: float [1, H, W].
        target: index of the explained logit.
        precision: what it is said to run in.

    Raises:
        ValueError: if it wants several channels, computes in fewer bits than it is said to, or returns no logits.
    """
    with torch.no_grad(), _Types() as seen:
        try:
            output = network(image[None].clone())
        except Exception as error:
            _refuse_channels(network, image, error)
            raise
    fewer = seen.found - {torch.bfloat16} if precision == "bfloat16" else seen.found
    if fewer:
        names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in fewer))
        raise ValueError(
            f"the network computes in {names} by itself (torch.autocast in its forward, half(), say), and precision is "
            f"{precision!r}: the record would name another function than the certified one. Take that out of its "
            "forward, and choose precision='bfloat16' if it shall run in it."
        )
    return target_logits(output, target)


def check_logits(
    network: nn.Module, image: torch.Tensor, logits: torch.Tensor, *, sigma: float, precision: Precision
) -> None:
    """Refuses a network whose outputs are probabilities, or depend on chance or on the other copies of a batch.

    Args:
        network: as for :func:`first_logits`.
        image: as there.
        logits: what it gave.
        sigma: standard deviation of the noise of a copy beside the image.
        precision: as there.

    Raises:
        ValueError: see above.
    """
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image.device)
    copies = torch.stack([image + sigma * noise, image])
    together = _logits(network, copies)
    allowed = ROUND_OFF[precision] * max(1.0, float(logits.abs().max()))
    if _differ(together[-1], logits[0], allowed):
        alone = _logits(network, image[None])
        raise ValueError(
            "the network gives one image other logits in a batch with another one than alone: one copy's result would "
            "depend on the other copies. Use statistics of the training (a batch norm's running ones), not of a batch."
            if not _differ(alone[0], logits[0], allowed)
            else "the network gives one image other logits each time: a dropout that stays on after eval() "
            "(functional.dropout without training=self.training, say), or draws of its own. Turn them off."
        )
    _refuse_probabilities(network, torch.cat([logits, together]), image)


def _refuse_probabilities(network: nn.Module, outputs: torch.Tensor, image: torch.Tensor) -> None:
    functions = [module for module in network.modules() if isinstance(module, CallableClassifier)]
    # Of a function that is said to return probabilities the adapter has made logits.
    if not _within_0_and_1(outputs) or any(function.returns != "logits" for function in functions):
        return
    exclusive = outputs.shape[1] > 1 and bool(((outputs.sum(dim=1) - 1).abs() < _SUMS_TO_ONE).all())
    # A function may be a remote one, which gets images only.
    if not exclusive and not functions:
        generator = torch.Generator().manual_seed(0)
        probes = _FAR * torch.randn((_PROBES, *image.shape), generator=generator).to(image.device)
        outputs = torch.cat([outputs, _logits(network, probes)])
        if not _within_0_and_1(outputs):
            return
    kind, rows = ("softmax", " and each row sums to 1") if exclusive else ("sigmoid", "")
    raise ValueError(
        f"the network's outputs are probabilities already: for {len(outputs)} inputs all lie in [0, 1]{rows}. Decision "
        f"and map are about logits, and a probability is above 0 whatever it says. Leave the last {kind} out of the "
        f"network; of a function, pass CallableClassifier(function, returns={kind!r}). Logits that lie there by chance "
        "may be multiplied by 10."
    )


def _within_0_and_1(outputs: torch.Tensor) -> bool:
    # All zero is what a network gives that says nothing.
    return bool(((outputs >= 0) & (outputs <= 1)).all() and (outputs > 0).any())


def _differ(first: torch.Tensor, second: torch.Tensor, allowed: float) -> bool:
    # NaN and infinities are what the check of finite logits refuses.
    return bool(((first - second).abs() > allowed).any())


def _logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits = target_logits(network(images.clone()), 0)
    if len(logits) != len(images):
        raise ValueError(
            f"the network returned {len(logits)} rows of logits for a batch of {len(images)} images; it must return "
            "one for each image, in their order."
        )
    return logits


def _refuse_channels(network: nn.Module, image: torch.Tensor, error: Exception) -> None:
    """Says what to do if a network that fails on one channel takes several."""
    convolutions = (module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
    channels = next(convolutions, 3)
    try:
        network(image.expand(channels, -1, -1)[None].clone())
    except Exception:
        return
    raise ValueError(
        f"the network takes {channels} channels, and the image has one: noise and radii are of one gray channel, "
        f"before it is replicated. Pass networks.GrayscaleInput(network, mean=[...], std=[...]) with {channels} "
        "values each, those that the network's images were normalized with."
    ) from error


class _Types(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the floating-point types of fewer bits than float32 that operators give, those inside scripts too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*arguments, **(named or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype.itemsize < 4:
                self.found.add(value.dtype)
        return result
