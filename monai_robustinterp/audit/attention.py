"""The audit of exact intervals: attention.json against itself and against the regions in regions.csv."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_robustinterp.audit.expect import HashOnly, Judged, Leaf, Same, as_number, near
from monai_robustinterp.audit.real import MP
from monai_robustinterp.audit.strict import AuditError, bounded_bytes
from monai_robustinterp.audit.surroundings import content_sha256
from monai_robustinterp.audit.verify import AuditReport, verify_other

ATTENTION_FORMAT = "monai_robustinterp/attention/1"
_CLAIM = (
    "of the network without smoothing, in real numbers, under the bound on round-off of docs/theory/attention.md: "
    "within each interval the property holds for every theta; nothing is said of other changes, nor of stored pixels "
    "that are rounded or clipped"
)
END_SENTENCES = {
    "range": "holds up to the end of the range",
    "violation": "the next theta violates it; the witness does so beyond round-off",
    "undecided": "round-off leaves open what holds there",
    "time": "the time budget ended here; nothing is said of what follows",
}
UNITS = {
    "brightness": "added to every pixel of the network's input (display range = [0, 1])",
    "contrast": "share by which distances to the pivot grow",
    "slope": "difference between the right and the left edge of the network's input",
    "patch": "opacity of the patch, 1 covers it",
}
PROPERTIES = ("classification", "attention", "top_k")
_HEADER = ["theta_low", "theta_high", "theta", *PROPERTIES]
LARGEST_TABLE = 2**28
MARGIN = 1e-9
"""Relative distance from a threshold within which nothing is proven and nothing a violation."""
_HASH = "[0-9a-f]{64}"


@dataclass(frozen=True)
class RegionRow:
    """A line of regions.csv.

    Attributes:
        low: lower end of the region.
        high: its upper end.
        theta: a point of it.
        values: of the properties there, by name.
    """

    low: float
    high: float
    theta: float
    values: Mapping[str, float]


def verify_attention(
    record: Mapping[str, Any],
    regions: str | Path,
    *,
    input_file: str | Path | None = None,
    bundle: str | Path | None = None,
) -> AuditReport:
    """Compares the intervals of a record with the regions that were crossed.

    Whether the regions are those of the network, and whether a witness is one, only the network says
    (:func:`~monai_robustinterp.attention.recheck.recheck`).

    Args:
        record: content of attention.json.
        regions: regions.csv of the same run.
        input_file: the image file, whose SHA-256 is compared.
        bundle: folder of the bundle, whose configuration and weights are compared by their SHA-256.

    Raises:
        AuditError: if the record is of another format, or a file is damaged so that nothing follows from it.
    """
    return verify_other(
        record,
        ATTENTION_FORMAT,
        lambda: _expected(record, *read_regions(regions)),
        input_file=input_file,
        bundle=bundle,
    )


def read_regions(path: str | Path) -> tuple[list[RegionRow], str]:
    """The regions of a table in order, and the SHA-256 of its bytes.

    Raises:
        AuditError: if it is no table of regions that tile an interval around 0.
    """
    content = bounded_bytes(path, "the table of regions", LARGEST_TABLE)
    try:
        lines = [line.split(",") for line in content.decode("ascii").splitlines()]
        rows = [_row(cells) for cells in lines[1:]]
    except ValueError as error:
        raise AuditError("the table of regions is damaged: a line is no row of numbers.") from error
    if not rows or lines[0] != _HEADER:
        raise AuditError(f"the table of regions has no rows, or other columns than {', '.join(_HEADER)}.")
    tiled = all(one.high == other.low for one, other in itertools.pairwise(rows))
    if not tiled or not all(row.low < row.high and row.low <= row.theta <= row.high for row in rows):
        raise AuditError("the regions do not follow each other without a gap: the table is damaged.")
    if not rows[0].low <= 0 <= rows[-1].high:
        raise AuditError("the regions do not contain 0, the clean image: the table is damaged.")
    return rows, hashlib.sha256(content).hexdigest()


def _row(cells: Sequence[str]) -> RegionRow:
    low, high, theta, *values = map(float, cells)
    if len(values) != len(PROPERTIES) or not all(map(math.isfinite, (low, high, theta, *values))):
        raise ValueError
    return RegionRow(low, high, theta, dict(zip(PROPERTIES, values)))


def _expected(record: Mapping[str, Any], rows: Sequence[RegionRow], table_sha256: str) -> dict[str, Any]:
    settings = record["settings"]
    name, (low, high) = settings["perturbation"]["name"], settings["range"]
    if not low <= rows[0].low <= rows[-1].high <= high or name not in UNITS:
        raise AuditError("the regions leave the range, or the perturbation has no exact path: the record is damaged.")
    thresholds = thresholds_of(record)
    return {
        "format": Same(ATTENTION_FORMAT),
        "claim": Same(_CLAIM),
        "settings": {
            "perturbation": perturbation_leaves(settings["perturbation"]),
            "range": [HashOnly(float), HashOnly(float)],
            **settings_leaves(settings, record["map_norm"]),
        },
        **image_leaves(record),
        "regions_crossed": Same(len(rows)),
        "regions_sha256": Same(table_sha256),
        "hidden_patterns_checked": HashOnly(int),
        "results": {key: _result(record, key, thresholds[key], rows) for key in PROPERTIES},
    }


def thresholds_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The threshold of each property, from the logits of the clean image and the settings."""
    settings = record["settings"]
    return {
        "classification": MARGIN * max(abs(logit) for logit in record["logits"]),
        "attention": settings["delta"],
        "top_k": settings["overlap_needed"],
    }


