"""Captum's attributions by name, ``captum:NAME``: run as they are, and refused where they are wrong."""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import torch
from torch import nn

from monai_robustinterp.errors import InputRefused, out_of_memory, raised_in
from monai_robustinterp.interpreters.base import Attribution, Interpreter
from monai_robustinterp.interpreters.captum_table import (
    METHODS,
    MISSING,
    OF_MAGNITUDES,
    OURS,
    REFUSED,
    TUNNELED,
    Method,
)
from monai_robustinterp.interpreters.checks import check_choice, check_finite, check_seed, check_whole
from monai_robustinterp.interpreters.context.hooks import refuse_torchscript
from monai_robustinterp.interpreters.context.network_state import plain_copy
from monai_robustinterp.interpreters.context.random_state import seeded
from monai_robustinterp.interpreters.passes import check_gradient, target_logits

PREFIX = "captum:"
TOLERANCE = 1e-3
"""Largest difference from the oracle, as a share of its largest value."""

# What the interpreter gives Captum itself, or what is no plain value.
_NOT_SETTINGS = frozenset(
    (
        *("self", "forward_func", "model", "inputs", "target", "additional_forward_args", "kwargs"),
        *("return_convergence_delta", "custom_attribution_func", "show_progress", "verbose", "return_input_shape"),
        *("interpretable_model", "similarity_func", "perturb_func", "draw_baseline_from_distrib"),
    )
)


