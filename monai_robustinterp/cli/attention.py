"""``attention``: for which strengths of a perturbation decision and map of one image provably stay."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from monai_robustinterp.attention.files import save_verified
from monai_robustinterp.attention.image import Settings, Verified, outcome, verify_image
from monai_robustinterp.attention.perturbations import PERTURBATIONS, Perturbation, make_perturbation
from monai_robustinterp.attention.plane_files import save_plane
from monai_robustinterp.attention.plane_image import (
    PlaneSettings,
    PlaneVerified,
    box_of,
    plane_outcome,
    verify_plane,
)
from monai_robustinterp.attention.range_files import save_ranges
from monai_robustinterp.attention.range_image import (
    Ranged,
    RangeSettings,
    all_eta,
    certify_ranges,
    covered,
    range_notes,
    sentence,
)
from monai_robustinterp.bundle import SaliencyBundle, load_bundle
from monai_robustinterp.certificates.overlap import exact_beta
from monai_robustinterp.certificates.units import round_down, round_up, round_up_to
from monai_robustinterp.cli.arguments import (
    add_classifier_arguments,
    classifier_overrides,
    confidence,
    interpreter,
    positive,
    setting_values,
    shown_path,
    split_outside_json,
)
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.files import atomic_folder, file_sha256
from monai_robustinterp.noise.changes import SEMANTIC_NOISES, make_semantic_noise
from monai_robustinterp.noise.semantic import SemanticNoise
from monai_robustinterp.run.inputs import RESULT_PREFIX, refuse_irregular
from monai_robustinterp.run.lock import PARTS, output_folder

HELP = "Verify how far the map of one image stays under brightness, contrast, ...: exactly, or by certified ranges."
_EXACT_ONLY = {
    "range": "--range",
    "delta": "--delta",
    "share": "--share",
    "time_budget": "--time-budget",
    "workers": "--workers",
    "boundary_first": "--boundary-first",
}
_RANGES_ONLY = {
    "interpreter": "--interpreter",
    "with_noise": "--with-noise",
    "samples": "--samples",
    "confidence": "--confidence",
    "seed": "--seed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="image file (DICOM, NIfTI, PNG, JPEG)")
    parser.add_argument(
        "--perturb",
        required=True,
        metavar="NAME[:SETTING=VALUE...]",
        help=f"what changes the image: of {', '.join(SEMANTIC_NOISES)} one or several (A,B:sigma=0.1), or with --exact "
        f"one or two of {', '.join(sorted(PERTURBATIONS))}; such as contrast:pivot=0.5",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="of the plain map by exact traversal; without it certified ranges of the smoothed map of any network",
    )
    parser.add_argument("--beta", metavar="B", help="share of the top-k cells that must stay; default: the bundle's")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    _add_exact(parser)
    _add_ranges(parser)
    add_classifier_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no table")


def _add_exact(parser: argparse.ArgumentParser) -> None:
    exact = parser.add_argument_group("with --exact")
    exact.add_argument(
        "--range",
        type=_numbers,
        metavar="R[,R]",
        help="verify theta in [-R, R] (patch: [0, R]); of two perturbations the range of each, or one for both",
    )
    change = exact.add_mutually_exclusive_group()
    change.add_argument("--delta", type=float, metavar="D", help="largest change of the map, ai(theta)")
    change.add_argument("--share", type=float, metavar="S", help="the same as a share of the norm of the clean map")
    exact.add_argument(
        "--time-budget", type=positive(float), metavar="SECONDS", help="end then; what is proven so far is kept"
    )
    exact.add_argument(
        "--boundary-first",
        action="store_true",
        default=None,
        help="of two perturbations: follow the outermost boundary of where all stays first, and prove its inside later",
    )
    exact.add_argument(
        "--workers",
        type=positive(int),
        metavar="N",
        help="processes (1) of one perturbation; the result is the same",
    )


def _add_ranges(parser: argparse.ArgumentParser) -> None:
    ranges = parser.add_argument_group("without --exact")
    ranges.add_argument(
        "--interpreter",
        type=interpreter,
        metavar="NAME[:ARGUMENT=VALUE...]",
        help="interpretation method of the map, as of certify; default: the bundle's",
    )
    ranges.add_argument(
        "--with-noise",
        type=positive(float),
        metavar="SIGMA",
        help="white noise of this standard deviation in the network's input beside it, for a claim of both together; "
        "with the bundle's denoiser; not with contrast, gamma and window_width",
    )
    ranges.add_argument(
        "--samples", type=positive(int), metavar="M", help="copies of each change; default: the bundle's"
    )
    ranges.add_argument("--confidence", type=confidence, metavar="P", help="of each claim, such as 0.999")
    ranges.add_argument("--seed", type=int, help="seed of the noise; a searched seed voids the claims")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    # MONAI logs what a failed transform was given, which may name the patient.
    logging.basicConfig(level=logging.CRITICAL)
    try:
        _check_options(arguments)
        told = _exact(arguments) if arguments.exact else _run_ranges(arguments)
    except Exception as error:
        print(f"monai-robustinterp: {refusal_reason(error)}", file=sys.stderr)
        return 1
    if not arguments.quiet:
        print(told)
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    foreign, way = (_RANGES_ONLY, "without") if arguments.exact else (_EXACT_ONLY, "with")
    given = [option for name, option in foreign.items() if getattr(arguments, name) is not None]
    if given:
        raise InputRefused(f"{given[0]} goes {way} --exact only: leave it out, or choose the other way.")
    if arguments.exact and arguments.range is None:
        raise InputRefused("--exact needs --range R: the largest strength that is verified.")
    # Before any work: the file may take minutes.
    if arguments.beta is not None:
        exact_beta(arguments.beta)


def _exact(arguments: argparse.Namespace) -> str:
    """Verifies one parameter or two, and saves; returns the table."""
    perturbations = [_perturbation(one) for one in split_outside_json(arguments.perturb, ",")]
    limits = arguments.range
    if len(perturbations) > 2:
        raise InputRefused(f"--exact takes one perturbation or two, and was given {len(perturbations)}.")
    if len(limits) not in (1, len(perturbations)):
        raise InputRefused(
            f"--range has {len(limits)} numbers for {len(perturbations)} perturbations: give one for each, or one."
        )
    if len(perturbations) == 1:
        if arguments.boundary_first:
            raise InputRefused("--boundary-first goes with two perturbations only: one parameter has two ends.")
        return _run_exact(arguments, perturbations[0], limits[0])
    if arguments.workers not in (None, 1):
        raise InputRefused("two perturbations are walked in one process: leave --workers out.")
    return _run_plane(arguments, (perturbations[0], perturbations[1]), (limits[0], limits[-1]))


def _run_exact(arguments: argparse.Namespace, perturbation: Perturbation, limit: float) -> str:
    low, high = perturbation.within(limit)
    settings = Settings(
        perturbation=perturbation,
        low=low,
        high=high,
        delta=arguments.delta,
        share=arguments.share,
        beta=arguments.beta,
        time_budget_s=arguments.time_budget,
    )
    bundle, target = _bundle_and_folder(arguments, "attention")
    with (
        _without_reader_warnings(),
        tqdm(total=100.0, unit=" %", disable=arguments.quiet, leave=False, bar_format=_BAR) as bar,
    ):
        verified = verify_image(
            arguments.input,
            bundle,
            settings,
            workers=arguments.workers or 1,
            parts=arguments.output / PARTS / target.name,
            progress=lambda share: bar.update(100 * share),
        )
    with _result_folder(arguments, target) as folder:
        save_verified(verified, folder)
    return f"{table(verified)}\n\nResults: {shown_path(target)}/ (attention.png, images.png)"


def _run_plane(
    arguments: argparse.Namespace, perturbations: tuple[Perturbation, Perturbation], limits: tuple[float, float]
) -> str:
    settings = PlaneSettings(
        perturbations=perturbations,
        limits=limits,
        delta=arguments.delta,
        share=arguments.share,
        beta=arguments.beta,
        time_budget_s=arguments.time_budget,
        order="boundary" if arguments.boundary_first else "nearest",
    )
    bundle, target = _bundle_and_folder(arguments, "plane")
    with (
        _without_reader_warnings(),
        tqdm(total=100.0, unit=" %", disable=arguments.quiet, leave=False, bar_format=_PLANE_BAR) as bar,
    ):
        verified = verify_plane(arguments.input, bundle, settings, progress=lambda share: bar.update(100 * share))
    with _result_folder(arguments, target) as folder:
        save_plane(verified, folder)
    return f"{plane_table(verified)}\n\nResults: {shown_path(target)}/ (attention.png, images.png)"


def _run_ranges(arguments: argparse.Namespace) -> str:
    """Certifies and saves; returns the sentences."""
    settings = RangeSettings(
        noises=tuple(_noise(text) for text in split_outside_json(arguments.perturb, ",")),
        beta=arguments.beta,
        eta=arguments.confidence,
        n_samples=arguments.samples,
        seed=arguments.seed,
        pixel_sigma=arguments.with_noise or 0.0,
    )
    bundle, target = _bundle_and_folder(arguments, "ranges")
    with (
        _without_reader_warnings(),
        tqdm(total=settings.n_passes(bundle), unit="copy", disable=arguments.quiet, leave=False) as bar,
    ):
        ranged = certify_ranges(arguments.input, bundle, settings, progress=bar.update)
    with _result_folder(arguments, target) as folder:
        save_ranges(ranged, folder)
    return f"{range_table(ranged)}\n\nResults: {shown_path(target)}/ (attention.png, images.png)"


def _bundle_and_folder(arguments: argparse.Namespace, kind: str) -> tuple[SaliencyBundle, Path]:
    chosen = arguments.interpreter
    overrides = {"interpreter_name": chosen and chosen.name, "interpreter_settings": chosen and chosen.settings}
    bundle = load_bundle(arguments.bundle, {**overrides, **classifier_overrides(arguments)})
    refuse_irregular(arguments.input)
    target: Path = arguments.output / f"{RESULT_PREFIX}{file_sha256(arguments.input)[:16]}-{kind}"
    if target.exists() and not arguments.overwrite:
        raise InputRefused(f"results of this file exist in {target.name}: pass --overwrite, or another folder.")
    return bundle, target


@contextmanager
def _without_reader_warnings() -> Iterator[None]:
    """The reader's warnings are in attention.json."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _result_folder(arguments: argparse.Namespace, target: Path) -> Iterator[Path]:
    with output_folder(arguments.output) as output:
        output.share()
        with atomic_folder(target, overwrite=arguments.overwrite) as folder:
            yield folder


