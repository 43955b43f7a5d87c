"""The ledger of a record: which measured changes of the source image lie within the certified radius of the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from monai_robustinterp.types import SmoothingSpec

LEDGER_PROTOCOL = "ledger/1"
"""Name and version of the draws of random changes, which share no key with the noise of the copies."""


@dataclass(frozen=True, kw_only=True)
class MeasuredChange:
    """A change of the source image and how far it moves the network's input.

    Attributes:
        name: what was done; changes of one name are a family, from the mildest to the strongest.
        value: how strong it was; None where there is nothing to choose.
        norms: in standard deviations of the noise, rounded up; one, or one a draw; empty if it does not apply.
        drawn: whether it is random.
        reason: a sentence why it does not apply; "" if it does.
    """

    name: str
    value: float | None
    norms: tuple[float, ...] = ()
    drawn: bool = False
    reason: str = ""


def radius_in_noise(l2: float, sigma: float) -> Fraction:
    """A certified l2 radius in standard deviations of white noise, exactly."""
    return Fraction(l2) / Fraction(sigma)


def covers(radius: Fraction, norm: float) -> bool:
    """Whether a change lies inside of a certified radius, exactly."""
    return Fraction(norm) < radius


def ledger_record(changes: Sequence[MeasuredChange], l2: float, spec: SmoothingSpec) -> list[dict[str, Any]]:
    """Entry ``ledger`` of certificate.json.

    Args:
        changes: of the image.
        l2: certified radius of the map, at the population level.
        spec: how its votes were taken.

    Returns:
        An entry a change: ``norm`` is the largest of its draws, and it is covered if that one is.
    """
    radius = radius_in_noise(l2, spec.sigma)
    return [_entry(change, radius, spec.seed) for change in changes]


def _entry(change: MeasuredChange, radius: Fraction, seed: int) -> dict[str, Any]:
    inside = [covers(radius, norm) for norm in change.norms]
    draws = {"norms": list(change.norms), "covered": sum(inside), "seed": seed, "protocol": LEDGER_PROTOCOL}
    return {
        "change": change.name,
        "value": None if change.value is None else float(change.value),
        "norm": max(change.norms, default=None),
        "covered": bool(inside) and all(inside),
        "reason": change.reason,
        "draws": draws if change.drawn and inside else None,
    }


def applied(ledger: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries of changes that apply to the image."""
    return [entry for entry in ledger if entry["norm"] is not None]


def reached(ledger: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each family the strongest tested change up to which all tested ones are covered, in words.

    Families of which not even the mildest is covered are left out. Between tested values nothing is claimed: a norm
    need not grow with the value.

    Args:
        ledger: entry of certificate.json, each family from the mildest change to the strongest.
    """
    last: dict[str, str] = {}
    ended: set[str] = set()
    for entry in applied(ledger):
        if not entry["covered"]:
            ended.add(entry["change"])
        elif entry["change"] not in ended:
            last[entry["change"]] = change_label(entry["change"], entry["value"]) + _of_draws(entry["draws"])
    return list(last.values())


def change_label(name: str, value: float | None) -> str:
    """Name and value of a change."""
    return name if value is None else f"{name} {value:g}"


def _of_draws(draws: Mapping[str, Any] | None) -> str:
    return "" if draws is None else f" ({draws['covered']} of {len(draws['norms'])} draws)"
