"""Early stopping, replayed on the prefixes of the streams: where it stops, what it saves and what it costs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.certificates.plan import CONTROL, Plan
from benchmarks.certificates.radii import fixed_votes
from benchmarks.certificates.streams import Stream
from monai_robustinterp import SmoothingSpec, VoteMap, certify_votes
from monai_robustinterp.certificates.overlap import BetaLike
from monai_robustinterp.certificates.sequence import look_schedule
from monai_robustinterp.study.tables import prose, radius_text, spread, table


def schedule(plan: Plan, eta: float) -> tuple[int, ...]:
    """The looks, ascending; the last one is the whole stream."""
    return tuple(look.n_samples for look in look_schedule(eta, plan.first_look, max_samples=plan.max_samples))


def look_radii(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> dict[str, float]:
    """Radii of map and label at one look, each at its part of eta, and the map's for a fixed m at all of eta."""
    fixed = certify_votes(votes, dataclasses.replace(spec, looks=()), beta=beta, eta=eta)
    split = certify_votes(votes, spec, beta=beta, eta=eta)
    return {"map": split.l_max, "label": split.label.l2, "fixed m": fixed.l_max}


def stopping_look(radii: Mapping[int, Mapping[str, float]], wanted: float) -> tuple[int, bool]:
    """The first look at which map and label reach the wanted radius, or the last look; and whether it was reached.

    Args:
        radii: ``map`` and ``label`` radius by look, in the order of the looks.
        wanted: l2 radius.
    """
    for m, found in radii.items():
        if min(found["map"], found["label"]) >= wanted:
            return m, True
    return m, False


def measure(streams: Sequence[Stream], plan: Plan, *, beta: BetaLike, eta: float) -> dict[str, Any]:
    """Radii by image (and control) and look, and the look at which each image stops by wanted radius."""
    looks = schedule(plan, eta)
    radii: dict[str, dict[int, dict[str, float]]] = {CONTROL: {}}
    for stream in streams:
        radii[stream.name] = {m: look_radii(*stream.at(m, looks), beta=beta, eta=eta) for m in looks}
    for m in looks:
        votes, spec = streams[0].at(m, looks)
        radii[CONTROL][m] = look_radii(fixed_votes(votes), spec, beta=beta, eta=eta)
    stops = {
        wanted: {name: stopping_look(found, wanted) for name, found in radii.items()} for wanted in plan.wanted_radii
    }
    return {"looks": looks, "radii": radii, "stops": stops}


def page(found: dict[str, Any], *, eta: float) -> list[str]:
    """The section of the page."""
    looks = found["looks"]
    names = [name for name in found["radii"] if name != CONTROL]
    rows = []
    for wanted, stops in found["stops"].items():
        spent = sum(stops[name][0] for name in names)
        cells = [_stop_text(*stops[name]) for name in [*names, CONTROL]]
        rows.append([f"{wanted:g}", *cells, f"{1 - spent / (len(names) * looks[-1]):.0%}"])
    return [
        "## Early stopping",
        "",
        *prose(
            f"Looks at {', '.join(f'{m:,}' for m in looks)} copies, {len(looks)} in all, eta = {eta:g} in equal",
            "parts over them; sampling ends at the first look at which map and label are both certified to the",
            f"wanted l2 radius. Map and label each hold with probability >= 1 - {eta:g}, whatever the rule did",
            f"(both: 1 - {2 * eta:g}). Copies at the end, by image; not reached: all copies were taken and their",
            "radius is smaller.",
        ),
        "",
        *table(["wanted radius", *names, CONTROL, f"saved of {looks[-1]:,} each"], rows),
        "",
        *_price_lines(found["radii"], names, looks),
    ]


def _stop_text(m: int, reached: bool) -> str:
    return f"{m:,}" if reached else f"{m:,} (not reached)"


def _price_lines(
    radii: dict[str, dict[int, dict[str, float]]], names: Sequence[str], looks: Sequence[int]
) -> list[str]:
    rows = []
    for m in looks:
        split, fixed = ([radii[name][m][key] for name in names] for key in ("map", "fixed m"))
        ratios = [a / b for a, b in zip(split, fixed) if b > 0]
        lost = f"{statistics.median(ratios):.3f} ({min(ratios):.3f})" if ratios else "-"
        control = " / ".join(radius_text(radii[CONTROL][m][key]) for key in ("map", "fixed m"))
        rows.append([f"{m:,}", spread(split), spread(fixed), lost, control])
    header = ["m", "eta split over looks", "m fixed", "quotient, median (smallest)", f"{CONTROL}: split / fixed"]
    return [
        "The price of looking: the map's radius at each look against that of the same m fixed beforehand.",
        "",
        *table(header, rows),
    ]
