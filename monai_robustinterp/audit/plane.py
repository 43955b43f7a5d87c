"""The audit of exact boxes of two parameters: attention.json against itself and against the polygons in regions.csv."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_robustinterp.audit.attention import (
    END_SENTENCES,
    LARGEST_TABLE,
    PROPERTIES,
    UNITS,
    holds_at,
    image_leaves,
    perturbation_leaves,
    settings_leaves,
    threshold_leaf,
    thresholds_of,
)
from monai_robustinterp.audit.expect import HashOnly, Judged, Leaf, Same, as_number, near
from monai_robustinterp.audit.polygons import Point, area, edges, overlap, turn, within
from monai_robustinterp.audit.real import MP
from monai_robustinterp.audit.strict import AuditError, bounded_bytes
from monai_robustinterp.audit.verify import AuditReport, verify_other

PLANE_FORMAT = "monai_robustinterp/attention-plane/1"
_CLAIM = (
    "of the network without smoothing, in real numbers, under the bound on round-off of docs/theory/attention.md: "
    "for every pair of strengths in the box of each property it holds, both changes being added to the image; nothing "
    "is said of other changes, nor of stored pixels that are rounded or clipped. The area around 0 in which a property "
    "holds is a finding: strips that round-off leaves open are not taken off it"
)
_OUTCOMES = {
    "range": "satisfied",
    "violation": "violated in a part",
    "undecided": "open in a part",
    "time": "open in a part",
}
_HEADER = ["x", "y", *PROPERTIES, "holds", "corners"]
_CLOSE = 1e-9
"""Share of an area, or of a range, that float64 may lose."""
_TINY = 1e-14
"""Area of a polygon of side 1 that float64 may lose, whatever its own."""


@dataclass(frozen=True)
class PolygonRow:
    """A line of regions.csv of two parameters.

    Attributes:
        point: in it, in shares of both limits.
        values: of the properties there, by name.
        holds: whether each property is said to hold in all of it.
        corners: counterclockwise, in shares.
    """

    point: Point
    values: Mapping[str, float]
    holds: Mapping[str, bool]
    corners: Sequence[Point]


def verify_plane(
    record: Mapping[str, Any],
    regions: str | Path,
    *,
    input_file: str | Path | None = None,
    bundle: str | Path | None = None,
) -> AuditReport:
    """Compares the boxes of a record with the polygons that were crossed.

    Whether the polygons are those of the network, and whether a witness is one, only the network says
    (:func:`~monai_robustinterp.attention.plane_recheck.recheck_plane`).

    Args:
        record: content of attention.json.
        regions: regions.csv of the same run.
        input_file: the image file, whose SHA-256 is compared.
        bundle: folder of the bundle, whose configuration and weights are compared by their SHA-256.

    Raises:
        AuditError: if the record is of another format, or a file is damaged so that nothing follows from it.
    """
    return verify_other(
        record, PLANE_FORMAT, lambda: _expected(record, *read_polygons(regions)), input_file=input_file, bundle=bundle
    )


def read_polygons(path: str | Path) -> tuple[list[PolygonRow], str]:
    """The polygons of a table, and the SHA-256 of its bytes.

    Raises:
        AuditError: if it is no table of convex polygons within the box.
    """
    content = bounded_bytes(path, "the table of regions", LARGEST_TABLE)
    try:
        lines = [line.split(",") for line in content.decode("ascii").splitlines()]
        rows = [_row(cells) for cells in lines[1:]]
    except (ValueError, IndexError) as error:
        raise AuditError("the table of regions is damaged: a line is no polygon with its numbers.") from error
    if not rows or lines[0] != _HEADER:
        raise AuditError(f"the table of regions has no rows, or other columns than {', '.join(_HEADER)}.")
    if not all(map(_is_convex, rows)):
        raise AuditError("a region is no convex polygon around its point within the box: the table is damaged.")
    return rows, hashlib.sha256(content).hexdigest()


def _row(cells: Sequence[str]) -> PolygonRow:
    x, y, *values = map(float, cells[: 2 + len(PROPERTIES)])
    holds, corners = cells[2 + len(PROPERTIES) :]
    places = [tuple(map(float, corner.split(" "))) for corner in corners.split(";")]
    numbers = [x, y, *values, *(value for place in places for value in place)]
    if len(holds) != len(PROPERTIES) or set(holds) - {"0", "1"} or not all(map(math.isfinite, numbers)):
        raise ValueError
    if len(places) < 3 or any(len(place) != 2 for place in places):
        raise ValueError
    return PolygonRow(
        (x, y),
        dict(zip(PROPERTIES, values)),
        {name: one == "1" for name, one in zip(PROPERTIES, holds)},
        [(place[0], place[1]) for place in places],
    )


def _is_convex(row: PolygonRow) -> bool:
    inside = all(abs(value) <= 1 for corner in row.corners for value in corner)
    turns = [turn(one, other, row.point) for one, other in edges(row.corners)]
    following = [*row.corners[2:], *row.corners[:2]]
    bends = [turn(one, other, third) for (one, other), third in zip(edges(row.corners), following)]
    return inside and min(turns) >= -_CLOSE and min(bends) >= -_CLOSE


def _expected(record: Mapping[str, Any], rows: Sequence[PolygonRow], table_sha256: str) -> dict[str, Any]:
    settings = record["settings"]
    low = _lower(settings)
    box = (1 - low[0]) * (1 - low[1])
    crossed = sum(area(row.corners) for row in rows)
    thresholds = thresholds_of(record)
    outside = any(corner[axis] < low[axis] for row in rows for corner in row.corners for axis in (0, 1))
    if outside or overlap([row.corners for row in rows]) > box * _CLOSE:
        raise AuditError("the polygons leave the box, or lie on each other: the table is damaged.")
    return {
        "format": Same(PLANE_FORMAT),
        "claim": Same(_CLAIM),
        "settings": {
            "perturbations": [perturbation_leaves(one) for one in settings["perturbations"]],
            "ranges": [[HashOnly(float), HashOnly(float)] for _ in settings["ranges"]],
            "order": HashOnly(str, form="nearest|boundary"),
            **settings_leaves(settings, record["map_norm"]),
        },
        **image_leaves(record),
        "polygons_crossed": Same(len(rows)),
        "share_crossed": near(MP.mpf(crossed) / box),
        "boundary_followed_after": _followed(record, len(rows)),
        "crossed_to_the_boundary": HashOnly(bool, _whole(record)),
        "regions_sha256": Same(table_sha256),
        "hidden_patterns_checked": HashOnly(int),
        "results": {name: _result(record, name, thresholds[name], rows, low=low, box=box) for name in PROPERTIES},
    }


def _lower(settings: Mapping[str, Any]) -> Point:
    """Lower ends of both ranges in shares of the upper ones."""
    names = [one["name"] for one in settings["perturbations"]]
    if len(names) != 2 or names[0] == names[1] or not set(names) <= set(UNITS):
        raise AuditError("the perturbations are no two that have an exact path: the record is damaged.")
    (a, b), (c, d) = settings["ranges"]
    if not (0 < b <= 1 and 0 < d <= 1 and a in (-b, 0) and c in (-d, 0)):
        raise AuditError("a range is not one of a limit to both sides, or from 0: the record is damaged.")
    return a / b, c / d


def _followed(record: Mapping[str, Any], number: int) -> Leaf:
    """Polygons behind which the outermost boundaries were followed: of those that were crossed, or never."""
    found = record["boundary_followed_after"]
    if found is None:
        return Same(None) if not record["crossed_to_the_boundary"] else Judged("all was crossed, and no boundary")
    return HashOnly(int, "" if 0 < found <= number else "more polygons than were crossed")


def _whole(record: Mapping[str, Any]) -> str:
    ended = any(result["end"] == "time" for result in record["results"].values())
    return "the time ended a box" if ended and record["crossed_to_the_boundary"] else ""


def _result(
    record: Mapping[str, Any], name: str, threshold: float, rows: Sequence[PolygonRow], *, low: Point, box: float
) -> dict[str, Any]:
    result = record["results"][name]
    scale, end, ranges = result["scale"], result["end"], record["settings"]["ranges"]
    if end not in END_SENTENCES:
        raise AuditError("a box has no end that is known: the record is damaged.")
    holding = [row for row in rows if row.holds[name]]
    witness = _witness(record, name, threshold, rows) if end == "violation" else ""
    violated = end == "violation"
    share = sum(area(row.corners) for row in holding) / box
    small = 0 <= result["area"]["share_of_box"] <= share + _CLOSE
    return {
        "outcome": Same(_OUTCOMES[end]),
        "scale": Judged(_proven(scale, end, name, threshold, holding, low=low), as_number(scale)),
        "box": [[near(MP.mpf(scale) * MP.mpf(value)) for value in one] for one in ranges],
        "threshold": threshold_leaf(name, threshold),
        "end": Same(end),
        "sentence": Same(END_SENTENCES[end]),
        "witness": [Judged(witness, as_number(value)) for value in result["witness"]] if violated else Same(None),
        "witness_value": Judged(witness, as_number(result["witness_value"])) if violated else Same(None),
        "area": {
            "share_of_box": HashOnly(float, "" if small else "the polygons in which it holds are fewer"),
            "farthest": [HashOnly(float), HashOnly(float)],
        },
    }


def _proven(scale: float, end: str, name: str, threshold: float, holding: Sequence[PolygonRow], *, low: Point) -> str:
    """What contradicts that a property holds in the scaled box; empty if nothing does."""
    if not 0 <= scale <= 1 or (end == "range") != (scale == 1):
        return "the range ends elsewhere"
    if not all(holds_at(row.values[name], name, threshold) for row in holding):
        return "a polygon in which it is said to hold violates it"
    wanted = scale * scale * (1 - low[0]) * (1 - low[1])
    covered = sum(area(within(row.corners, scale)) for row in holding)
    return (
        ""
        if covered >= wanted * (1 - _CLOSE) - _TINY * scale
        else "the polygons in which it holds do not cover the box"
    )


def _witness(record: Mapping[str, Any], name: str, threshold: float, rows: Sequence[PolygonRow]) -> str:
    """What contradicts a witness; empty if nothing does."""
    result, limits = record["results"][name], [high for _, high in record["settings"]["ranges"]]
    x, y = (strength / limit for strength, limit in zip(result["witness"], limits))
    value = result["witness_value"]
    if not max(abs(x), abs(y)) > result["scale"]:
        return "the witness does not lie outside of the box"
    there = [row for row in rows if min(turn(one, other, (x, y)) for one, other in edges(row.corners)) >= -_CLOSE]
    if not any(not row.holds[name] for row in there):
        return "the witness lies in no polygon in which the property is open"
    # A lead is compared with 0, which its threshold keeps away from.
    violates = value <= -threshold if name == "classification" else not holds_at(value, name, threshold)
    return "" if violates else "the witness does not violate it"
