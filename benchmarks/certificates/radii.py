"""Table of radii: every level and family of the package against the number of copies."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.certificates.plan import CONTROL, Plan
from benchmarks.certificates.streams import Stream
from monai_robustinterp import SmoothingSpec, VoteMap, certify_votes
from monai_robustinterp.certificates import neyman_pearson, swap_count
from monai_robustinterp.certificates.confidence import allowed_wrong_bounds, plain_bounds
from monai_robustinterp.certificates.overlap import BetaLike, Boundary
from monai_robustinterp.certificates.rerun import rerun_radius
from monai_robustinterp.study.tables import Goal, prose, radius_text, spread, table

RENYI, MASS, PLAIN = "population Renyi", "population NP", "population NP, plain bounds"
LEAST_RATIO = 2.5

Radii = dict[str, float]
Measured = dict[int, dict[str, Radii]]


def fixed_votes(votes: VoteMap) -> VoteMap:
    """The votes of a fixed map, which ignores the image, and of a classifier that never changes its mind."""
    counts = np.zeros(votes.counts.size, dtype=np.int64)
    counts[: votes.top_k] = votes.n_samples
    return dataclasses.replace(
        votes,
        counts=counts.reshape(votes.counts.shape),
        found_copies=votes.n_samples if votes.decision else 0,
        pair_counts=None if votes.pair_counts is None else np.outer(counts, counts) // votes.n_samples,
        tied_copies=0,
        constant_copies=0,
    )


def plain_radius(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> float:
    """Population radius, Neyman-Pearson, from Clopper-Pearson bounds at one level for all 2c of them."""
    k, n_cells = spec.top_k, votes.counts.size
    s = swap_count(k, beta, n_cells)
    wrong = allowed_wrong_bounds(s)
    used = s - wrong
    ordered = np.sort(votes.counts.ravel())[::-1]
    bounds = plain_bounds(ordered[k - used : k + used], spec.n_samples, n_cells=n_cells, eta=eta, wrong=wrong)
    edge = Boundary(inside=bounds.lower[:used], outside=bounds.upper[used:], top_k=k)
    return neyman_pearson.boundary_radius(edge, sigma=spec.sigma)


def all_radii(votes: VoteMap, spec: SmoothingSpec, *, beta: BetaLike, eta: float) -> Radii:
    """Every radius of one vote map; each population, label and rerun radius stands at eta (rerun: two of them)."""
    certificate = certify_votes(votes, spec, beta=beta, eta=eta)
    return {
        "plug-in Renyi": certificate.radius("plug-in", "renyi").l2,
        "plug-in NP": certificate.radius("plug-in", "neyman-pearson").l2,
        RENYI: certificate.radius("population", "renyi").l2,
        PLAIN: plain_radius(votes, spec, beta=beta, eta=eta),
        MASS: certificate.radius("population", "neyman-pearson").l2,
        "rerun": rerun_radius(votes, spec, beta=beta, eta=eta, eta_rerun=eta).l2,
        "label": certificate.label.l2,
    }


def measure(streams: Sequence[Stream], sizes: Sequence[int], *, beta: BetaLike, eta: float) -> Measured:
    """Radii by m, image (and control) and quantity."""
    found: Measured = {}
    for m in sizes:
        runs = {stream.name: stream.at(m) for stream in streams}
        votes, spec = runs[streams[0].name]
        runs[CONTROL] = fixed_votes(votes), spec
        found[m] = {name: all_radii(*run, beta=beta, eta=eta) for name, run in runs.items()}
    return found


def goals(found: Measured) -> list[Goal]:
    """Neyman-Pearson against Renyi, and mass-weighted against plain bounds, at every m."""
    ratios = {m: _ratios(images) for m, images in found.items()}
    some = {m: values for m, values in ratios.items() if values}
    text = "; ".join(f"m = {m:,}: {statistics.median(v):.2f} ({min(v):.2f}, {len(v)})" for m, v in some.items())
    pairs = [(r[MASS], r[PLAIN]) for images in found.values() for name, r in images.items() if name != CONTROL]
    above = sum(mass > plain for mass, plain in pairs)
    ties = sum(mass == plain == 0 for mass, plain in pairs)
    return [
        Goal(
            f"population NP at least {LEAST_RATIO} x population Renyi in the median of images with both, at every m",
            bool(some) and all(statistics.median(values) >= LEAST_RATIO for values in some.values()),
            f"Median (smallest, number of images with both): {text or 'no image has both'}.",
        ),
        Goal(
            "mass-weighted above plain bounds for every image and m",
            above > 0 and above + ties == len(pairs),
            f"Above in {above} of {len(pairs)} pairs; both abstain in {ties}.",
        ),
    ]


def _ratios(images: dict[str, Radii]) -> list[float]:
    named = [radii for name, radii in images.items() if name != CONTROL]
    return [radii[MASS] / radii[RENYI] for radii in named if radii[MASS] > 0 and radii[RENYI] > 0]


def page(found: Measured, plan: Plan, *, eta: float) -> list[str]:
    """The section of the page."""
    shown = {m: found[m] for m in plan.table_sizes}
    names = list(next(iter(shown.values()))[CONTROL])
    rows = []
    for m, images in shown.items():
        own = [radii for name, radii in images.items() if name != CONTROL]
        rows.append([f"{m:,}", *(spread([radii[name] for radii in own]) for name in names)])
    controls = [[f"{CONTROL}, {m:,}", *map(radius_text, images[CONTROL].values())] for m, images in shown.items()]
    return [
        "## Radii against copies",
        "",
        *prose(
            "Median [smallest, largest] over the images, and how many abstain (radius 0: no claim). Plug-in radii",
            f"are estimates and claim nothing. Every other number holds by itself with probability >= 1 - {eta:g} an",
            f"image (rerun, about a second run of as many copies: 1 - {2 * eta:g}). Rows and columns are not claimed",
            "jointly, so nobody may pick the best one after looking. NP is Neyman-Pearson, on the package's",
            "mass-weighted bounds unless plain (Clopper-Pearson with Bonferroni) is said. Label: the smoothed",
            "decision stays. The control is a map that marks the same cells in every copy, and a label that never",
            "flips: no map certifies further at these settings, so a large radius says nothing about the worth of a",
            "map.",
        ),
        "",
        *table(["m", *names], [*rows, *controls]),
    ]
