"""``compare``: one image by several interpreters, side by side, or many films in a table."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.cli import compare_films
from monai_robustinterp.cli.arguments import (
    InterpreterChoice,
    add_classifier_arguments,
    chosen_interpreter,
    classifier_overrides,
    interpreter,
    shown_path,
    split_outside_json,
)
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.files import atomic_folder, file_sha256
from monai_robustinterp.interpreters import INTERPRETERS
from monai_robustinterp.run.compare import Comparison, compare, comparison_record, save_comparison
from monai_robustinterp.run.inputs import RESULT_PREFIX, refuse_irregular
from monai_robustinterp.run.lock import output_folder

HELP = "Interpret one image by several methods, side by side, or judge the maps of many films (INPUT.csv) by metrics."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="image file (DICOM, NIfTI, PNG, JPEG), or a dataset (CSV)"
    )
    parser.add_argument(
        "--interpreter",
        "--interpreters",
        type=_interpreters,
        required=True,
        metavar="A[:ARGUMENT=VALUE...],B,...",
        help=f"interpretation methods, or 'all': {', '.join(sorted(INTERPRETERS))}; captum:NAME",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_classifier_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    parser.add_argument("--quiet", action="store_true", help="no progress bars and no table")
    compare_films.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    # MONAI logs what a failed transform was given, which may name the patient.
    logging.basicConfig(level=logging.CRITICAL)
    if arguments.input.suffix.lower() == ".csv":
        return compare_films.run(arguments, arguments.interpreter)
    try:
        compare_films.refuse_arguments(arguments)
        bundle = load_bundle(arguments.bundle, classifier_overrides(arguments))
        interpreters = [chosen_interpreter(bundle, choice) for choice in arguments.interpreter]
        refuse_irregular(arguments.input)
        target = arguments.output / f"{RESULT_PREFIX}{file_sha256(arguments.input)[:16]}-maps"
        if target.exists() and not arguments.overwrite:
            raise InputRefused(f"results of this file exist in {target.name}: pass --overwrite, or another folder.")
        with warnings.catch_warnings(), closing(ProgressBars()) as bars:
            # The reader's warnings are in compare.json.
            warnings.simplefilter("ignore", UserWarning)
            comparison = compare(arguments.input, bundle, interpreters, progress=None if arguments.quiet else bars)
        with output_folder(arguments.output) as output:
            output.share()
            with atomic_folder(target, overwrite=arguments.overwrite) as folder:
                save_comparison(comparison, folder)
    except Exception as error:
        print(f"monai-robustinterp: {refusal_reason(error)}", file=sys.stderr)
        return 1
    if not arguments.quiet:
        print(table(comparison))
        print(f"\nMaps, not certified: {shown_path(target)}/ (panel.png)")
    return 1 if comparison.refused else 0


def table(comparison: Comparison) -> str:
    """The finding, and a line a method."""
    finding = comparison_record(comparison)["finding"]
    lines = [f"{finding['name']}: score {finding['score']:.2f} (not calibrated)"]
    lines += [f"  {plain.label:<24} {plain.elapsed_s:8.2f} s" for plain in comparison.maps]
    lines += [f"  {label:<24} refused: {reason}" for label, reason in comparison.refused.items()]
    return "\n".join([*lines, *comparison.input_warnings])


class ProgressBars:
    """One bar at a time: a method's bar closes when the next one begins."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, label: str, n_steps: int) -> Callable[[int], object]:
        """The bar of a method; called with the number of steps just done."""
        self.close()
        self._bar = bar = tqdm(total=n_steps, desc=label, unit=" steps", leave=False)
        return lambda steps: bar.update(steps)

    def close(self) -> None:
        """Takes the last bar off the screen."""
        if self._bar is not None:
            self._bar.close()


def _interpreters(text: str) -> list[InterpreterChoice]:
    parts = split_outside_json(text, ",")
    if "all" in parts and len(parts) > 1:
        raise argparse.ArgumentTypeError("'all' stands alone; it is every interpreter with its own settings")
    return [interpreter(part) for part in (sorted(INTERPRETERS) if text == "all" else parts)]
