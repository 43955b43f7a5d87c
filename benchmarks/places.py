"""Where the studies read their films and write their pages."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.films import ROOT, SAMPLES, study_films
from monai_robustinterp.run.inputs import find_images

OPACITY = "chest_xray_certified_saliency"
"""The bundle that most studies are of."""

RESULTS = ROOT / "docs" / "results"
PICTURES = ROOT / "docs" / "images"


def films(output: Path, first: int | None) -> list[Path]:
    """The films of a study in the order of their names.

    Args:
        output: folder of the study, which gets copies of the published films.
        first: so many of ``sample_data/``, for a quick form; None takes the films of the published tables.
    """
    return study_films(output / "films") if first is None else list(find_images([SAMPLES]).images[:first])


def study_arguments(prog: str) -> tuple[Path, tuple[Path, Path] | None]:
    """Arguments of a study on validation images: its output, and the folders of Kermany and ChestX-ray14.

    Args:
        prog: as the usage names the study.

    Returns:
        The folder of the results, and the folders of the images, None for the quick form.
    """
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--kermany", type=Path, help="folder of the Kermany images")
    parser.add_argument("--chest-xray14", type=Path, help="folder of the ChestX-ray14 images")
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    arguments = parser.parse_args()
    if arguments.quick:
        return arguments.output, None
    if None in (arguments.kermany, arguments.chest_xray14):
        parser.error("the full form needs --kermany and --chest-xray14")
    return arguments.output, (arguments.kermany, arguments.chest_xray14)
