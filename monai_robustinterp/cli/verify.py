"""``verify``: an independent audit of a certificate."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from monai_robustinterp.attention.plane_recheck import recheck_plane
from monai_robustinterp.attention.recheck import Rechecked, recheck
from monai_robustinterp.audit import (
    ATTENTION_FORMAT,
    PLANE_FORMAT,
    RANGES_FORMAT,
    AuditError,
    AuditReport,
    read_polygons,
    read_record,
    read_regions,
    verify,
    verify_attention,
    verify_plane,
    verify_ranges,
)
from monai_robustinterp.bundle import SaliencyBundle, bundle_folder, load_bundle
from monai_robustinterp.cli.arguments import part
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.io.votes_npz import load_votes
from monai_robustinterp.run.replay import MOST_DIFFERENT, ReplayReport, replay

HELP = "Recompute every number of a certificate from its votes, independently, and compare hashes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("certificate", type=Path, metavar="CERTIFICATE", help="certificate.json, or attention.json")
    parser.add_argument(
        "votes",
        type=Path,
        nargs="?",
        metavar="VOTES",
        help="votes.npz of the same run, or regions.csv of exact intervals; certified ranges have neither",
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="the image file: its hash is compared")
    parser.add_argument(
        "--bundle",
        metavar="DIR",
        help="the bundle, or the name of a shipped one: the hashes of its configuration and weights are compared",
    )
    parser.add_argument(
        "--replay",
        action="store_true",
        help="with --input and --bundle (trusted: it is code): draw the copies anew and compare counts and logits; of "
        "exact intervals evaluate witnesses, and points and boundaries of some regions",
    )
    parser.add_argument(
        "--denoiser", type=part, metavar="NAME", help="of the replay, where it is another one than the bundle's"
    )
    parser.add_argument(
        "--lungs", type=part, metavar="NAME", help="segmenter of the replay, where it is another one than the bundle's"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    if arguments.replay and None in (arguments.input, arguments.bundle):
        print("monai-robustinterp: --replay needs --input and --bundle, to draw the copies anew.", file=sys.stderr)
        return 2
    try:
        record = read_record(arguments.certificate)
        bundle = None if arguments.bundle is None else bundle_folder(arguments.bundle)
        if record.get("format") == RANGES_FORMAT:
            _check_no_votes(arguments)
            report = verify_ranges(record, input_file=arguments.input, bundle=bundle)
        elif record.get("format") == ATTENTION_FORMAT:
            _check_votes(arguments, "exact intervals follow from their regions: give regions.csv too.")
            report = verify_attention(record, arguments.votes, input_file=arguments.input, bundle=bundle)
        elif record.get("format") == PLANE_FORMAT:
            _check_votes(arguments, "exact boxes follow from their polygons: give regions.csv too.")
            report = verify_plane(record, arguments.votes, input_file=arguments.input, bundle=bundle)
        else:
            _check_votes(arguments, "a certificate follows from its votes: give VOTES, votes.npz too.")
            report = verify(record, arguments.votes, input_file=arguments.input, bundle=bundle)
    except (AuditError, InputRefused) as error:
        print(f"monai-robustinterp: {error}", file=sys.stderr)
        return 1
    print(table(report))
    if not report.verified:
        return 1
    if not arguments.replay:
        return 0
    exact = record["format"] in (ATTENTION_FORMAT, PLANE_FORMAT)
    return (_recheck if exact else _replay)(record, arguments)


def _check_votes(arguments: argparse.Namespace, advice: str) -> None:
    if arguments.votes is None:
        # As for any other argument that is missing.
        print(f"monai-robustinterp: {advice}", file=sys.stderr)
        raise SystemExit(2)


def _check_no_votes(arguments: argparse.Namespace) -> None:
    if arguments.votes is not None or arguments.replay:
        raise InputRefused(
            "the record of certified ranges holds its own counts and has no replay: leave VOTES and --replay out, and "
            "run attention again with its settings to draw the copies anew."
        )


def _replay(record: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Replays a verified record; returns the exit code."""
    try:
        votes, spec, _ = load_votes(arguments.votes)
        parts = {"denoiser": arguments.denoiser, "lungs": arguments.lungs}
        bundle = _on_device(arguments.bundle, parts, record["provenance"].get("device"))
        with warnings.catch_warnings(), tqdm(total=spec.n_samples, unit="copy", disable=None, leave=False) as bar:
            # Those of the reader and of the input are in the record.
            warnings.simplefilter("ignore", UserWarning)
            report = replay(record, votes, spec, source=arguments.input, bundle=bundle, progress=bar.update)
    except Exception as error:  # of a record that may hold any settings, and any image
        print(f"monai-robustinterp: not replayed: {refusal_reason(error)}", file=sys.stderr)
        return 1
    print(replay_table(report, recorded=record["claim"]["l_max"]["l2"]))
    return 0 if report.confirmed else 1


