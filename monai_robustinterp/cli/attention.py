"""``attention``: for which strengths of a perturbation decision and map of one image provably stay."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path

from tqdm import tqdm

from monai_robustinterp.attention.files import save_verified
from monai_robustinterp.attention.image import Settings, Verified, outcome, verify_image
from monai_robustinterp.attention.perturbations import PERTURBATIONS, Perturbation, make_perturbation
from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.cli.arguments import (
    add_classifier_arguments,
    classifier_overrides,
    positive,
    setting_values,
    shown_path,
    split_outside_json,
)
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.files import atomic_folder, file_sha256
from monai_robustinterp.run.inputs import RESULT_PREFIX, refuse_irregular
from monai_robustinterp.run.lock import output_folder

HELP = "Verify exactly how far decision and gradient map of one image stay under brightness, contrast, patch or slope."
# On a GPU a region alone leaves most of it idle; on a CPU many together are no faster.
_GPU_BATCH_SIZE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="image file (DICOM, NIfTI, PNG, JPEG)")
    parser.add_argument(
        "--perturb",
        required=True,
        metavar="NAME[:SETTING=VALUE...]",
        help=f"what changes the image: {', '.join(sorted(PERTURBATIONS))}; such as contrast:pivot=0.5",
    )
    parser.add_argument("--exact", action="store_true", required=True, help="by exact traversal, the one way so far")
    parser.add_argument(
        "--range", type=float, required=True, metavar="R", help="verify theta in [-R, R] (patch: [0, R])"
    )
    change = parser.add_mutually_exclusive_group(required=True)
    change.add_argument("--delta", type=float, metavar="D", help="largest change of the map, ai(theta)")
    change.add_argument("--share", type=float, metavar="S", help="the same as a share of the norm of the clean map")
    parser.add_argument("--beta", metavar="B", help="share of the top-k cells that must stay; default: the bundle's")
    parser.add_argument(
        "--time-budget", type=positive(float), metavar="SECONDS", help="end then; what is proven so far is kept"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_classifier_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no table")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    # MONAI logs what a failed transform was given, which may name the patient.
    logging.basicConfig(level=logging.CRITICAL)
    try:
        perturbation = _perturbation(arguments.perturb)
        low, high = perturbation.within(arguments.range)
        settings = Settings(
            perturbation=perturbation,
            low=low,
            high=high,
            delta=arguments.delta,
            share=arguments.share,
            beta=arguments.beta,
            time_budget_s=arguments.time_budget,
        )
        bundle = load_bundle(arguments.bundle, classifier_overrides(arguments))
        refuse_irregular(arguments.input)
        target = arguments.output / f"{RESULT_PREFIX}{file_sha256(arguments.input)[:16]}-attention"
        if target.exists() and not arguments.overwrite:
            raise InputRefused(f"results of this file exist in {target.name}: pass --overwrite, or another folder.")
        batch_size = 1 if bundle.device.type == "cpu" else _GPU_BATCH_SIZE
        with (
            warnings.catch_warnings(),
            tqdm(total=100.0, unit=" %", disable=arguments.quiet, leave=False, bar_format=_BAR) as bar,
        ):
            # The reader's warnings are in attention.json.
            warnings.simplefilter("ignore", UserWarning)
            verified = verify_image(
                arguments.input,
                bundle,
                settings,
                batch_size=batch_size,
                progress=lambda share: bar.update(100 * share),
            )
        with output_folder(arguments.output) as output:
            output.share()
            with atomic_folder(target, overwrite=arguments.overwrite) as folder:
                save_verified(verified, folder)
    except Exception as error:
        print(f"monai-robustinterp: {refusal_reason(error)}", file=sys.stderr)
        return 1
    if not arguments.quiet:
        print(table(verified))
        print(f"\nResults: {shown_path(target)}/ (attention.png)")
    return 0


_BAR = "{desc}{percentage:5.1f} % of the range |{bar}| {elapsed}, {remaining} left"


def table(verified: Verified) -> str:
    """What was crossed, and a line a property."""
    found, perturbation = verified.traversal, verified.settings.perturbation
    lines = [
        f"{perturbation.name} ({perturbation.unit}) in [{found.low:g}, {found.high:g}]: {len(found.regions)} regions "
        f"crossed in {found.elapsed_s:.0f} s"
    ]
    for one in found.properties:
        low, high = found.interval(one.name)
        ends = "; ".join(f"{reach.end} at {reach.theta:.3g}" for reach in found.reaches[one.name])
        lines.append(f"  {one.name:<15} {outcome(found, one.name)}: holds in [{low:.6g}, {high:.6g}] (ends: {ends})")
    return "\n".join([*lines, *verified.input_warnings])


def _perturbation(text: str) -> Perturbation:
    name, *settings = split_outside_json(text.strip(), ":")
    try:
        values = setting_values(text, settings)
    except argparse.ArgumentTypeError as error:
        raise InputRefused(f"--perturb: {error}.") from error
    if not all(isinstance(number, int | float) for number in values.values()):
        raise InputRefused("the settings of a perturbation are numbers.")
    return make_perturbation(name, **values)
