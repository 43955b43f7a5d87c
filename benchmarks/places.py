"""Where the studies read their films and write their pages."""

from __future__ import annotations

from pathlib import Path

from benchmarks.films import ROOT, SAMPLES, study_films
from monai_robustinterp.run.inputs import find_images

RESULTS = ROOT / "docs" / "results"
PICTURES = ROOT / "docs" / "images"


def films(output: Path, first: int | None) -> list[Path]:
    """The films of a study in the order of their names.

    Args:
        output: folder of the study, which gets copies of the published films.
        first: so many of ``sample_data/``, for a quick form; None takes the films of the published tables.
    """
    return study_films(output / "films") if first is None else list(find_images([SAMPLES]).images[:first])
