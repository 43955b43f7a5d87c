"""A record of exact intervals checked on the network: witnesses, points and boundaries of regions, by autograd alone.

Nothing of the walk is used: the image is read again, and every number comes from one forward and one backward pass of
the plain network in float64.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_robustinterp.attention.plain import AGREE, PlainNetwork, agree
from monai_robustinterp.audit import RegionRow
from monai_robustinterp.bundle import SaliencyBundle

SAMPLE = 8
"""Regions that are looked at, beside those at the ends of the intervals."""
_STEPS = 16
"""Halvings of the distance between two regions: their boundary is found to 2e-5 of it."""


@dataclass(frozen=True)
class Rechecked:
    """What was found.

    Attributes:
        differences: what contradicts the record, one sentence each; empty if nothing does.
        witnesses: that were evaluated.
        regions: that were looked at.
        boundaries: that were found again, between different maps.
        unseen: boundaries at which the map does not change, so that they cannot be seen.
    """

    differences: tuple[str, ...]
    witnesses: int
    regions: int
    boundaries: int
    unseen: int


def recheck(
    record: Mapping[str, Any],
    regions: Sequence[RegionRow],
    *,
    source: str | Path,
    bundle: SaliencyBundle,
    sample: int = SAMPLE,
    progress: Callable[[], object] | None = None,
) -> Rechecked:
    """Evaluates the network of a record that was audited (:func:`~monai_robustinterp.audit.verify_attention`).

    Args:
        record: content of attention.json.
        regions: rows of its regions.csv.
        source: the image file.
        bundle: with the network.
        sample: regions that are drawn at random, by the record's own hash; their number is a matter of time.
        progress: called after each region.
    """
    plain = PlainNetwork(record, [record["settings"]["perturbation"]], source=source, bundle=bundle)
    others = plain.others()
    if others:
        return Rechecked(tuple(others), 0, 0, 0, 0)
    check = _Check(record, plain)
    witnesses = check.witnesses()
    drawn = random.Random(record["content_sha256"]).sample(range(len(regions)), min(sample, len(regions)))
    at_ends = [i for i, row in enumerate(regions) if any(row.low <= end <= row.high for end in check.ends())]
    chosen = sorted({*drawn, *at_ends})
    boundaries = [check.region(regions, i, progress) for i in chosen]
    seen = [one for one in boundaries if one is not None]
    return Rechecked(tuple(check.differences), witnesses, len(chosen), sum(seen), len(seen) - sum(seen))


class _Check:
    def __init__(self, record: Mapping[str, Any], plain: PlainNetwork) -> None:
        self.differences: list[str] = []
        self._record, self._plain = record, plain

    def ends(self) -> list[float]:
        """Ends of the proven intervals."""
        return [theta for result in self._record["results"].values() for theta in result["interval"]]

    def witnesses(self) -> int:
        """Evaluates the property at every witness, and in the middle of every proven side."""
        number = 0
        for name, result in self._record["results"].items():
            for side in ("below", "above"):
                reach = result[side]
                inside = self._plain.value(name, [reach["theta"] / 2])
                if self._plain.violated(name, inside):
                    self.differences.append(f"{name} is violated within the interval, at {reach['theta'] / 2:g}")
                if reach["witness"] is None:
                    continue
                number += 1
                value = self._plain.value(name, [reach["witness"]])
                if not self._plain.violated(name, value) or not agree(value, reach["witness_value"]):
                    self.differences.append(
                        f"the witness of {name} {side} 0 gives {value:g}, and the record says "
                        f"{reach['witness_value']:g}"
                    )
        return number

    def region(self, regions: Sequence[RegionRow], i: int, progress: Callable[[], object] | None) -> bool | None:
        """Looks at one region and at its boundary with the next one.

        Returns:
            Whether bisection found the boundary; None for the last region.
        """
        row = regions[i]
        values = {name: self._plain.value(name, [row.theta]) for name in row.values}
        off = [name for name in values if not agree(values[name], row.values[name])]
        if off:
            self.differences.append(f"region {i} has other values at {row.theta!r} ({', '.join(off)})")
        inner = [row.low + share * (row.high - row.low) for share in (0.02, 0.5, 0.98)]
        maps = [self._plain.at([theta])[1] for theta in inner]
        if not all(self._plain.same_map(maps[0], one) for one in maps):
            self.differences.append(f"the map changes within region {i}, which is more than one")
        if progress is not None:
            progress()
        return self._boundary(row, regions[i + 1], i) if i + 1 < len(regions) else None

    def _boundary(self, row: RegionRow, following: RegionRow, i: int) -> bool:
        """Finds the boundary of two regions by bisection, from their middles."""
        low, high = (row.low + row.high) / 2, (following.low + following.high) / 2
        before, after = self._plain.at([low])[1], self._plain.at([high])[1]
        if self._plain.same_map(before, after):
            return False
        distance = high - low
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._plain.same_map(before, self._plain.at([middle])[1]) else (low, middle)
        if not low - AGREE * distance <= row.high <= high + AGREE * distance:
            self.differences.append(f"the map changes at {high!r}, and region {i} ends at {row.high!r}")
        return True
