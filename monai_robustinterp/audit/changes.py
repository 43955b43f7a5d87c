"""The kinds of change of certified ranges as the audit knows them: unit, ends of a range, words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from monai_robustinterp.audit.expect import ABOVE, NEAR, HashOnly, Judged, Leaf, Number, Same
from monai_robustinterp.audit.real import MP, Real
from monai_robustinterp.audit.sentences import floored

_UNITS = {
    "brightness": "added to the display values, whose range is [0, 1]",
    "contrast": "logarithm of the factor by which distances to the pivot grow",
    "gamma": "logarithm of the exponent of the display values",
    "slope": "added from -1/2 of it at the left edge of the source to 1/2 of it at the right one",
    "window_center": "move of the window's center, in widths of the window from black to white",
    "window_width": "logarithm of the factor by which the window grows from black to white",
    "shift": "pixels of the network's input, to the right",
    "shift_down": "pixels of the network's input, downwards",
}
_WINDOWS = ("window_center", "window_width")
_SHIFTS = {"shift": "to the left or right", "shift_down": "up or down"}
_ONE_TAKEN_OFF = {"LINEAR": 1, "LINEAR_EXACT": 0}


def is_known(change: Mapping[str, Any]) -> bool:
    """Whether this audit knows such a change, with all that its range follows from."""
    name = change["name"]
    if name not in _UNITS:
        return False
    if name not in _WINDOWS:
        return True
    numbers = [change["center"], change["width"]]
    return (
        all(isinstance(number, float) and math.isfinite(number) for number in numbers)
        and change["function"] in _ONE_TAKEN_OFF
        and change["width"] > _ONE_TAKEN_OFF[change["function"]]
        and re.fullmatch(r"window \d+ of \d+", change["window"]) is not None
    )


def commutes(change: Mapping[str, Any]) -> bool:
    """Whether a joint claim with noise in the pixels exists."""
    return change["name"] not in ("contrast", "gamma", "window_width")


def expected_change(change: Mapping[str, Any], sigma: float, *, display_source: str) -> dict[str, Leaf]:
    """Entry ``change``; what the file of the image decides is covered by the hash alone.

    Args:
        change: of the record.
        sigma: of the strength.
        display_source: where the record says that the display range came from.
    """
    name = change["name"]
    found: dict[str, Leaf] = {"name": Same(name), "unit": Same(_UNITS[name]), "sigma": Same(sigma)}
    if name == "contrast":
        found["pivot"] = HashOnly(float)
    if name in _SHIFTS:
        gray = change["surround"]
        right = gray is None or (isinstance(gray, int | float) and 0 <= gray <= 1)
        found["surround"] = Judged("" if right else "the surround is no gray level")
    if name in _WINDOWS:
        found |= {key: HashOnly(float) for key in ("center", "width")}
        same = display_source == f"{change['window']} ({change['function']})"
        window = HashOnly(str, "" if same else "the film is shown by another window")
        found |= {"function": window, "window": window, "inverted": HashOnly(bool)}
    return found


def ends(change: Mapping[str, Any], radius: float) -> list[Leaf]:
    """Ends of a range, which may fall short of the recorded radius by round-off only, and not exceed it."""
    name, r = change["name"], MP.mpf(radius)
    if name in ("brightness", "slope"):
        return [Same(-radius), Same(radius)]
    if name in _SHIFTS:
        most = float(max(0, math.ceil(radius) - 1))
        return [Same(-most), Same(most)]
    if name in _WINDOWS:
        return _window_ends(change, r)
    low, high = (MP.expm1(-r), MP.expm1(r)) if name == "contrast" else (MP.exp(-r), MP.exp(r))
    return [Number(low, abs(low) * NEAR, abs(low) * ABOVE), Number(high, high * ABOVE, high * NEAR)]


def _window_ends(change: Mapping[str, Any], r: Real) -> list[Leaf]:
    one, center, width = (MP.mpf(number) for number in (_one(change), change["center"], change["width"]))
    span = width - one
    low, high = center - r * span, center + r * span
    if change["name"] == "window_width":
        low, high = one + span * MP.exp(-r), one + span * MP.exp(r)
    scale = abs(center) + width
    return [Number(low, scale * NEAR, scale * ABOVE / 1000), Number(high, scale * ABOVE / 1000, scale * NEAR)]


def _one(change: Mapping[str, Any]) -> int:
    return _ONE_TAKEN_OFF[change["function"]]


def words_of(change: Mapping[str, Any], range_: Sequence[float], radius: float) -> str:
    """The covered strengths in words, from the recorded ends; "" if there is none but 0."""
    name, (low, high) = change["name"], range_
    if name in _SHIFTS:
        gray = change["surround"]
        where = "" if gray is None else f" in a surround of gray level {gray:g}"
        return f"any shift {_SHIFTS[name]} by at most {high:.0f} px of the network's input{where}" if high > 0 else ""
    if not radius > 0:
        return ""
    if name == "brightness":
        return f"any brightness change within +-{readable(radius)} of the display range"
    if name == "slope":
        return f"any slope of the exposure within +-{readable(radius)} of the display range from edge to edge"
    if name == "contrast":
        return f"any contrast change from -{floored(-100 * low, 2)} % to +{floored(100 * high, 2)} %"
    if name in _WINDOWS:
        return _window_words(change, low, high)
    lowest = Decimal(repr(low)).quantize(Decimal("0.0001"), rounding=ROUND_CEILING)
    return f"any gamma from {lowest} to {floored(high, 4)}"


def _window_words(change: Mapping[str, Any], low: float, high: float) -> str:
    """Ends inwards, to three digits of half the range, and whole numbers at most."""
    stated = change["center" if change["name"] == "window_center" else "width"]
    digits = max(0, 2 - math.floor(math.log10((high - low) / 2)))
    step = Decimal(1).scaleb(-digits)
    lowest = Decimal(repr(low)).quantize(step, rounding=ROUND_CEILING)
    highest = Decimal(repr(high)).quantize(step, rounding=ROUND_FLOOR)
    return (
        f"any {change['name'].replace('_', ' ')} from {lowest} to {highest} ({stated:g} in {change['window']} of the "
        f"header, {change['function']})"
    )


def readable(value: float) -> str:
    """A radius for print, never larger than itself."""
    return floored(value, 4 if not 0 < value < 0.01 else 2 - math.floor(math.log10(value)))
