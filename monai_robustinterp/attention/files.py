"""What a verification leaves on the disk: attention.json, regions.csv and attention.png."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from monai_robustinterp.attention.image import Verified, attention_record
from monai_robustinterp.attention.properties import Property
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.visualize.attention_curve import Track, attention_figure

_LABELS = {
    "classification": "lead of the decision (logits)",
    "attention": "ai(theta), change of the map",
    "top_k": "cells of the top-k that stay",
}


def save_verified(verified: Verified, folder: Path) -> None:
    """Writes the three files into an existing folder without them."""
    found = verified.traversal
    names = ["theta_low", "theta_high", "theta", *(one.name for one in found.properties)]
    rows = [[region.low, region.high, region.theta, *region.values] for region in found.regions]
    # All digits: the edges are doubles that a reader may want to evaluate at.
    lines = [",".join(names), *(",".join(repr(float(value)) for value in row) for row in rows)]
    figure = attention_figure(
        np.array([rows[0][0], *(row[1] for row in rows)]),
        [_track(verified, index, one) for index, one in enumerate(found.properties)],
        title=f"{len(rows)} regions crossed, each with one gradient map; network without smoothing, float64",
        axis=f"theta of {verified.settings.perturbation.name}: {verified.settings.perturbation.unit}",
    )
    table = ("\n".join(lines) + "\n").encode()
    content = json_bytes(attention_record(verified, regions_sha256=hashlib.sha256(table).hexdigest()))
    atomic_write(folder / "regions.csv", lambda file: file.write(table))
    atomic_write(folder / "attention.png", lambda file: figure.savefig(file, format="png"))
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
