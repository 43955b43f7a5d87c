"""``certify``: images in, certified saliency and DICOM secondary captures out."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from pathlib import Path
from typing import Any, get_args

from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.certificates.overlap import exact_beta, required_overlap
from monai_robustinterp.certificates.region import ALARM_RADIUS
from monai_robustinterp.certificates.units import readable, round_down, round_up, sum_up
from monai_robustinterp.cli.arguments import (
    EVERY_FINDING,
    add_classifier_arguments,
    classifier_overrides,
    confidence,
    interpreter,
    one_line,
    part,
    positive,
    shown_path,
    spread,
)
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.changes import change_named
from monai_robustinterp.geometry.lungs import LungMask
from monai_robustinterp.geometry.regions import MaskFile, RegionSource, parse_region
from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import INTERPRETERS
from monai_robustinterp.io.derived.deidentified import read_key
from monai_robustinterp.io.write.options import DEFAULT_OPTIONS, OUTPUTS, Capture, OutputOptions
from monai_robustinterp.io.write.overlay import read_reference
from monai_robustinterp.io.write.secondary_capture import TRANSFER_SYNTAXES
from monai_robustinterp.run.cohort import certify_cohort
from monai_robustinterp.run.lists import NOTHING_FOUND, SAME_FILM, CohortSummary, ImageResult
from monai_robustinterp.smoothing.denoising import DenoiserGradient
from monai_robustinterp.types import Precision

_LUNGS_HEADER = f"{'lungs':>5} {'L_lungs':>7} "
_LUNGS_LEGEND = (
    "lungs: observed share of the votes in the lung fields of the clean image; L_lungs: radius within which more than "
    f"half of them are expected there. ALARM: whatever change within {ALARM_RADIUS} standard deviations of the noise, "
    "most votes are expected outside the lungs. Certified by itself says nothing about where the map looks."
)

_FINDINGS_LEGEND = (
    "Findings of one image share its confidence: eta is split over them, and each kind of claim (map, decision, second "
    "run, regions) holds for all of them together."
)

HELP = "Certify the saliency of chest X-rays (DICOM, NIfTI, PNG, JPEG; files or folders)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments; a value that is not given is the bundle's."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image files or folders")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_classifier_arguments(
        parser,
        targets="a name, an index, 'predicted', or 'found': every finding of the image, each with its part of eta",
    )
    parser.add_argument(
        "--interpreter",
        type=interpreter,
        metavar="NAME[:ARGUMENT=VALUE...]",
        help=f"interpretation method: {', '.join(sorted(INTERPRETERS))}; captum:NAME",
    )
    _add_settings(parser)
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="say of each image whether its claim covers this other one, preprocessed alike",
    )
    parser.add_argument(
        "--batch-size",
        type=positive(int),
        metavar="B",
        help="copies per forward pass (speed only; default: the fastest)",
    )
    parser.add_argument("--reference", type=Path, metavar="DICOM", help="patient and study for non-DICOM inputs")
    parser.add_argument(
        "--strict", action="store_true", help="refuse other modalities and body parts instead of warning"
    )
    _add_files(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results, same or not")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no table")
    parser.add_argument("--verbose", action="store_true", help="debug log on stderr; it may quote file content")


def _add_files(parser: argparse.ArgumentParser) -> None:
    """Which files a result has."""
    parser.add_argument(
        "--transfer-syntax", choices=sorted(TRANSFER_SYNTAXES), default="explicit", help="of the captures; all lossless"
    )
    parser.add_argument(
        "--outputs",
        type=lambda text: tuple(text.split(",")),
        default=DEFAULT_OPTIONS.outputs,
        metavar="NAME,NAME...",
        help=f"files beside certificate, votes and preview: {', '.join(OUTPUTS)} (default: sc)",
    )
    parser.add_argument(
        "--capture",
        choices=get_args(Capture),
        default="canvas",
        help="the picture: made for a physician, or on the pixels of the source with all that is claimed below it",
    )
    parser.add_argument(
        "--deidentify",
        type=Path,
        metavar="KEY_FILE",
        help="DICOM files of nobody, with hashes for UIDs that the key makes (32 secret bytes or more)",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """The function that is certified, and its noise."""
    parser.add_argument("--sigma", type=positive(float), help="noise, in units of the network's input")
    parser.add_argument(
        "--brightness", type=spread, metavar="SD", help="noise of the brightness beside it, in the same units (0: none)"
    )
    parser.add_argument(
        "--tilt", type=spread, metavar="SD", help="noise of the slope of the exposure, root mean square (0: none)"
    )
    parser.add_argument(
        "--denoiser",
        type=part,
        metavar="NAME",
        help="of each copy before the network: a denoiser bundle (name or folder) or a TorchScript file, both trusted "
        "as code, or 'none'",
    )
    parser.add_argument(
        "--denoiser-gradient",
        choices=get_args(DenoiserGradient),
        help="of the network at the denoised copy (default), or through the denoiser",
    )
    _add_claim(parser)


def _add_claim(parser: argparse.ArgumentParser) -> None:
    """What is claimed, of which copies."""
    parser.add_argument("--samples", type=positive(int), metavar="M", help="noisy copies per image")
    parser.add_argument(
        "--until-radius",
        type=positive(float),
        metavar="L",
        help="look at M copies, 2 M, 4 M, ... and stop where decision and map are certified up to L",
    )
    parser.add_argument(
        "--until-covers",
        metavar="CHANGE",
        help='the same, where CHANGE of the image lies within both radii, such as "JPEG quality 75"',
    )
    parser.add_argument("--max-samples", type=positive(int), metavar="M", help="most copies per image with --until-...")
    parser.add_argument(
        "--region",
        type=_region,
        action="append",
        metavar="REGION",
        help="certify the share of the votes in box:LEFT,TOP,RIGHT,BOTTOM, mask:FILE or zone:NAME (repeatable)",
    )
    parser.add_argument(
        "--lungs",
        type=_lungs,
        metavar="NAME",
        help="certify the share of the votes in the lung fields of the clean image, and give an alarm if most lie "
        "outside: a segmenter's bundle (name or folder, trusted as code), mask:FILE, or 'off'",
    )
    parser.add_argument(
        "--pairs", action="store_true", help="count pairs of cells too; they get half of eta (cell maps only)"
    )
    parser.add_argument("--top-k", type=positive(int), metavar="K", help="cells that each copy votes for")
    parser.add_argument(
        "--cell-size", type=positive(int), metavar="PX", help="side of a cell in input pixels; 1 = pixels"
    )
    parser.add_argument("--beta", type=_beta, help="certified share of the top-k, a decimal in (0, 1]")
    parser.add_argument("--confidence", type=confidence, metavar="P", help="confidence per image, such as 0.999")
    parser.add_argument("--seed", type=int, help="seed of the noise; a searched seed voids the certificate")
    parser.add_argument(
        "--precision", choices=get_args(Precision), help="that the network runs in; the certified function is in it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.ERROR)
    try:
        options = _output_options(arguments)
        if arguments.until_covers is not None:
            change_named(arguments.until_covers)
        bundle = load_bundle(arguments.bundle, _overrides(arguments))
        if arguments.max_samples is not None and not bundle.inferer.claim.stops_early:
            raise InputRefused(
                "--max-samples is the end of early stopping and needs --until-radius or --until-covers; --samples "
                "sets a fixed number."
            )
        summary = certify_cohort(
            arguments.inputs,
            arguments.output,
            bundle=bundle,
            regions=[*(arguments.region or ()), *_lung_masks(arguments)],
            against=arguments.against,
            every_finding=arguments.target == EVERY_FINDING,
            overwrite=arguments.overwrite,
            options=options,
            show_progress=not arguments.quiet,
        )
    except (InputRefused, OSError) as error:
        print(f"monai-robustinterp: {one_line(error)}", file=sys.stderr)
        return 1
    if arguments.quiet and summary.refused:
        print(f"monai-robustinterp: {summary.refused} inputs refused, see summary.json", file=sys.stderr)
    if not arguments.quiet:
        print(table(summary))
        print(claimed(bundle.inferer))
        print(
            f"\nResults: {shown_path(arguments.output)}/ (summary.json; index.json maps the folders to their sources)"
        )
    return 1 if summary.refused else 0


def _output_options(arguments: argparse.Namespace) -> OutputOptions:
    return OutputOptions(
        outputs=arguments.outputs,
        capture=arguments.capture,
        transfer_syntax=arguments.transfer_syntax,
        reference=None if arguments.reference is None else read_reference(arguments.reference),
        deidentify_key=None if arguments.deidentify is None else read_key(arguments.deidentify),
    )


def table(summary: CohortSummary) -> str:
    """The results as a text table; radii are rounded down."""
    lungs = any(result.lungs_observed is not None or result.lungs_failure for result in summary.results)
    header = (
        f"{'#':>3}  {'folder':<21} {'finding':<24} {'score':>5} {'copies':>6} {'agree':>6} {'L_label':>7} {'Renyi':>7} "
        f"{'L_max':>7} {'ceiling':>7} {'share':>5} {'L_rerun':>7} {'covers':>6} {_LUNGS_HEADER * lungs} status"
    )
    lines = [header, "-" * len(header)]
    lines += [_row(result, lungs=lungs) for result in summary.results]
    lines.append(
        "L_max: certified radius of the map (population level), l2 over the network's input in [0, 1]; ceiling: that "
        "of a map that ignores the image, and L_max as a share of it; L_rerun: within which a second run for the same "
        "finding reports as many of the cells; agree: observed share of noisy copies with the clean decision; L_label: "
        "radius within which the smoothed network keeps it; covers: tested changes of the image that lie within L_max, "
        "of those that apply. Certified: L_label and L_max are above 0."
    )
    if lungs:
        lines.append(_LUNGS_LEGEND)
    if any("/" in result.folder for result in summary.results):
        lines.append(_FINDINGS_LEGEND)
    lines += [
        f"{result.number:>3}  against the other image: {result.against}" for result in summary.results if result.against
    ]
    lines += [f"{result.number:>3}  {result.view}." for result in summary.results if result.view]
    if shared := summary.reported.shared():
        lines.append(
            f"Different images of this run share {shared['cells']:.1f} of {shared['top_k']} reported cells on average; "
            f"two random sets share {shared['by_chance']:.1f}."
        )
    if summary.kept:
        lines.append(f"{summary.kept} results were there already, of the same image and settings, and were kept.")
    if summary.saved_share > 0:
        lines.append(f"Early stopping took {1 - summary.saved_share:.1%} of {summary.max_samples} copies an image.")
    if summary.passed_over:
        kinds = "; ".join(f"{count} {kind}" for kind, count in summary.passed_over.items())
        lines.append(f"Passed over in the folders: {kinds}.")
    return "\n".join(lines)


def claimed(inferer: CertifiedSaliencyInferer) -> str:
    """With which probability the radii of a table hold, and of how many cells they are."""
    top_k, claim = inferer.recipe.top_k, inferer.claim
    both = min(1.0, sum_up(claim.eta, claim.eta))
    return (
        f"Cells that stay: at least {required_overlap(top_k, claim.beta)} of {top_k}. Probability over the noise, per "
        f"image: >= 1 - {round_up(claim.eta)} for each of L_label, L_max and (of all regions) L_lungs and ALARM; "
        f">= 1 - {round_up(both)} for L_label and L_max together, and for L_rerun, which is about any one change that "
        "does not know the noise of the second run."
    )


def _row(result: ImageResult, *, lungs: bool) -> str:
    if result.status in ("refused", SAME_FILM, NOTHING_FOUND):
        return f"{result.number:>3}  {'refused: ' if result.status == 'refused' else ''}{result.reason}"
    label, renyi, l_max, ceiling, rerun = (
        f"{readable(l2 or 0.0):>7}"
        for l2 in (result.label_radius, result.renyi, result.l_max, result.ceiling, result.rerun_radius)
    )
    share = f"{math.floor(100 * (result.ceiling_share or 0))} %"
    radii = (
        f"{label} {renyi} {l_max} {ceiling} {share:>5} {rerun} {result.covered_changes:>3}/{result.tested_changes:<2}"
    )
    if lungs:
        radii += _of_the_lungs(result)
    remarks = " ".join(text for text in (result.warnings, result.notes, result.lungs_failure) if text)
    note = f"  ({remarks})" if remarks else ""
    status = f"{result.status}, ALARM" if result.alarm else result.status
    return (
        f"{result.number:>3}  {result.folder.partition('/')[0]:<21} {result.finding[:24]:<24} {result.score:>5.2f} "
        f"{result.n_samples:>6} {round_down(result.label_agreement or 0.0, 3):>6} {radii}  {status}{note}"
    )


def _of_the_lungs(result: ImageResult) -> str:
    if result.lungs_observed is None:
        return f" {'-':>5} {'-':>7}"
    return f" {round_down(result.lungs_observed, 2):>5} {readable(result.lungs_radius or 0.0):>7}"


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "interpreter_name": arguments.interpreter and arguments.interpreter.name,
        # None of the bundle's settings goes to another interpreter than its own.
        "interpreter_settings": arguments.interpreter and arguments.interpreter.settings,
        "denoiser": arguments.denoiser,
        "denoiser_gradient": arguments.denoiser_gradient,
        "lungs": None if _lung_masks(arguments) else arguments.lungs,
        "sigma": arguments.sigma,
        "brightness": arguments.brightness,
        "tilt": arguments.tilt,
        "n_samples": arguments.samples,
        "until_radius": arguments.until_radius,
        "until_covers": arguments.until_covers,
        "max_samples": arguments.max_samples,
        "pairs": arguments.pairs or None,
        "top_k": arguments.top_k,
        "cell_size": arguments.cell_size,
        "beta": arguments.beta,
        "eta": arguments.confidence,
        "seed": arguments.seed,
        "precision": arguments.precision,
        "batch_size": arguments.batch_size,
        "strict": arguments.strict or None,
        **classifier_overrides(arguments),
    }


def _region(text: str) -> RegionSource:
    try:
        return parse_region(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _lungs(text: str) -> str | LungMask:
    mask = _region(text) if text.startswith("mask:") else None
    return LungMask(mask.path, mask.segment) if isinstance(mask, MaskFile) else part(text)


def _lung_masks(arguments: argparse.Namespace) -> list[RegionSource]:
    return [arguments.lungs] if isinstance(arguments.lungs, LungMask) else []


def _beta(text: str) -> str:
    exact_beta(text)
    return text
