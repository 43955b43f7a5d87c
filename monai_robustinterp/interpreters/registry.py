"""Name -> interpreter class. A new method is one file and one line here; the contract tests run over all of them."""

from __future__ import annotations

from monai_robustinterp.interpreters.base import Interpreter
from monai_robustinterp.interpreters.grad_cam import GradCAM
from monai_robustinterp.interpreters.gradient import Gradient

INTERPRETERS: dict[str, type[Interpreter]] = {cls.name: cls for cls in (Gradient, GradCAM)}


def without_hooks() -> list[str]:
    """Names of the interpreters that need no hooks: those for TorchScript modules."""
    return sorted(name for name, cls in INTERPRETERS.items() if not cls.needs_hooks)


def interpreter_class(name: str) -> type[Interpreter]:
    """The registered class.

    Raises:
        ValueError: with the known names, if there is none.
    """
    if name not in INTERPRETERS:
        raise ValueError(f"interpreter is {name!r}; it must be one of {sorted(INTERPRETERS)}.")
    return INTERPRETERS[name]
