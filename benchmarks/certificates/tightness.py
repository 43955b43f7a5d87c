"""How near the certificates come to the truth, on the one map whose truth is known: the image itself.

With g(x) = x the noise of the cells is independent and alike, so the expected votes have the order of the values of x,
and the top-k of q(x + delta) is that of x + delta: the smallest perturbation that swaps s cells is a small convex
problem. The shares themselves are a one-dimensional integral.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from benchmarks.certificates.plan import CONTROL
from monai_robustinterp import SmoothingSpec, VoteMap, certify_votes
from monai_robustinterp.certificates import ceiling, neyman_pearson_radius, renyi_radius, swap_count
from monai_robustinterp.study.tables import prose, radius_text, table

CELLS, TOP_K, SAMPLES, ETA = 8, 3, 1000, 0.001
BETAS = ("1", "2/3", "1/3")
MAPS, SPREAD = 20, 2.0

Array = npt.NDArray[np.float64]


def expected_votes(x: npt.ArrayLike, top_k: int) -> Array:
    """P[x_i + z_i is among the k largest], z standard normal, to about 1e-12, float64 [c]."""
    values = np.asarray(x, dtype=np.float64)
    # The trapezoidal rule is exact to round-off for such smooth integrands.
    t = np.linspace(-9, 9, 721)
    density = np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi) * (t[1] - t[0])
    shares = np.zeros(values.size)
    for cell, value in enumerate(values):
        above = ndtr(np.delete(values, cell)[:, None] - (value + t))
        # ahead[j] is the chance that just j of the others seen so far lie above.
        ahead = np.zeros((top_k, t.size))
        ahead[0] = 1
        for p in above:
            ahead = ahead * (1 - p) + np.vstack([np.zeros(t.size), ahead[:-1] * p])
        shares[cell] = float((ahead.sum(axis=0) * density).sum())
    return shares


def safe_radius(x: npt.ArrayLike, reported: npt.NDArray[np.bool_], swaps: int) -> float:
    """Norm of the smallest perturbation after which s of the reported cells lie at or below s of the others.

    The s smallest reported cells come down to one value t and the s largest others come up to it.
    """
    values = np.asarray(x, dtype=np.float64)
    inside, outside = np.sort(values[reported])[:swaps], np.sort(values[~reported])[-swaps:]

    def square(t: float) -> float:
        return float((np.maximum(inside - t, 0) ** 2).sum() + (np.maximum(t - outside, 0) ** 2).sum())

    low, high = float(min(outside.min(), inside.min())), float(max(outside.max(), inside.max()))
    best = minimize_scalar(square, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    return float(np.sqrt(best.fun))


def one_map(rng: np.random.Generator, beta: str) -> dict[str, float]:
    """Certified over safe radius of one random map: at the expected votes, and from copies at the population level."""
    x = SPREAD * rng.normal(size=CELLS)
    swaps = swap_count(TOP_K, beta, CELLS)
    q = expected_votes(x, TOP_K)
    truth = safe_radius(x, x >= np.sort(x)[-TOP_K], swaps)
    copies = x + rng.normal(size=(SAMPLES, CELLS))
    kth = -np.sort(-copies, axis=1)[:, TOP_K - 1 : TOP_K]
    votes, spec = _votes((copies >= kth).sum(axis=0))
    certificate = certify_votes(votes, spec, beta=beta, eta=ETA)
    sampled = safe_radius(x, votes.top_k_mask.ravel(), swaps)
    return {
        "true map, NP": neyman_pearson_radius(q, top_k=TOP_K, beta=beta, sigma=1.0) / truth,
        "true map, Renyi": renyi_radius(q, top_k=TOP_K, beta=beta, sigma=1.0) / truth,
        "population, NP": _quotient(certificate.radius("population", "neyman-pearson").l2, sampled),
        "population, Renyi": _quotient(certificate.radius("population", "renyi").l2, sampled),
    }


def _quotient(certified: float, safe: float) -> float:
    return 0.0 if certified == 0 else float(np.divide(certified, safe))


def _votes(counts: npt.NDArray[np.int64]) -> tuple[VoteMap, SmoothingSpec]:
    votes = VoteMap(
        counts=counts.astype(np.int64).reshape(1, -1),
        n_samples=SAMPLES,
        top_k=TOP_K,
        input_shape=(1, CELLS),
        image_sha256="",
        logits=np.zeros(1, dtype=np.float32),
        decision=True,
        found_copies=SAMPLES,
    )
    spec = SmoothingSpec(sigma=1.0, n_samples=SAMPLES, top_k=TOP_K, cell_size=1, interpreter="identity", target=0)
    return votes, spec


def measure() -> dict[str, Any]:
    """Quotients of the maps by beta, and the control's radii."""
    rng = np.random.default_rng(0)
    votes, spec = _votes(np.repeat(SAMPLES * np.array([1, 0]), (TOP_K, CELLS - TOP_K)))
    return {
        "quotients": {beta: [one_map(rng, beta) for _ in range(MAPS)] for beta in BETAS},
        "control": {beta: ceiling(votes, spec, beta=beta, eta=ETA) for beta in BETAS},
    }


def page(found: dict[str, Any]) -> list[str]:
    """The section of the page."""
    rows = []
    for beta, quotients in found["quotients"].items():
        cells = []
        for name in quotients[0]:
            values = [one[name] for one in quotients]
            none = sum(value == 0 for value in values)
            text = f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.4f}]"
            cells.append(text + (f", {none} abstain" if none else ""))
        control = radius_text(found["control"][beta])
        rows.append([beta, str(swap_count(TOP_K, beta, CELLS)), *cells, f"{control} of an unbounded one"])
    names = list(next(iter(found["quotients"].values()))[0])
    return [
        "## Certified radius over true safe radius",
        "",
        *prose(
            f"g = identity on {CELLS} cells, k = {TOP_K}, sigma 1: {MAPS} random maps x, values N(0, {SPREAD:g}^2).",
            "The safe radius is exact: the norm of the smallest perturbation that breaks the claim, a convex",
            "problem. Median [smallest, largest] quotient; above 1 would be a false claim. True map: certified from",
            f"the exact expected votes. Population: from {SAMPLES:,} copies, eta {ETA:g} a map.",
        ),
        "",
        *table(["beta", "s", *names, f"{CONTROL}: certified"], rows),
    ]
