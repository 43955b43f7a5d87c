"""What certified ranges leave on the disk: attention.json and attention.png."""

from __future__ import annotations

from pathlib import Path

from monai_robustinterp.attention.range_image import Ranged, ranges_record, sentence
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.visualize.range_curve import RangePanel, range_figure


def save_ranges(ranged: Ranged, folder: Path) -> None:
    """Writes both files into an existing folder without them."""
    panels = [
        RangePanel(
            title=sentence(one, ranged.image.meta),
            axis=f"strength of {one.noise.name}: {one.noise.unit}",
            radius=one.noise.proven(one.radius),
            strengths=one.sampled.strengths,
            plain=one.sampled.plain,
            smoothed=one.sampled.smoothed,
            overlap=one.overlap,
            top_k=one.spec.top_k,
        )
        for one in ranged.ranges
    ]
    figure = range_figure(panels, title="certified ranges, one kind of change at a time")
    content = json_bytes(ranges_record(ranged))
    atomic_write(folder / "attention.png", lambda file: figure.savefig(file, format="png"))
    atomic_write(folder / "attention.json", lambda file: file.write(content))
