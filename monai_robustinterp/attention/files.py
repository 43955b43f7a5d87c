"""What a verification leaves on the disk: attention.json, regions.csv and two pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from monai_robustinterp.attention.image import Verified, attention_record
from monai_robustinterp.attention.properties import Property
from monai_robustinterp.attention.witnesses import witness_figure
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.visualize.attention_curve import Track, attention_figure

_LABELS = {
    "classification": "lead of the decision (logits)",
    "attention": "ai(theta), change of the map",
    "top_k": "cells of the top-k that stay",
}


def save_verified(verified: Verified, folder: Path) -> None:
    """Writes the files into an existing folder without them."""
    found, line, perturbation = verified.traversal, verified.line, verified.settings.perturbation
    names = ["theta_low", "theta_high", "theta", *(one.name for one in found.properties)]
    rows = [[region.low, region.high, region.theta, *region.values] for region in found.regions]
    # All digits: the edges are doubles that a reader may want to evaluate at.
    lines = [",".join(names), *(",".join(repr(float(value)) for value in row) for row in rows)]
    figure = attention_figure(
        np.array([rows[0][0], *(row[1] for row in rows)]),
        [_track(verified, index, one) for index, one in enumerate(found.properties)],
        title=f"{len(rows)} regions crossed, each with one gradient map; network without smoothing, float64",
        axis=f"theta of {perturbation.name}: {perturbation.unit}",
    )
    images = witness_figure(
        _ends(verified),
        found.properties,
        clean=0.0,
        changed=lambda theta: line.image + theta * line.direction,
        maps=lambda theta: line.gradient(theta)[1],
        shown=lambda theta: f"{perturbation.name} {theta:+.6g}",
    )
    table = ("\n".join(lines) + "\n").encode()
    content = json_bytes(attention_record(verified, regions_sha256=hashlib.sha256(table).hexdigest()))
    atomic_write(folder / "regions.csv", lambda file: file.write(table))
    atomic_write(folder / "attention.png", lambda file: figure.savefig(file, format="png"))
    atomic_write(folder / "images.png", lambda file: images.savefig(file, format="png"))
    atomic_write(folder / "attention.json", lambda file: file.write(content))


def _track(verified: Verified, index: int, one: Property) -> Track:
    found = verified.traversal
    return Track(
        label=_LABELS[one.name],
        values=[region.values[index] for region in found.regions],
        threshold=one.threshold,
        interval=found.interval(one.name),
        witnesses={
            reach.witness: reach.witness_value
            for reach in found.reaches[one.name]
            if reach.witness is not None and reach.witness_value is not None
        },
    )


def _ends(verified: Verified) -> Iterator[tuple[float, str]]:
    """Ends of the proven intervals, and witnesses."""
    for one in verified.traversal.properties:
        for reach in verified.traversal.reaches[one.name]:
            yield reach.theta, f"{one.name} proven up to here ({reach.end})"
            if reach.witness is not None:
                yield reach.witness, f"witness: {one.name} {reach.witness_value:.4g}"