def _recheck(record: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Evaluates the network of a verified record of exact intervals or boxes; returns the exit code."""
    try:
        bundle = _on_device(arguments.bundle, {}, record["provenance"].get("device"))
        with warnings.catch_warnings(), tqdm(unit="region", disable=None, leave=False) as bar:
            warnings.simplefilter("ignore", UserWarning)
            options = {"source": arguments.input, "bundle": bundle, "progress": bar.update}
            if record["format"] == PLANE_FORMAT:
                found = recheck_plane(record, read_polygons(arguments.votes)[0], **options)
            else:
                found = recheck(record, read_regions(arguments.votes)[0], **options)
    except Exception as error:  # of a record that may hold any settings, and any image
        print(f"monai-robustinterp: not replayed: {refusal_reason(error)}", file=sys.stderr)
        return 1
    print(recheck_table(found))
    return 1 if found.differences else 0


def recheck_table(found: Rechecked) -> str:
    """What was evaluated, and the outcome."""
    lines = [f"difference: {sentence}" for sentence in found.differences]
    lines.append(
        f"evaluated by autograd in float64: {found.witnesses} witnesses, {found.regions} regions, {found.boundaries} "
        f"boundaries between different maps ({found.unseen} more do not change the map, so that it cannot see them)"
    )
    outcome = f"refused, {len(found.differences)} differences" if found.differences else "the network agrees"
    return "\n".join([*lines, f"replay: {outcome}."])


def _on_device(name: str, parts: dict[str, str | None], recorded: str | None) -> SaliencyBundle:
    """The bundle on the recorded kind of device, if this machine has one; else where it runs by itself."""
    bundle = load_bundle(name, parts)
    if recorded == bundle.device.type or recorded not in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        return bundle
    return load_bundle(name, {**parts, "device": f"$torch.device('{recorded}')"})


def replay_table(report: ReplayReport, *, recorded: float) -> str:
    """What the replay gave, what it did not look at, and the outcome.

    Args:
        report: of the replay.
        recorded: certified l2 radius of the record.
    """
    lines = [f"not replayed: {what}." for what in report.not_replayed]
    lines += [f"difference: {sentence}" for sentence in report.differences]
    if report.l_max is not None:
        share = report.n_different / report.n_votes
        lines.append(f"replayed votes: {report.n_different} of {report.n_votes} differ ({share:.4%})")
        lines.append(
            f"radius that the replayed counts would give, which is no further claim: {report.l_max!r} "
            f"(recorded: {recorded!r})"
        )
    if not report.confirmed:
        lines.append(f"replay: refused, {len(report.differences)} differences.")
    elif report.equal:
        lines.append("replay: equal bit for bit. Source, finding and slope are those of the image and the bundle too.")
    else:
        lines.append(
            f"replay: not equal bit for bit, as it must be on the machine that recorded it; no more differs than the "
            f"{MOST_DIFFERENT:.1%} that another machine may explain."
        )
    return "\n".join(lines)


def table(report: AuditReport) -> str:
    """What was compared, a line a section, then what was not and the outcome."""
    sections = Counter(path.split(".")[0].split("[")[0] for path in report.checked)
    lines = [f"{section:<16} {number:>4} values" for section, number in sections.items()]
    if report.hash_only:
        places = dict.fromkeys(re.sub(r"\[\d+\]", "", path) for path in report.hash_only)
        lines.append(f"not recomputed (covered by the content hash only): {', '.join(places)}")
    lines += [f"not checked: {what}" for what in report.not_checked]
    lines += [f"difference: {sentence}" for sentence in report.differences]
    if report.verified:
        others = len(report.checked) - report.numbers
        lines.append(f"verified: {report.numbers} numbers and {others} other values follow from the stored counts.")
    else:
        lines.append(f"not verified: {len(report.differences)} differences.")
    return "\n".join(lines)
