"""What a verification of two parameters leaves on the disk: attention.json, regions.csv and two pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monai_robustinterp.attention.plane_image import PlaneVerified, box_of, plane_outcome, plane_record
from monai_robustinterp.attention.polygons import Point, center
from monai_robustinterp.attention.shards import Shard
from monai_robustinterp.attention.witnesses import witness_figure
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.visualize.plane_map import PlanePanel, plane_figure

_LABELS = {"classification": "the decision", "attention": "the map", "top_k": "the strongest cells"}


def save_plane(verified: PlaneVerified, folder: Path) -> None:
    """Writes the files into an existing folder without them."""
    found, plane = verified.found, verified.plane
    names = [one.name for one in found.properties]
    # All digits, in shares of the limits, as the walk had them.
    lines = [",".join(["x", "y", *names, "holds", "corners"]), *map(_line, found.shards)]
    table = ("\n".join(lines) + "\n").encode()
    content = json_bytes(plane_record(verified, regions_sha256=hashlib.sha256(table).hexdigest()))
    one, other = verified.settings.perturbations
    figure = plane_figure(
        [np.array([plane.strengths(corner[:2]) for corner in shard.corners]) for shard in found.shards],
        [_panel(verified, index) for index in range(len(names))],
        ranges=verified.settings.ranges,
        title=f"{len(found.shards):,} polygons crossed, each with one gradient map; network without smoothing, float64",
        axes=(f"{one.name}: {one.unit}", f"{other.name}: {other.unit}"),
    )
    images = witness_figure(
        _ends(verified),
        found.properties,
        clean=(0.0, 0.0),
        changed=plane.changed,
        maps=lambda point: plane.gradient(point)[1],
        shown=lambda point: _shown(verified, point),
    )
    atomic_write(folder / "regions.csv", lambda file: file.write(table))
    atomic_write(folder / "attention.png", lambda file: figure.savefig(file, format="png"))
    atomic_write(folder / "images.png", lambda file: images.savefig(file, format="png"))
    atomic_write(folder / "attention.json", lambda file: file.write(content))


def _line(shard: Shard) -> str:
    numbers = (*center(shard.corners), *shard.values)
    holds = "".join("1" if one else "0" for one in shard.holds)
    corners = ";".join(f"{x!r} {y!r}" for x, y, _ in shard.corners)
    return ",".join([*(repr(float(number)) for number in numbers), holds, corners])


def _panel(verified: PlaneVerified, index: int) -> PlanePanel:
    found, around = verified.found, verified.areas[index]
    one = found.properties[index]
    scale = found.scales[one.name]
    strengths = verified.plane.strengths
    (left, right), (bottom, top) = box_of(verified, one.name)
    return PlanePanel(
        title=f"{_LABELS[one.name]}: {plane_outcome(verified, one.name)}, proven in {scale.scale:.3g} of both ranges",
        reached=around.inside,
        holds=[shard.holds[index] for shard in found.shards],
        boundary=np.array([[strengths(point) for point in segment] for segment in around.boundary]).reshape(-1, 2, 2),
        box=(left, right, bottom, top),
        witness=scale.witness,
    )


def _ends(verified: PlaneVerified) -> Iterator[tuple[Point, str]]:
    """Where the witnesses are, and the points of the proven boxes on the way there, in shares."""
    limits = verified.plane.limits
    for one in verified.found.properties:
        scale = verified.found.scales[one.name]
        if scale.witness is None:
            yield (scale.scale, scale.scale), f"corner of the box of {_LABELS[one.name]}"
            continue
        point = scale.witness[0] / limits[0], scale.witness[1] / limits[1]
        inwards = scale.scale / max(map(abs, point))
        yield (inwards * point[0], inwards * point[1]), f"edge of the box of {_LABELS[one.name]}"
        yield point, f"witness: {_LABELS[one.name]}, value {scale.witness_value:.4g}"


def _shown(verified: PlaneVerified, point: Point) -> str:
    one, other = verified.settings.perturbations
    values = verified.plane.strengths(point)
    return f"{one.name} {values[0]:+.6g}, {other.name} {values[1]:+.6g}"
