"""Backward rules for activations, wherever the network calls them, while a context manager is active.

Hooks on modules, as Captum sets them, do not see ``torch.relu`` and ``F.relu``, see overwritten values behind in-place
calls, and mix up the calls of a module that is used twice. All of these are calls of torch functions, so the rule goes
there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

Function = Callable[[torch.Tensor], Any]
"""An activation with all its arguments but the first. It may overwrite what it is given."""

Rule = Callable[[Function, torch.Tensor, torch.Tensor], torch.Tensor]
"""An activation, its input and the gradient with respect to its output -> what is to be the one of its input."""


class ActivationRules(TorchFunctionMode):
    """While the network runs in it, gradients go back through some functions by a rule; their results are the same.

    Args:
        rules: name of a function -> its rule. A name stands for the functions of ``torch`` and
            ``torch.nn.functional``, the tensor's method, and their in-place variants.

    Attributes:
        calls: how many calls have a rule.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self.calls = 0
        self._rules = rules

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """What torch runs in place of each call of one of its functions."""
        rule = self._rules.get(getattr(func, "__name__", "").strip("_"))
        if rule is None:
            return func(*args, **(kwargs or {}))
        return self._by_rule(rule, func, *args, **(kwargs or {}))

    def _by_rule(self, rule: Rule, func: Any, /, input: Any, *args: Any, **kwargs: Any) -> Any:
        def function(values: torch.Tensor) -> Any:
            return func(values, *args, **kwargs)

        if not (isinstance(input, torch.Tensor) and input.requires_grad):
            return function(input)
        self.calls += 1
        return by_rule(input, function, rule)


def by_rule(inputs: torch.Tensor, function: Function, rule: Rule) -> Any:
    """Calls a function whose backward pass is a rule.

    Args:
        inputs: requires grad.
        function: of them.
        rule: gets the function, a copy of the inputs, and the gradient with respect to the outputs.
    """
    apply: Any = _WithRule.apply
    return apply(inputs, function, rule)


class _WithRule(torch.autograd.Function):
    """A function with a rule for its backward pass."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, function: Function, rule: Rule) -> Any:
        ctx.save_for_backward(inputs.clone())
        ctx.function, ctx.rule = function, rule
        outputs = function(inputs)
        if outputs is inputs:
            ctx.mark_dirty(inputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (inputs,) = ctx.saved_tensors
        return ctx.rule(ctx.function, inputs, gradients[0]), None, None
