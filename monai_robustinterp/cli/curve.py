"""``curve``: certified overlap against radius, from stored votes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from monai_robustinterp.certificates.curve import curve_to_json, overlap_curve
from monai_robustinterp.cli.arguments import confidence
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.io.votes_npz import load_votes
from monai_robustinterp.visualize.curve import curve_figure

HELP = "Draw how many of the reported cells are certified at which radius, from the votes of one image."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("votes", type=Path, metavar="VOTES", help="votes.npz of a result")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="picture; numbers go to PNG.json")
    parser.add_argument("--confidence", type=confidence, default=0.001, metavar="P", help="per image; default 0.999")
    parser.add_argument("--points", type=int, default=50, help="overlaps to draw; default 50")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    picture = arguments.output
    numbers = picture.with_name(f"{picture.name}.json")
    try:
        votes, spec, _ = load_votes(arguments.votes)
        curve = overlap_curve(votes, spec, eta=arguments.confidence, points=arguments.points)
        figure = curve_figure(curve)
        content = json_bytes(curve_to_json(curve))
        if picture.exists() and not arguments.overwrite:
            raise FileExistsError("the picture exists: pass --overwrite, or another name.")
        atomic_write(numbers, lambda file: file.write(content), overwrite=arguments.overwrite)
        atomic_write(picture, lambda file: figure.savefig(file, format="png"), overwrite=arguments.overwrite)
    except (ValueError, OSError) as error:
        print(f"monai-robustinterp: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    print(f"Curve: {picture} and {numbers}")
    return 0
