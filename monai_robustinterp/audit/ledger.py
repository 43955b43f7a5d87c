"""What the radius of the map gives for the ledger: which of the recorded norms lie within it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_robustinterp.audit.case import Case
from monai_robustinterp.audit.expect import HashOnly, Judged, Leaf, Same, as_number
from monai_robustinterp.audit.real import MP, Real

_PROTOCOL, _N_DRAWS = "ledger/1", 20


def ledger(case: Case) -> Any:
    """Expectation of ``ledger``: norms come from the image, which only a replay has; what they cover follows."""
    entries = case.record["ledger"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        return Judged("the file has no list of changes")
    names = [(repr(entry.get("change")), repr(entry.get("value"))) for entry in entries]
    return [_entry(case, entry, twice=names.count(name) > 1) for entry, name in zip(entries, names)]


def _entry(case: Case, entry: Mapping[str, Any], *, twice: bool) -> dict[str, Any]:
    draws, norm, value = entry.get("draws"), entry.get("norm"), entry.get("value")
    drawn = draws.get("norms") if isinstance(draws, Mapping) else None
    norms = [as_number(one) for one in (drawn if isinstance(drawn, list) else [] if norm is None else [norm])]
    inside = [one is not None and _inside(case, one) for one in norms]
    applies = bool(norms)
    return {
        "change": HashOnly(str, "the file has this change twice" if twice else ""),
        "value": HashOnly(type(None) if value is None else float),
        "norm": _largest(norm, norms) if applies else Same(None),
        "covered": Same(applies and all(inside)),
        "reason": Same("") if applies else HashOnly(str, form=".+"),
        "draws": Same(None) if draws is None else _draws(case, sum(inside)),
    }


def _inside(case: Case, norm: Real) -> bool:
    return bool(norm * case.sigma < case.number("claim", "l_max", "l2"))


def _largest(norm: Any, norms: list[Real | None]) -> Leaf:
    numbers = [one for one in norms if one is not None]
    if len(numbers) < len(norms) or min(numbers) < 0 or MP.inf in numbers:
        return Judged("the file has norms that are no finite numbers >= 0")
    if len(norms) == 1 and as_number(norm) == numbers[0]:
        return HashOnly(float)
    return Judged("" if as_number(norm) == max(numbers) else "the file has another norm than the largest of the draws")


def _draws(case: Case, covered: int) -> dict[str, Any]:
    return {
        "norms": [HashOnly(float)] * _N_DRAWS,
        "covered": Same(covered),
        "seed": Same(case.votes.spec["seed"]),
        "protocol": Same(_PROTOCOL),
    }
