"""What gives the maps of a table: interpreters, plain and certified, and maps that do not look at the film."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from monai_robustinterp.errors import InputRefused

Kind = Literal["plain", "certified", "blind"]
BLIND = ("center", "fixed", "lungs", "random")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One map of each film.

    Attributes:
        label: of its rows, with the kind: a number follows the name if it stands there twice.
        kind: ``plain``, the map of the film itself; ``certified``, the votes of its noisy copies; or ``blind``, a
            pattern that no network had a part in.
        name: of the interpreter or of the pattern (:mod:`~monai_robustinterp.study.blind`).
        settings: of the interpreter.
    """

    label: str
    kind: Kind
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The contender in file names."""
        return f"{self.label}-{self.kind}".replace(":", "_")


def contenders(
    interpreters: Sequence[tuple[str, Mapping[str, Any]]], *, kinds: Iterable[str], blind: Iterable[str] = ()
) -> tuple[Contender, ...]:
    """Each interpreter in each kind, then the blind maps.

    Args:
        interpreters: name and settings of each.
        kinds: of ``plain`` and ``certified``.
        blind: names of patterns, of ``center``, ``fixed``, ``lungs`` and ``random``.

    Raises:
        InputRefused: if a kind or a pattern is unknown.
    """
    kinds, blind = list(kinds), list(blind)
    allowed = [kind for kind in get_args(Kind) if kind != "blind"]
    for what, given, known in (("kind of map", kinds, allowed), ("blind map", blind, BLIND)):
        if unknown := [name for name in given if name not in known]:
            raise InputRefused(f"{unknown[0]!r} is no {what}; choose from {', '.join(known)}.")
    found: list[Contender] = []
    seen: dict[str, int] = {}
    for name, settings in interpreters:
        seen[name] = number = seen.get(name, 0) + 1
        label = name if number == 1 else f"{name}_{number}"
        found += [Contender(label=label, kind=kind, name=name, settings=settings) for kind in kinds]  # type: ignore[arg-type]
    found += [Contender(label=name, kind="blind", name=name) for name in blind]
    return tuple(found)
