"""Name -> interpreter class. It imports none of them, so that whatever needs their names may import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from monai_robustinterp.interpreters.base import Interpreter
from monai_robustinterp.types import Precision

INTERPRETERS: dict[str, type[Interpreter]] = {}
"""All methods by name; ``interpreters/__init__.py`` lists them."""


FAMILIES: dict[str, Callable[[str], type[Interpreter]]] = {}
"""Prefix of names -> what gives the class of a name that begins with it, or raises ValueError."""


def register(*classes: type[Interpreter]) -> None:
    """Adds methods under their names."""
    INTERPRETERS.update({cls.name: cls for cls in classes})


def without_hooks() -> list[str]:
    """Names of the interpreters that need no hooks: those for TorchScript modules."""
    return sorted(name for name, cls in INTERPRETERS.items() if not cls.needs_hooks)


def without_gradient() -> list[str]:
    """Names of the interpreters that need neither a gradient nor hooks: those for any callable classifier."""
    return sorted(name for name, cls in INTERPRETERS.items() if not (cls.needs_gradient or cls.needs_hooks))


def without_float32() -> list[str]:
    """Names of the interpreters that hold in every precision."""
    return sorted(name for name, cls in INTERPRETERS.items() if not cls.needs_float32)


def check_precision(interpreter: Interpreter, precision: Precision) -> None:
    """Refuses a precision that is none, or in which the interpreter's maps would be wrong.

    Raises:
        ValueError: with those that there are, or the interpreters that hold in it.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; it must be one of {list(get_args(Precision))}.")
    if precision != "float32" and interpreter.needs_float32:
        raise ValueError(
            f"interpreter {interpreter.name!r} follows differences of the network's answers that precision "
            f"{precision!r} rounds away, so its maps would be wrong. Choose 'float32', or one of {without_float32()}."
        )


def interpreter_class(name: str) -> type[Interpreter]:
    """The registered class, or that of a family.

    Raises:
        ValueError: with the known names, if there is none.
    """
    for prefix, family in FAMILIES.items():
        if name.startswith(prefix):
            return family(name)
    if name not in INTERPRETERS:
        families = "".join(f", or {prefix}NAME" for prefix in FAMILIES)
        raise ValueError(f"interpreter is {name!r}; it must be one of {sorted(INTERPRETERS)}{families}.")
    return INTERPRETERS[name]


def make_interpreter(
    name: str, *, known: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
) -> Interpreter:
    """An interpreter with what is known of the network, and settings of its own.

    Args:
        name: key in ``INTERPRETERS``.
        known: arguments for whichever interpreters take them: ``target_layer`` and ``activation`` of a network.
        settings: arguments of this one, which go before those.

    Raises:
        ValueError: if the name or a setting is unknown, or a value is refused.
    """
    cls = interpreter_class(name)
    parameters = cls.arguments()
    settings = settings or {}
    unknown = sorted(settings.keys() - set(parameters))
    if unknown:
        known_ones = f"its settings are {sorted(parameters)}" if parameters else "it takes none"
        raise ValueError(f"{name} has no setting {unknown[0]!r}; {known_ones}.")
    arguments = {key: value for key, value in (known or {}).items() if key in parameters}
    try:
        return cls(**{**arguments, **settings})
    except TypeError as error:
        raise ValueError(f"a setting of {name} has a value of the wrong type: {dict(settings)}.") from error
