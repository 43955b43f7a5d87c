"""Cost and certified radius of every interpreter at an equal budget of CPU time, and the panel of all of them.

usage: python -m benchmarks.interpreters OUTPUT_DIR [--minutes 5] [--part PART] [--methods SLUG ...]

An interrupted run resumes, and a longer budget goes on from the votes of a shorter one, whose radii stay on the page:
take the shorter one first. Each process uses one thread; ``--share I/N`` takes every N-th pair of method and image, so
that N processes do the work together: let one measure the seconds of a copy before, with nothing else running.
docs/how-to/get-the-films.md says which films it needs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.certificates.__main__ import ROOT, software
from benchmarks.certificates.tables import strict
from benchmarks.films import study_films
from benchmarks.interpreters import cost, distortion, page
from benchmarks.interpreters.plan import FULL_MINUTES, Method, methods
from benchmarks.interpreters.radii import radii
from benchmarks.interpreters.votes import method_bundle, seconds_per_copy, take_votes
from monai_robustinterp import SaliencyBundle
from monai_robustinterp.files import atomic_write, json_bytes

SLUGS = [method.slug for method in methods()]


def images(bundle: SaliencyBundle, output: Path) -> dict[str, torch.Tensor]:
    """Preprocessed films by name."""
    paths = study_films(output / "films")
    return {
        path.name.partition(".")[0]: bundle.preprocessing({"image": str(path)})["image"].as_tensor() for path in paths
    }


def copies(method: Method, bundle: SaliencyBundle, minutes: float, output: Path) -> int:
    """Copies that the budget allows: measured once a method, before any is drawn, and kept."""
    path = output / f"seconds-{method.slug}.json"
    if not path.exists():
        _measure(path, bundle)
    return max(1, int(60 * minutes / json.loads(path.read_text())["seconds"]))


def _measure(path: Path, bundle: SaliencyBundle) -> None:
    atomic_write(path, lambda file: file.write(json_bytes({"seconds": seconds_per_copy(bundle)})), overwrite=True)


def vote(chosen: Sequence[Method], output: Path, minutes: float, share: tuple[int, int]) -> None:
    """Takes the votes of these methods for every image, and notes what follows from them."""
    index = 0
    for method in chosen:
        bundle = method_bundle(method)
        for name, image in images(bundle, output).items():
            index += 1
            if index % share[1] != share[0]:
                continue
            n_samples = copies(method, bundle, minutes, output)
            votes, spec = take_votes(output / f"votes-{method.slug}-{name}.npz", bundle, image, n_samples)
            row = {"minutes": minutes, "method": method.label, "image": name, **radii(votes, spec, bundle.inferer)}
            path = output / f"radii-{minutes:g}-{method.slug}-{name}.json"
            atomic_write(path, lambda file, row=row: file.write(json_bytes(strict(row))), overwrite=True)
            print(f"  {row}", flush=True)


def main(arguments: argparse.Namespace) -> None:
    """Measures, writes results and the page."""
    torch.set_num_threads(1)
    output, part = arguments.output, arguments.part
    output.mkdir(parents=True, exist_ok=True)
    index, _, of = arguments.share.partition("/")
    chosen = [method for method in methods() if method.slug in arguments.methods]
    if part == "seconds":
        for method in chosen:
            _measure(output / f"seconds-{method.slug}.json", method_bundle(method))
    if part in ("all", "votes"):
        vote(chosen, output, arguments.minutes, (int(index) % int(of), int(of)))
    if part in ("all", "cost"):
        bundle = method_bundle(methods()[0])
        rows = cost.measure(methods(), bundle, next(iter(images(bundle, output).values())))
        atomic_write(output / "cost.json", lambda file: file.write(json_bytes(rows)), overwrite=True)
    if part in ("all", "distortion"):
        bundle = method_bundle(methods()[0])
        rows = distortion.measure(bundle, images(bundle, output))
        atomic_write(output / "distortion.json", lambda file: file.write(json_bytes(rows)), overwrite=True)
    if part in ("all", "page"):
        page.write(ROOT / "docs", output, software=software())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interpreters")
    parser.add_argument("output", type=Path, help="folder of votes and results")
    parser.add_argument("--minutes", type=float, default=FULL_MINUTES, help="CPU minutes an image and method")
    parser.add_argument("--part", choices=("all", "seconds", "votes", "cost", "distortion", "page"), default="all")
    parser.add_argument(
        "--methods", nargs="+", choices=SLUGS, default=SLUGS, metavar="SLUG", help="of seconds and votes"
    )
    parser.add_argument("--share", default="1/1", metavar="I/N", help="this process's part of the votes")
    main(parser.parse_args())
