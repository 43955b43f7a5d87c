"""Certified overlap against radius: two pictures of one image, and the time that a curve takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.certificates.plan import CONTROL, Plan
from benchmarks.certificates.radii import fixed_votes
from benchmarks.certificates.streams import Stream
from monai_robustinterp import SmoothingSpec, VoteMap
from monai_robustinterp.certificates.curve import overlap_curve
from monai_robustinterp.study.tables import cells_spread, prose, table
from monai_robustinterp.visualize.curve import curve_figure

# Names that do not depend on the plan, so that no picture of an earlier run stays beside the page.
PICTURES = ("certificates_curve_few_copies.png", "certificates_curve_many_copies.png")
RADII = (0.0, 0.02, 0.05, 0.08, 0.12)
PIXEL_SIDE, PIXEL_POINTS, PIXEL_SAMPLES = 224, 50, 1000
PIXEL_CELLS = PIXEL_SIDE**2
PIXEL_TOP_K = PIXEL_CELLS // 10


def measure(streams: Sequence[Stream], plan: Plan, *, eta: float) -> dict[str, Any]:
    """Certified cells at a few radii by m and image, and the seconds of a curve over a whole pixel map."""
    kept: dict[int, dict[str, list[int]]] = {}
    for m in plan.curve_sizes:
        runs = {stream.name: stream.at(m) for stream in streams}
        votes, spec = runs[streams[0].name]
        runs[CONTROL] = fixed_votes(votes), spec
        kept[m] = {}
        for name, run in runs.items():
            curve = overlap_curve(*run, eta=eta, points=spec.top_k)
            kept[m][name] = [curve.certified_overlap(radius) for radius in RADII]
    votes, spec = pixel_votes()
    start = time.perf_counter()
    overlap_curve(votes, spec, eta=eta, points=PIXEL_POINTS)
    return {"kept": kept, "pixel_curve_s": time.perf_counter() - start}


def pixel_votes() -> tuple[VoteMap, SmoothingSpec]:
    """Synthetic votes of a map of ``PIXEL_SIDE`` pixels a side, a tenth of them in the top-k."""
    rng = np.random.default_rng(0)
    top_k = PIXEL_TOP_K
    shares = rng.beta(0.1, 0.9, size=PIXEL_CELLS)
    counts = rng.binomial(PIXEL_SAMPLES, shares)
    # Votes move one by one until they sum to m k, as votes do.
    while (surplus := int(counts.sum()) - PIXEL_SAMPLES * top_k) != 0:
        movable = np.flatnonzero((counts > 0) & (counts < PIXEL_SAMPLES))
        counts[rng.choice(movable, size=min(abs(surplus), movable.size), replace=False)] -= np.sign(surplus)
    votes = VoteMap(
        counts=counts.reshape(PIXEL_SIDE, PIXEL_SIDE),
        n_samples=PIXEL_SAMPLES,
        top_k=top_k,
        input_shape=(PIXEL_SIDE, PIXEL_SIDE),
        image_sha256="",
        logits=np.zeros(1, dtype=np.float32),
        decision=True,
        found_copies=PIXEL_SAMPLES,
    )
    spec = SmoothingSpec(
        sigma=0.1, n_samples=PIXEL_SAMPLES, top_k=top_k, cell_size=1, interpreter="synthetic", target=0
    )
    return votes, spec


def figures(stream: Stream, plan: Plan, folder: Path, *, eta: float) -> dict[Path, Figure]:
    """The curves of one image, under the names of ``PICTURES`` in the folder."""
    found = {}
    for name, m in zip(PICTURES, plan.curve_sizes):
        votes, spec = stream.at(m)
        found[folder / name] = curve_figure(overlap_curve(votes, spec, eta=eta, points=spec.top_k))
    return found


def page(found: dict[str, Any], plan: Plan, name: str, *, eta: float) -> list[str]:
    """The section of the page."""
    rows = []
    for m, images in found["kept"].items():
        own = [kept for image, kept in images.items() if image != CONTROL]
        rows.append([f"m = {m:,}", *(cells_spread([kept[place] for kept in own]) for place in range(len(RADII)))])
        rows.append([f"{CONTROL}, m = {m:,}", *map(str, images[CONTROL])])
    sizes = " and ".join(f"{m:,}" for m in plan.curve_sizes)
    return [
        "## Overlap against radius",
        "",
        *prose(
            "Cells of the reported top-k that are certified to stay, Neyman-Pearson, population level: all points of",
            f"one curve hold at once with probability >= 1 - {eta:g}. Median [smallest, largest] over the images at",
            "a few radii:",
        ),
        "",
        *table(["", *(f"l2 {radius:g}" for radius in RADII)], rows),
        "",
        f"The curves of {name} (the first image by name) at m = {sizes}:",
        "",
        *(f"![certified overlap, m = {m}]({picture})" for picture, m in zip(PICTURES, plan.curve_sizes)),
        "",
        *prose(
            f"A curve of {PIXEL_POINTS} points over a whole pixel map (synthetic votes, c = {PIXEL_CELLS:,}, k =",
            f"{PIXEL_TOP_K:,}) took {found['pixel_curve_s']:.2f} s.",
        ),
    ]
