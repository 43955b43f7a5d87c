"""A radius in stored pixel values, from that at the network's input and the two grids (docs/theory/units.md, T17)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monai_robustinterp.audit import sentences
from monai_robustinterp.audit.expect import ABOVE, BELOW, HashOnly, Judged, Leaf, Number, Same, as_number, bound_above
from monai_robustinterp.audit.native import area_norm, round_off
from monai_robustinterp.audit.real import MP, Real

_NUMBERS = ("l2", "l_inf", "norm_l2", "norm_l_inf", "slope", "rho", "round_off")
_NO_RADIUS = "no radius in stored units: "
_LARGEST = 1e12  # of what a record may hold: more is no radius


def stored_units(entry: Any, l2: Real, *, source: Any, input_shape: tuple[int, int] | list[int]) -> dict[str, Leaf]:
    """Expectation of an entry ``native``: the radius over norm and slope; the norm follows from the two grids.

    Args:
        entry: of the record.
        l2: radius at the network's input.
        source: entry ``source`` of the record.
        input_shape: height and width of the network's input.
    """
    reason = entry.get("reason") if isinstance(entry, Mapping) else ""
    unit: dict[str, Leaf] = {"unit": Same(sentences.NATIVE_UNIT)}
    if reason:
        known = isinstance(reason, str) and reason.startswith(_NO_RADIUS)
        outcome = "" if known else "the file has a reason that does not say that there is none"
        return {name: Same(None) for name in _NUMBERS} | unit | {"reason": HashOnly(str, outcome)}
    norm, norm_inf, slope, rho, lost = (
        _number(entry, name) for name in ("norm_l2", "norm_l_inf", "slope", "rho", "round_off")
    )
    if not (norm > 0 and norm_inf > 0 and slope > 0 and rho > 0 and lost > 0):
        missing: Leaf = Judged("the file has no norm, slope, range and round-off above 0, and no reason")
        return dict.fromkeys(_NUMBERS, missing) | unit | {"reason": Same("")}
    left = max(MP.mpf(0), l2 - 2 * lost)
    rows, columns = input_shape
    shapes = _geometries(source)
    return {
        "l2": _rounded_down(left / (norm * slope)),
        "l_inf": _rounded_down(left / (MP.sqrt(rows * columns) * norm_inf * slope)),
        "norm_l2": _nearest([area_norm(high, rows) * area_norm(wide, columns) for high, wide in shapes], norm),
        "norm_l_inf": bound_above(MP.mpf(1)),
        "slope": _slope(source),
        "rho": HashOnly(float),
        "round_off": _nearest([round_off(shape, [rows, columns], rho) for shape in shapes], lost),
        **unit,
        "reason": Same(""),
    }


def _number(entry: Any, name: str) -> Real:
    """A number of the entry, 0 where there is none: it is then reported where it stands."""
    found = as_number(entry.get(name)) if isinstance(entry, Mapping) else None
    return found if found is not None and 0 < found < _LARGEST else MP.mpf(0)


def _rounded_down(value: Real) -> Number:
    return Number(value, value * ABOVE, value * BELOW)


def _nearest(bounds: list[Real], found: Real) -> Leaf:
    """The bound of the whole image, or of its largest square: whichever is nearer."""
    if not bounds:
        return Judged("the file has no shape of the source to compare with")
    return bound_above(min(bounds, key=lambda bound: abs(bound - found)))


def _geometries(source: Any) -> list[tuple[int, int]]:
    """What may have been resized: the largest square of the source, or all of it."""
    shape = source.get("shape") if isinstance(source, Mapping) else None
    if not (
        isinstance(shape, list) and len(shape) == 2 and all(type(side) is int and 0 < side < 10**5 for side in shape)
    ):
        return []
    return sorted({(min(shape), min(shape)), (shape[0], shape[1])})


def _slope(source: Any) -> Leaf:
    """1 / (2^bits - 1) for unscaled pixels with the full range of their bits; nothing stored says it otherwise."""
    path, display = (
        (source.get("intensity_path"), source.get("display_source")) if isinstance(source, Mapping) else ("", "")
    )
    bits = re.fullmatch(r"full (\d{1,2})-bit range", display) if isinstance(display, str) else None
    if bits and path in ("stored values", "stored values; inverted (MONOCHROME1)"):
        value = 1 / MP.mpf(2 ** int(bits[1]) - 1)
        return Number(value, value * 4 * BELOW, value * ABOVE)
    return HashOnly(float)