def threshold_leaf(name: str, threshold: Any) -> Leaf:
    """Expectation of a recorded threshold."""
    return near(MP.mpf(threshold)) if name != "top_k" else Same(threshold)


def image_leaves(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says of the image, the network and the run, which only its hash covers."""
    texts = ("format", "intensity_path", "display_source", "warnings")
    return {
        "finding": {"name": HashOnly(str), "target": HashOnly(int), "score": HashOnly(float)},
        "logits": [HashOnly(float) for _ in record["logits"]],
        "map_norm": HashOnly(float),
        "n_switches": HashOnly(int),
        "elapsed_s": HashOnly(float),
        "process_s": HashOnly(float),
        "image_sha256": HashOnly(str, form=_HASH),
        "input_warnings": [HashOnly(str) for _ in record["input_warnings"]],
        "source": {key: HashOnly(str) for key in texts if key in record["source"]}
        | {key: HashOnly(str, form=_HASH) for key in ("file_sha256", "pixel_sha256")}
        | {"shape": [HashOnly(int), HashOnly(int)]},
        "provenance": {key: HashOnly(str) for key in record["provenance"]},
        "content_sha256": Same(content_sha256(record)),
    }


def perturbation_leaves(perturbation: Mapping[str, Any]) -> dict[str, Leaf]:
    """Expectation of a perturbation: the unit is that of its name."""
    unit: dict[str, Leaf] = {"name": HashOnly(str), "unit": Same(UNITS[perturbation["name"]])}
    return {key: HashOnly(float) for key in perturbation} | unit


def settings_leaves(settings: Mapping[str, Any], map_norm: float) -> dict[str, Any]:
    """Expectation of the settings but for the perturbation."""
    budget, needed = settings["time_budget_s"], settings["overlap_needed"]
    possible = type(needed) is int and 1 <= needed <= settings["top_k"]
    return {
        "delta": HashOnly(float, "" if settings["delta"] > 0 else "delta is not above 0"),
        "share_of_map": near(MP.mpf(settings["delta"]) / MP.mpf(map_norm)),
        "top_k": HashOnly(int),
        "cell_size": HashOnly(int),
        "overlap_needed": HashOnly(int, "" if possible else "no such number of the strongest cells can stay"),
        "time_budget_s": Same(None) if budget is None else HashOnly(float),
        "precision": Same("float64"),
    }


def _result(record: Mapping[str, Any], name: str, threshold: float, rows: Sequence[RegionRow]) -> dict[str, Any]:
    result = record["results"][name]
    ends = [result[side]["end"] for side in ("below", "above")]
    thetas = [result[side]["theta"] for side in ("below", "above")]
    outcome = "violated in a part" if "violation" in ends else "open in a part"
    return {
        "outcome": Same("satisfied" if set(ends) == {"range"} else outcome),
        "interval": [Same(theta) for theta in thetas],
        "threshold": threshold_leaf(name, threshold),
        **{
            side: _reach(result[side], name, threshold, rows, end=end)
            for side, end in zip(("below", "above"), record["settings"]["range"])
        },
    }


def _reach(
    reach: Mapping[str, Any], name: str, threshold: float, rows: Sequence[RegionRow], *, end: float
) -> dict[str, Leaf]:
    theta, kind = reach["theta"], reach["end"]
    if kind not in END_SENTENCES:
        raise AuditError("a side of an interval has no end that is known: the record is damaged.")
    violated = kind == "violation"
    witness = _witness(reach, name, threshold, rows, end=end) if violated else ""
    return {
        "theta": Judged(_proven(theta, kind, name, threshold, rows, end=end), as_number(theta)),
        "end": Same(kind),
        "sentence": Same(END_SENTENCES[kind]),
        "witness": Judged(witness, as_number(reach["witness"])) if violated else Same(None),
        "witness_value": Judged(witness, as_number(reach["witness_value"])) if violated else Same(None),
    }


def _proven(theta: float, kind: str, name: str, threshold: float, rows: Sequence[RegionRow], *, end: float) -> str:
    """What contradicts that a property holds from 0 to theta; empty if nothing does."""
    if theta * end < 0 or not rows[0].low <= theta <= rows[-1].high:
        return "the regions do not reach so far"
    if kind == "range" and theta != end:
        return "the range ends elsewhere"
    low, high = sorted((0.0, theta))
    within = [row for row in rows if low <= row.theta <= high]
    return "" if all(holds_at(row.values[name], name, threshold) for row in within) else "a region within violates it"


def _witness(reach: Mapping[str, Any], name: str, threshold: float, rows: Sequence[RegionRow], *, end: float) -> str:
    """What contradicts a witness; empty if nothing does."""
    theta, witness, value = reach["theta"], reach["witness"], reach["witness_value"]
    if not (witness * end > 0 and abs(witness) > abs(theta) and rows[0].low <= witness <= rows[-1].high):
        return "the witness does not lie outside of the interval, in a region that was crossed"
    # A lead is compared with 0, which its threshold keeps away from.
    violates = value <= -threshold if name == "classification" else not holds_at(value, name, threshold)
    return "" if violates else "the witness does not violate it"


def holds_at(value: float, name: str, threshold: float) -> bool:
    """Whether a property of this value holds."""
    return value <= threshold if name == "attention" else value >= threshold
