"""One image file, verified on a bundle's classifier along one parameter, and its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_robustinterp.attention.asked import (
    Asked,
    Change,
    Loaded,
    ask,
    expected_changes,
    image_record,
    kept_key,
    load,
    settings_record,
)
from monai_robustinterp.attention.line import Line
from monai_robustinterp.attention.parts import Parts
from monai_robustinterp.attention.perturbations import Perturbation
from monai_robustinterp.attention.verify import END_SENTENCES, Reach, Traversal, traverse
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import sealed

FORMAT = "monai_robustinterp/attention/1"
CLAIM = (
    "of the network without smoothing, in real numbers, under the bound on round-off of docs/theory/attention.md: "
    "within each interval the property holds for every theta; nothing is said of other changes, nor of stored pixels "
    "that are rounded or clipped"
)


@dataclass(frozen=True, kw_only=True)
class Settings(Change):
    """What is asked.

    Attributes:
        perturbation: of one parameter theta.
        low: lower end of its range.
        high: upper end.
        time_budget_s: seconds; None walks to the end.

    Raises:
        InputRefused: if not exactly one of delta and share is given, or it is not a number above 0.
    """

    perturbation: Perturbation
    low: float
    high: float
    time_budget_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.perturbation.span
        if not least <= self.low <= 0 <= self.high <= most:
            raise InputRefused(
                f"the range [{self.low:g}, {self.high:g}] must contain 0 and lie within [{least:g}, {most:g}], where "
                f"{self.perturbation.name!r} has a meaning."
            )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What the exact traversal says of one image.

    Attributes:
        loaded: the image.
        settings: what was asked.
        asked: what must hold.
        line: network and direction.
        traversal: with the intervals.
    """

    loaded: Loaded
    settings: Settings
    asked: Asked
    line: Line
    traversal: Traversal


def verify_image(
    source: str | Path,
    bundle: SaliencyBundle,
    settings: Settings,
    *,
    workers: int = 1,
    parts: Path | None = None,
    progress: Callable[[float], object] | None = None,
) -> Verified:
    """Verifies classification robustness, attention robustness and top-k overlap of one image file.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: its network is verified by itself: without noise and without a denoiser.
        settings: what is asked.
        workers: processes.
        parts: folder in which sections of the walk are kept, so that a run that was ended goes on; None keeps none.
            When the walk is through they are removed.
        progress: called with the share of the range that was just covered.

    Raises:
        InputRefused: if the file is no image that can be explained, the network is not piecewise linear, or the image
            has no map.
    """
    loaded, perturbation = load(source, bundle), settings.perturbation
    double = loaded.clean.double()
    line = Line(bundle.network, double, perturbation.direction(double), [loaded.target])
    logits, maps = line.gradient(0.0)
    asked = ask(bundle, settings, logits, maps, expected_changes(maps, perturbation))
    key = {**kept_key(loaded, asked), "perturbation": perturbation.settings}
    kept = None if parts is None else Parts(parts, key)
    found = traverse(
        line,
        asked.properties,
        low=settings.low,
        high=settings.high,
        time_budget_s=settings.time_budget_s,
        workers=workers,
        parts=kept,
        progress=progress,
    )
    if kept is not None and not found.ended_by_time:
        kept.remove()
    return Verified(loaded=loaded, settings=settings, asked=asked, line=line, traversal=found)


def outcome(found: Traversal, name: str) -> str:
    """What is known of a property on the whole range, in a word or two."""
    ends = {reach.end for reach in found.reaches[name]}
    if ends == {"range"}:
        return "satisfied"
    return "violated in a part" if "violation" in ends else "open in a part"


def attention_record(verified: Verified, *, regions_sha256: str) -> dict[str, Any]:
    """Content of attention.json: plain values, no names and no dates.

    Args:
        verified: what was found.
        regions_sha256: of the bytes of regions.csv.
    """
    found, settings = verified.traversal, verified.settings
    results = {
        one.name: {
            "outcome": outcome(found, one.name),
            "interval": list(found.interval(one.name)),
            "threshold": one.threshold,
            "below": _reach(found.reaches[one.name][0]),
            "above": _reach(found.reaches[one.name][1]),
        }
        for one in found.properties
    }
    record = {
        "format": FORMAT,
        "claim": CLAIM,
        "settings": {
            "perturbation": settings.perturbation.settings,
            "range": [settings.low, settings.high],
            **settings_record(verified.loaded, verified.asked, settings.time_budget_s),
        },
        **image_record(verified.loaded, verified.asked),
        "n_switches": verified.line.n_switches,
        "regions_crossed": len(found.regions),
        "regions_sha256": regions_sha256,
        "hidden_patterns_checked": found.hidden,
        "results": results,
        "elapsed_s": found.elapsed_s,
        "process_s": found.process_s,
    }
    return sealed(record)


def _reach(reach: Reach) -> dict[str, Any]:
    assert reach.end is not None
    return {
        "theta": reach.theta,
        "end": reach.end,
        "sentence": END_SENTENCES[reach.end],
        "witness": reach.witness,
        "witness_value": reach.witness_value,
    }