_BAR = "{desc}{percentage:5.1f} % of the range |{bar}| {elapsed}, {remaining} left"
# It may end long before the whole box: what no property reaches is left out.
_PLANE_BAR = "{desc}{percentage:5.1f} % of the box |{bar}| {elapsed}"


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
        proven = f"[{round_up_to(low, 7)}, {round_down(high, 7)}]"
        lines.append(f"  {one.name:<15} {outcome(found, one.name)}: holds in {proven} (ends: {ends})")
    return "\n".join([*lines, *verified.loaded.input_warnings])


def plane_table(verified: PlaneVerified) -> str:
    """What was crossed, and two lines a property: its box, and the area around 0."""
    found, changes = verified.found, verified.settings.perturbations
    words = [
        f"{one.name} ({one.unit}) in [{low:g}, {high:g}]" for one, (low, high) in zip(changes, verified.settings.ranges)
    ]
    part = "" if found.whole else "; the time ended it"
    if found.boundary_after is not None:
        part += f"; outermost boundaries followed after {found.boundary_after} polygons"
    lines = [
        f"{' and '.join(words)}: {len(found.shards)} polygons crossed in {found.elapsed_s:.0f} s, "
        f"{100 * found.crossed:.1f} % of the box{part}"
    ]
    for one, around in zip(found.properties, verified.areas):
        scale = found.scales[one.name]
        box = " with ".join(
            f"{change.name} in [{round_up_to(low, 7)}, {round_down(high, 7)}]"
            for change, (low, high) in zip(changes, box_of(verified, one.name))
        )
        lines.append(f"  {one.name:<15} {plane_outcome(verified, one.name)}: holds for {box} (ends: {scale.end})")
        share = around.size / ((1 - found.low[0]) * (1 - found.low[1]))
        lines.append(f"  {'':<15} around 0 it holds in {100 * share:.2f} % of the box, as far as it was crossed")
    return "\n".join([*lines, *verified.loaded.input_warnings])


def range_table(ranged: Ranged) -> str:
    """A sentence a change, then that of the decision, and what is doubtful."""
    lines = []
    for one in ranged.ranges:
        lines.append(sentence(one, ranged.image.meta, ranged.scale))
        words = covered(one, one.label.l2)
        lines.append(
            f"  the smoothed classifier keeps the clean decision for {words}" if words else "  of the decision: abstain"
        )
        lines += [f"  {note}" for note in range_notes(one)]
    return "\n".join([*lines, f"All of these at once: probability >= 1 - {round_up(all_eta(ranged))}."])


def _numbers(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, nor two with a comma between them") from error


def _noise(text: str) -> SemanticNoise:
    name, values = _settings_of(text)
    return make_semantic_noise(name, **values)


def _perturbation(text: str) -> Perturbation:
    name, values = _settings_of(text)
    return make_perturbation(name, **values)


def _settings_of(text: str) -> tuple[str, dict[str, float]]:
    name, *settings = split_outside_json(text.strip(), ":")
    try:
        values = setting_values(text, settings)
    except argparse.ArgumentTypeError as error:
        raise InputRefused(f"--perturb: {error}.") from error
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in values.values()):
        raise InputRefused("the settings of a perturbation are numbers.")
    return name, values
