"""``figure``: the method on one image as a picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.cli.arguments import positive
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write
from monai_robustinterp.visualize.method_figure import method_figure

HELP = "Draw the four stages of the method on one image."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="image file")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="picture to write")
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="MONAI bundle of the classifier (trusted: it is code), or the name of a shipped one",
    )
    parser.add_argument("--copies", type=positive(int), default=4, help="noisy copies to show")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier picture")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    try:
        bundle = load_bundle(arguments.bundle)
        image = bundle.preprocessing({"image": str(arguments.input)})["image"]
        result = bundle.inferer.certify(image, bundle.network)
        target = result.certificate.spec.target
        stages = bundle.inferer.recipe.stages(image, bundle.network, target=target, n_copies=arguments.copies)
        figure = method_figure(image, stages, result)
        atomic_write(
            arguments.output,
            lambda file: figure.savefig(file, format="png"),
            overwrite=arguments.overwrite,
            private=True,
        )
    except (RuntimeError, ValueError, OSError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, InputRefused) else error
        print(f"monai-robustinterp: {cause}", file=sys.stderr)
        return 1
    print(f"Figure: {arguments.output}")
    return 0
