"""Where the studies read their films and write their pages."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.films import ROOT, SAMPLES, study_films
from monai_robustinterp.cli.arguments import positive
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


def study_arguments(prog: str, *, workers: bool = False) -> argparse.Namespace:
    """Arguments of a study on validation images.

    Args:
        prog: as the usage names the study.
        workers: whether several processes can work on it.

    Returns:
        ``output``, the folder of the results; ``folders``, those of Kermany and ChestX-ray14, None for the quick form;
        and ``workers`` where they are wanted.
    """
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("output", type=Path, help="folder of the results")
    parser.add_argument("--kermany", type=Path, help="folder of the Kermany images")
    parser.add_argument("--chest-xray14", type=Path, help="folder of the ChestX-ray14 images")
    parser.add_argument("--quick", action="store_true", help="seconds; its figures are no results")
    if workers:
        add_workers(parser)
    arguments = parser.parse_args()
    arguments.folders = None if arguments.quick else (arguments.kermany, arguments.chest_xray14)
    if arguments.folders and None in arguments.folders:
        parser.error("the full form needs --kermany and --chest-xray14")
    return arguments


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The argument of a study whose rows several processes can make."""
    parser.add_argument(
        "--workers", type=positive(int), metavar="N", default=1, help="processes of one thread each (1)"
    )
