"""What every interpreter does: a batch of inputs and a target in, one importance map a copy out."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

ROWS = 32
"""Images a forward pass where an interpreter needs many passes a copy: memory does not grow with their number."""


@dataclass(frozen=True)
class Attribution:
    """Interpretation of a batch.

    Attributes:
        maps: float [B, 1, H, W], raw values, larger = more important; not normalized. Of several targets
            [B, targets, H, W].
        logits: float [B, classes] of the same forward pass.
    """

    maps: torch.Tensor
    logits: torch.Tensor


class Interpreter(ABC):
    """One interpretation method: a fixed function of the input, with each copy's map depending on that copy alone.

    A method with draws of its own (masks, baselines, inner noise) takes the same ones, from its own seed, for every
    copy: the certificate is about the function with these draws.

    Attributes:
        name: its key in ``INTERPRETERS``.
        needs_hooks: whether it looks into the network's layers, which TorchScript modules do not allow.
        needs_gradient: whether it differentiates the network; the others work with any callable classifier.
        explains_target: whether the map is one of the target; otherwise it is one of all classes together.
        amplifies_round_off: whether round-off, which differs with the size of a batch and the place in it, can grow to
            another map. Certified copies are then interpreted one by one: the certificate is about one function.
        needs_float32: whether it compares the network's answers more closely than TF32 and bfloat16 round them, or
            follows small differences of them through many steps. It is not certified in these.
    """

    name: ClassVar[str]
    needs_hooks: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = True
    explains_target: ClassVar[bool] = True
    amplifies_round_off: ClassVar[bool] = False
    needs_float32: ClassVar[bool] = False

    @classmethod
    def arguments(cls) -> list[str]:
        """Names of the constructor's arguments."""
        return list(inspect.signature(cls).parameters)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, which are attributes of the same names, as JSON values: for the record.

        A function stands there by its name.
        """
        arguments = {name: getattr(self, name) for name in self.arguments()}
        settings: dict[str, Any] = json.loads(json.dumps(arguments, allow_nan=False, default=_function_name))
        return settings

    @abstractmethod
    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """Interprets a batch.

        Args:
            network: in the state of :func:`~monai_robustinterp.interpreters.context.network_state.explaining`.
            inputs: float32 [B, C, H, W], as the network's weights, detached.
            target: index of the explained logit.

        Raises:
            ValueError: if the network's output is not [B, classes], the target is none of them, or no gradient flows.
        """

    def attribute_each(self, network: nn.Module, inputs: torch.Tensor, targets: Sequence[int]) -> Attribution:
        """Interprets a batch for several targets: the maps of :meth:`attribute`, [B, targets, H, W].

        A method that can takes them from one forward pass; the others make one a target.

        Args:
            network: as there.
            inputs: as there.
            targets: indices of the explained logits, one at least.

        Raises:
            ValueError: as there.
        """
        each = [self.attribute(network, inputs, target) for target in targets]
        return Attribution(maps=torch.cat([one.maps for one in each], dim=1), logits=each[0].logits)


def _function_name(value: object) -> str:
    if not callable(value):
        raise TypeError(f"a setting is a {type(value).__name__}, which JSON has no form for")
    return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__name__)}"


def attribute_copies(
    interpreter: Interpreter, network: nn.Module, copies: torch.Tensor, targets: Sequence[int]
) -> Attribution:
    """Interprets noisy copies, each by the same function: together, or one by one where round-off would grow.

    Args:
        interpreter: the method.
        network: as for :meth:`Interpreter.attribute`.
        copies: float [B, C, H, W].
        targets: as for :meth:`Interpreter.attribute_each`.
    """
    if not interpreter.amplifies_round_off:
        return interpreter.attribute_each(network, copies, targets)
    each = [interpreter.attribute_each(network, copy[None], targets) for copy in copies]
    return Attribution(maps=torch.cat([one.maps for one in each]), logits=torch.cat([one.logits for one in each]))


class IterativeInterpreter(Interpreter):
    """An interpreter of so many passes that a user wants to see them go by."""

    @property
    @abstractmethod
    def n_steps(self) -> int:
        """Passes over a batch."""

    @abstractmethod
    def attribute(
        self, network: nn.Module, inputs: torch.Tensor, target: int, progress: Callable[[int], object] | None = None
    ) -> Attribution:
        """See :meth:`Interpreter.attribute`.

        Args:
            network: as there.
            inputs: as there.
            target: as there.
            progress: called with the number of steps just done; in the end they are ``n_steps``.
        """
