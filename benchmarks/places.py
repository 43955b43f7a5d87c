"""Where the studies read their films and write their pages."""

from __future__ import annotations

from pathlib import Path

from monai_robustinterp.run.inputs import find_images

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_data"
RESULTS = ROOT / "docs" / "results"
PICTURES = ROOT / "docs" / "images"


def films(first: int | None = None) -> list[Path]:
    """The films of the studies in the order of their names; a quick form takes the first ones only."""
    return list(find_images([SAMPLES]).images[:first])
