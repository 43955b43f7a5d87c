"""Argument types that several commands share."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.interpreters import FAMILIES, Interpreter, interpreter_class, make_interpreter
from monai_robustinterp.types import float32_spread

Number = TypeVar("Number", int, float)


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """A parser of finite numbers above 0; argparse turns its ValueError into wrong usage."""

    def parse(text: str) -> Number:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def spread(text: str) -> float:
    """A standard deviation that may be 0."""
    try:
        return float32_spread("it", float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def confidence(text: str) -> float:
    """The eta of a confidence such as 0.999; argparse turns its ValueError into wrong usage."""
    try:
        # Exact first: 1 - 0.999 in floats is not 0.001.
        eta = float(1 - Fraction(text))
    except ArithmeticError as error:
        raise ValueError from error
    if not (0 < eta < 1 and 1 - eta < 1):
        raise ValueError
    return eta


def part(text: str) -> str:
    """A name, folder or file that goes into a bundle's configuration as text."""
    # A leading $, @ or % would be evaluated by MONAI.
    if text[:1] in "$@%":
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a bundle and no file")
    return text


class InterpreterChoice(NamedTuple):
    """An interpreter's name and the settings that the user gave it."""

    name: str
    settings: dict[str, Any]


def interpreter(text: str) -> InterpreterChoice:
    """Parses ``NAME[:ARGUMENT=VALUE...]``; values are JSON, or text, and a NAME may be ``captum:NAME``."""
    name, *settings = split_outside_json(text.strip(), ":")
    if f"{name}:" in FAMILIES and settings:
        name = f"{name}:{settings.pop(0)}"
    try:
        interpreter_class(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return InterpreterChoice(name, setting_values(text, settings))


def setting_values(text: str, settings: Sequence[str]) -> dict[str, Any]:
    """The values of ``ARGUMENT=VALUE`` texts, which are JSON or text; ``text`` is all that was given, for messages."""
    pairs = [setting.partition("=") for setting in settings]
    if not all(equals for _, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME or NAME:ARGUMENT=VALUE, with a colon before each")
    values = {argument: _value(given) for argument, _, given in pairs}
    if len(values) != len(pairs):
        raise argparse.ArgumentTypeError(f"{text!r} sets an argument twice")
    return values


def split_outside_json(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that are in no JSON list, object or string."""
    parts, depth, quoted = [""], 0, False
    for sign in text:
        quoted ^= sign == '"'
        depth += 0 if quoted else (sign in "[{") - (sign in "]}")
        if sign == separator and depth <= 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _value(text: str) -> Any:
    try:
        found = json.loads(text, parse_constant=str)
    except json.JSONDecodeError:
        found = text
    # MONAI evaluates text with these signs where it stands in a configuration. Looked for after JSON's escapes.
    if set(json.dumps(found, ensure_ascii=False)) & set("$@%"):
        raise argparse.ArgumentTypeError(f"a setting is {text!r}; it must not hold $, @ or %")
    return found


EVERY_FINDING = "found"
"""Target of ``certify`` for every finding of the image."""


def add_classifier_arguments(
    parser: argparse.ArgumentParser, *, targets: str = "a name, an index, or 'predicted'"
) -> None:
    """Adds those that choose classifier, finding and device.

    Args:
        parser: of a command.
        targets: what its target may be, for the help.
    """
    parser.add_argument(
        "--bundle",
        metavar="DIR",
        help="MONAI bundle of the classifier (trusted: it is code), or the name of a shipped one; ./NAME is a folder",
    )
    parser.add_argument("--target", metavar="NAME", help=f"finding to explain: {targets}")
    parser.add_argument("--device", type=_device, help="torch device, such as cpu or cuda:0")


def classifier_overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """The bundle's keys of those arguments; None for what was not given.

    Raises:
        InputRefused: if the target is no name.
    """
    target = arguments.target
    # A name goes into the configuration as text; a leading $, @ or % would be evaluated by MONAI.
    if target is not None and target[:1] in "$@%":
        raise InputRefused(f"target {target!r} is no name of a finding.")
    if target == EVERY_FINDING and arguments.command != "certify":
        raise InputRefused(
            "--target found is of certify alone, and this command explains one target: give it a name, an index, or "
            "'predicted'."
        )
    if target in ("predicted", EVERY_FINDING):
        target = "$None"
    elif target is not None and target.isdecimal():
        target = int(target)
    device = None if arguments.device is None else f"$torch.device('{arguments.device}')"
    return {"target": target, "device": device}


def chosen_interpreter(bundle: SaliencyBundle, choice: InterpreterChoice) -> Interpreter:
    """The chosen interpreter; if it is the bundle's, with the bundle's settings where none was given.

    Raises:
        ValueError: if a setting is refused.
    """
    own = bundle.inferer.recipe.interpreter
    settings = own.settings if own.name == choice.name else {}
    return make_interpreter(choice.name, known=bundle.interpreter_arguments, settings={**settings, **choice.settings})


def one_line(error: Exception) -> str:
    """What a user reads of an expected error."""
    return refusal_reason(error) if isinstance(error, OSError) else str(error)


def shown_path(path: Path) -> str:
    """A path as text that any terminal takes: bytes that are no UTF-8 become question marks."""
    return os.fsencode(path).decode(errors="replace")


def _device(text: str) -> torch.device:
    try:
        device = torch.device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"device {text!r} is not available here") from error
    return device
