"""The ledger: which named changes of the source image a certified radius covers.

It is no approximation: the changed image goes through the same preprocessing, and the theorem holds for the network's
input that comes out (docs/theory/units.md). It is about these changes of this image, and replaces no study of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_robustinterp.geometry.changes import LEDGER_PROTOCOL, NAMED, BadChange, Change, RandomChange
from monai_robustinterp.geometry.source import Source

Norm = Callable[[npt.NDArray[np.float64]], float]
"""The norm of a change [1, h, w] in standard deviations of the noise, never rounded down."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A change and how far it moves the network's input.

    Attributes:
        change: what was done.
        norms: in standard deviations of the noise, rounded up; one, or one a draw; empty if it does not apply.
        reason: a sentence why it does not apply; "" if it does.
    """

    change: Change
    norms: tuple[float, ...] = ()
    reason: str = ""


def measure(
    change: Change, source: Source, clean: npt.NDArray[np.float32], *, norm: Norm, round_off: float, seed: int
) -> Measured:
    """Applies a change to the source and measures it at the network's input.

    Args:
        change: to apply; one that fails does not apply, and the reason says how it failed.
        source: the image.
        clean: the network's input of the source, [1, h, w].
        norm: of the noise.
        round_off: bound of the float32 round-off of both inputs, in standard deviations of the noise; it is added.
        seed: of random changes.
    """
    reason = change.reason(source)
    if reason:
        return Measured(change=change, reason=reason)
    try:
        norms = tuple(_norm(made, clean, norm) for made in change.inputs(source, seed))
    except BadChange as error:
        return Measured(change=change, reason=str(error))
    except Exception as error:  # of a user's function: its text may quote the image's file
        return Measured(change=change, reason=f"it raised {type(error).__name__}; it must give changed pixels.")
    return Measured(change=change, norms=tuple(math.nextafter(one + round_off, math.inf) for one in norms))


def _norm(made: npt.NDArray[np.float32], clean: npt.NDArray[np.float32], norm: Norm) -> float:
    if made.shape != clean.shape:
        raise BadChange(f"it makes an input of shape {made.shape} for the network; this one has {clean.shape}.")
    found = norm(made.astype(np.float64) - clean)
    if not found < math.inf:
        raise BadChange("it makes an input that is not finite.")
    return found


def measure_all(
    source: Source,
    clean: npt.NDArray[np.float32],
    *,
    norm: Norm,
    round_off: float,
    seed: int,
    changes: Sequence[Change] = NAMED,
) -> tuple[Measured, ...]:
    """:func:`measure` of each change."""
    return tuple(measure(change, source, clean, norm=norm, round_off=round_off, seed=seed) for change in changes)


def ledger_record(measured: Sequence[Measured], *, radius: Fraction, seed: int) -> list[dict[str, Any]]:
    """Entry ``ledger`` of certificate.json.

    Args:
        measured: the changes.
        radius: certified radius of the map in standard deviations of the noise, at the population level.
        seed: that they were measured with.

    Returns:
        An entry a change; ``norm`` is the largest of its draws, and it is covered if that one is.
    """
    return [_entry(one, radius, seed) for one in measured]


def covers(radius: Fraction, norm: float) -> bool:
    """Whether a change lies inside of a certified radius, exactly."""
    return Fraction(norm) < radius


def radius_in_noise(l2: float, sigma: float) -> Fraction:
    """A certified l2 radius in standard deviations of white noise, exactly."""
    return Fraction(l2) / Fraction(sigma)


def _entry(measured: Measured, radius: Fraction, seed: int) -> dict[str, Any]:
    change, norms = measured.change, measured.norms
    inside = [covers(radius, norm) for norm in norms]
    drawn = isinstance(change, RandomChange) and bool(norms)
    return {
        "change": change.name,
        "value": None if change.value is None else float(change.value),
        "norm": max(norms, default=None),
        "covered": bool(norms) and all(inside),
        "reason": measured.reason,
        "draws": {"norms": list(norms), "covered": sum(inside), "seed": seed, "protocol": LEDGER_PROTOCOL}
        if drawn
        else None,
    }


def reached(ledger: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each family the strongest entry up to which all tested ones are covered; families with none are left out.

    Between tested values nothing is claimed: the norm of a family need not grow with its value.

    Args:
        ledger: entry of certificate.json, a family from the mildest to the strongest.
    """
    last: dict[str, dict[str, Any]] = {}
    ended: set[str] = set()
    for entry in ledger:
        if not entry["covered"] and entry["norm"] is not None:
            ended.add(entry["change"])
        elif entry["covered"] and entry["change"] not in ended:
            last[entry["change"]] = dict(entry)
    return list(last.values())