class CaptumAttribution(Interpreter):
    """One of Captum's attributions, summed over the channels.

    Copies share batches, but where Captum draws random numbers: there each copy is taken alone, and all get the draws
    of ``seed``. Methods that set hooks run on a copy of the network, and their maps are compared with what the method's
    rule gives: hooks do not see calls of functions.

    Args:
        settings: keyword arguments of the constructor and of ``attribute``, as JSON values. Lists become tuples,
            ``baselines`` is one number; ``feature_mask`` is the side of squares in pixels, or a list of lists of
            indices; ``attribution_method`` the name of another method; ``seed`` is of the draws.

    Raises:
        ValueError: if a setting is missing, unknown, or none of these.
    """

    captum_name: ClassVar[str]
    method: ClassVar[Method]

    def __init__(self, **settings: Any) -> None:
        if unknown := sorted(settings.keys() - set(self.arguments())):
            raise ValueError(f"{self.name} has no setting {unknown[0]!r}; its settings are {self.arguments()}.")
        if missing := [name for name in self.method.required if name not in settings]:
            raise ValueError(f"{self.name} lacks a setting: {MISSING[missing[0]]}")
        if "baselines" in settings:
            check_finite(baselines=settings["baselines"])
        if isinstance(settings.get("feature_mask"), int):
            check_whole(1, feature_mask=settings["feature_mask"])
        if "attribution_method" in settings:
            check_choice("attribution_method", settings["attribution_method"], TUNNELED)
        self.seed = settings.get("seed", 0)
        check_seed(self.seed)
        try:
            self._given: dict[str, Any] = json.loads(json.dumps(settings, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"a setting of {self.name} is no JSON value; the record could not repeat it.") from error

    @classmethod
    def arguments(cls) -> list[str]:
        """Names of the settings."""
        found = set(_parameters(cls.captum_name))
        if cls.captum_name == "NoiseTunnel":
            found.update(*(_parameters(name) for name in TUNNELED))
        return sorted((found | ({"seed"} if cls.method.draws else set())) - set(cls.method.excluded))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that were given, as JSON values: for the record."""
        return dict(self._given)

    def attribute(self, network: nn.Module, inputs: torch.Tensor, target: int) -> Attribution:
        """See :meth:`Interpreter.attribute`.

        Raises:
            InputRefused: also if Captum refuses the network or a setting, or its map is wrong.
        """
        if self.method.oracle is not None:
            refuse_torchscript(network)
        with torch.set_grad_enabled(self.method.gradient):
            logits = target_logits(network(inputs.detach().requires_grad_(self.method.gradient).clone()), target)
        if self.method.gradient:
            check_gradient(logits)
        if self.method.draws:
            maps = torch.cat([self._maps(network, one[None], target) for one in inputs])
        else:
            maps = self._maps(network, inputs, target)
        self._check(maps, network, inputs, target)
        return Attribution(maps=maps.sum(dim=1, keepdim=True), logits=logits.detach())

    def _maps(self, network: nn.Module, inputs: torch.Tensor, target: int) -> torch.Tensor:
        settings = dict(self.method.defaults) | self._values(inputs)
        constructor = {key: settings.pop(key) for key in _constructor(self.captum_name) if key in settings}
        given = inputs.detach().clone().requires_grad_(self.method.gradient)
        # Libraries that draw take the global generators; captum warns of what it does to modules and inputs.
        with warnings.catch_warnings(), seeded(self.seed, inputs.device):
            warnings.simplefilter("ignore")
            try:
                method = self._made(network, constructor)
                found: torch.Tensor = method.attribute(given, target=target, **settings)
            except Exception as error:
                if out_of_memory(error) or not raised_in(error).startswith("captum"):
                    raise
                words = " ".join(str(error).split())
                raise InputRefused(f"{self.name} refuses this with {type(error).__name__}: {words}") from error
        return found.detach().to(inputs.dtype)

    def _made(self, network: nn.Module, constructor: Mapping[str, Any]) -> Any:
        """Captum's object, which hooks nothing but a copy of the network, and gives the network nothing of its own."""
        hooked = self.method.oracle is not None
        explained = plain_copy(network) if hooked else lambda images: network(images.clone())
        if inner := constructor.get("attribution_method"):
            return _captum(self.captum_name)(_captum(inner)(explained))
        return _captum(self.captum_name)(explained, **constructor)

    def _values(self, inputs: torch.Tensor) -> dict[str, Any]:
        """The settings as Captum takes them."""
        values = {key: _tuples(value) for key, value in self._given.items() if key not in ("seed", "feature_mask")}
        if "feature_mask" in self._given:
            values["feature_mask"] = _feature_mask(self._given["feature_mask"], inputs)
        if self.captum_name == "GradientShap":
            values["baselines"] = torch.full_like(inputs[:1], values.get("baselines", 0.0))
        return values

    def _check(self, maps: torch.Tensor, network: nn.Module, inputs: torch.Tensor, target: int) -> None:
        if self.method.oracle is None:
            return
        expected = self.method.oracle(network, inputs, target, self._given)
        found = (maps.abs() if self.captum_name in OF_MAGNITUDES else maps).sum(dim=1, keepdim=True)
        error, largest = (found - expected).abs().amax(dim=(1, 2, 3)), expected.abs().amax(dim=(1, 2, 3))
        wrong = error > TOLERANCE * largest
        if bool(wrong.any()):
            raise InputRefused(
                f"Captum's {self.captum_name} is wrong for this network: it differs from the method's own rule by "
                f"{float((error / largest)[wrong].max()):.1g} of the largest value. Its hooks miss calls of "
                f"functions, such as torch.relu and mean, and parts of max-pools. Use {OURS[self.captum_name]}."
            )


@cache
def captum_class(name: str) -> type[Interpreter]:
    """The interpreter that runs one of Captum's attributions.

    Args:
        name: ``captum:NAME``.

    Raises:
        ValueError: with the reason or the known names, if there is none.
    """
    short = name.removeprefix(PREFIX)
    if short in METHODS:
        method = METHODS[short]
        flags = {
            "name": name,
            "captum_name": short,
            "method": method,
            "needs_gradient": method.gradient,
            "needs_hooks": method.oracle is not None,
            "needs_float32": not method.gradient or method.oracle is not None,
        }
        return type(f"Captum{short}", (CaptumAttribution,), flags)
    if short in REFUSED:
        raise ValueError(f"{name} is refused: {REFUSED[short]}.")
    if short.startswith(("Layer", "Neuron")):
        raise ValueError(
            f"{name} is refused: it explains with a layer or a neuron, not the image. Use 'grad_cam', or one of "
            f"{sorted(METHODS)}."
        )
    raise ValueError(f"{name} is no attribution of images that Captum has; captum: takes one of {sorted(METHODS)}.")


def _captum(name: str) -> Any:
    # Late: it takes a second, and most runs need none of it.
    return getattr(importlib.import_module("captum.attr"), name)


def _constructor(name: str) -> list[str]:
    return [key for key in inspect.signature(_captum(name).__init__).parameters if key not in _NOT_SETTINGS]


def _parameters(name: str) -> list[str]:
    called = inspect.signature(inspect.unwrap(_captum(name).attribute)).parameters
    return [*_constructor(name), *(key for key in called if key not in _NOT_SETTINGS)]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _feature_mask(mask: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Index of each pixel's feature, int64 [1, 1, H, W].

    Raises:
        InputRefused: if it does not fit the images.
    """
    height, width = inputs.shape[-2:]
    if isinstance(mask, int):
        rows, columns = (torch.arange(side, device=inputs.device) // mask for side in (height, width))
        return (rows[:, None] * (int(columns[-1]) + 1) + columns)[None, None]
    try:
        indices = torch.tensor(mask, dtype=torch.int64, device=inputs.device)
    except (TypeError, ValueError) as error:
        raise InputRefused(
            "feature_mask is neither a whole number nor lists of whole numbers, one list a row."
        ) from error
    if indices.shape != (height, width):
        raise InputRefused(f"feature_mask has shape {tuple(indices.shape)} for images of {height} x {width} pixels.")
    return indices[None, None]
