"""One image file, verified on a bundle's classifier along two parameters at once, and its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_robustinterp.attention.asked import (
    Asked,
    Change,
    Loaded,
    ask,
    expected_changes,
    image_record,
    load,
    settings_record,
)
from monai_robustinterp.attention.frontier import Order
from monai_robustinterp.attention.outline import Area, area_around
from monai_robustinterp.attention.perturbations import Perturbation
from monai_robustinterp.attention.plane import Plane
from monai_robustinterp.attention.survey import Survey, survey
from monai_robustinterp.attention.verify import END_SENTENCES, End
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import sealed

PLANE_FORMAT = "monai_robustinterp/attention-plane/1"
PLANE_CLAIM = (
    "of the network without smoothing, in real numbers, under the bound on round-off of docs/theory/attention.md: "
    "for every pair of strengths in the box of each property it holds, both changes being added to the image; nothing "
    "is said of other changes, nor of stored pixels that are rounded or clipped. The area around 0 in which a property "
    "holds is a finding: strips that round-off leaves open are not taken off it"
)
MOST_SWITCHES = 25_000
"""Of a network whose box is walked through without an end in time: the polygons grow with their square."""
_OUTCOMES: dict[End, str] = {
    "range": "satisfied",
    "violation": "violated in a part",
    "undecided": "open in a part",
    "time": "open in a part",
}


@dataclass(frozen=True, kw_only=True)
class PlaneSettings(Change):
    """What is asked.

    Attributes:
        perturbations: of one parameter each, which are added to the image.
        limits: both ranges: of -limit to limit, or from 0 where a parameter has no meaning below it.
        time_budget_s: seconds; None walks to the end.
        order: whether the proven box comes first, or the outermost boundary.

    Raises:
        InputRefused: if a range has no meaning, or not exactly one of delta and share is given.
    """

    perturbations: tuple[Perturbation, Perturbation]
    limits: tuple[float, float]
    time_budget_s: float | None = None
    order: Order = "nearest"

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [one.name for one in self.perturbations]
        if names[0] == names[1]:
            raise InputRefused(f"both perturbations are {names[0]!r}: name two kinds of change, or one.")
        # Refuses what has no meaning.
        _ = self.ranges

    @property
    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Both ranges."""
        one, other = (change.within(limit) for change, limit in zip(self.perturbations, self.limits))
        return one, other


@dataclass(frozen=True, kw_only=True)
class PlaneVerified:
    """What the exact traversal of a plane says of one image.

    Attributes:
        loaded: the image.
        settings: what was asked.
        asked: what must hold.
        plane: with the changed images.
        found: boxes and polygons.
        areas: around 0, of each property.
    """

    loaded: Loaded
    settings: PlaneSettings
    asked: Asked
    plane: Plane
    found: Survey
    areas: tuple[Area, ...]


def verify_plane(
    source: str | Path,
    bundle: SaliencyBundle,
    settings: PlaneSettings,
    *,
    progress: Callable[[float], object] | None = None,
) -> PlaneVerified:
    """Verifies classification robustness, attention robustness and top-k overlap of one image file in a box.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: its network is verified by itself: without noise and without a denoiser.
        settings: what is asked.
        progress: called with the share of the box that was just covered.

    Raises:
        InputRefused: if the file is no image that can be explained, the network is not piecewise linear or too large,
            or the image has no map.
    """
    loaded = load(source, bundle)
    double = loaded.clean.double()
    directions = [one.direction(double) for one in settings.perturbations]
    plane = Plane(bundle.network, double, directions, [loaded.target], limits=settings.limits)
    if plane.n_switches > MOST_SWITCHES and settings.time_budget_s is None:
        raise InputRefused(
            f"the network has {plane.n_switches:,} places where it may bend, and two parameters at once are walked "
            f"without an end in time up to {MOST_SWITCHES:,}, as their polygons are many. Give a time budget, after "
            "which what is proven so far is kept, or verify one parameter."
        )
    logits, maps = plane.gradient((0.0, 0.0))
    expected = torch.stack([expected_changes(maps, one) for one in settings.perturbations])
    asked = ask(bundle, settings, logits, maps, expected)
    low = tuple(-1.0 if low < 0 else 0.0 for low, _ in settings.ranges)
    found = survey(
        plane,
        asked.properties,
        low=(low[0], low[1]),
        order=settings.order,
        time_budget_s=settings.time_budget_s,
        progress=progress,
    )
    areas = tuple(area_around(found.reached, index) for index in range(len(asked.properties)))
    return PlaneVerified(loaded=loaded, settings=settings, asked=asked, plane=plane, found=found, areas=areas)


def box_of(verified: PlaneVerified, name: str) -> list[list[float]]:
    """The proven box of a property: the range of each parameter."""
    scale = verified.found.scales[name].scale
    return [[scale * low, scale * high] for low, high in verified.settings.ranges]


def plane_outcome(verified: PlaneVerified, name: str) -> str:
    """What is known of a property in the whole box, in a word or two."""
    end = verified.found.scales[name].end
    assert end is not None
    return _OUTCOMES[end]


def plane_record(verified: PlaneVerified, *, regions_sha256: str) -> dict[str, Any]:
    """Content of attention.json: plain values, no names and no dates.

    Args:
        verified: what was found.
        regions_sha256: of the bytes of regions.csv.
    """
    found, settings = verified.found, verified.settings
    record = {
        "format": PLANE_FORMAT,
        "claim": PLANE_CLAIM,
        "settings": {
            "perturbations": [one.settings for one in settings.perturbations],
            "ranges": [list(one) for one in settings.ranges],
            "order": settings.order,
            **settings_record(verified.loaded, verified.asked, settings.time_budget_s),
        },
        **image_record(verified.loaded, verified.asked),
        "n_switches": verified.plane.n_switches,
        "polygons_crossed": len(found.shards),
        "share_crossed": found.crossed,
        "boundary_followed_after": found.boundary_after,
        "crossed_to_the_boundary": found.whole,
        "regions_sha256": regions_sha256,
        "hidden_patterns_checked": found.hidden,
        "results": {one.name: _result(verified, index) for index, one in enumerate(found.properties)},
        "elapsed_s": found.elapsed_s,
        "process_s": found.process_s,
    }
    return sealed(record)


def _result(verified: PlaneVerified, index: int) -> dict[str, Any]:
    found, one, around = verified.found, verified.asked.properties[index], verified.areas[index]
    scale = found.scales[one.name]
    assert scale.end is not None
    return {
        "outcome": plane_outcome(verified, one.name),
        "scale": scale.scale,
        "box": box_of(verified, one.name),
        "threshold": one.threshold,
        "end": scale.end,
        "sentence": END_SENTENCES[scale.end],
        "witness": None if scale.witness is None else list(scale.witness),
        "witness_value": scale.witness_value,
        "area": {
            "share_of_box": around.size / ((1 - found.low[0]) * (1 - found.low[1])),
            "farthest": list(verified.plane.strengths(around.farthest)),
        },
    }
