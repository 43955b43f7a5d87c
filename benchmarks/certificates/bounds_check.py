"""The bounds at their least favorable: how many fail, computed exactly and counted, for right and wrong tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from monai_robustinterp.certificates import mass_weighted_bounds
from monai_robustinterp.certificates.confidence import Bounds, plain_bounds
from monai_robustinterp.study.tables import prose, table

CELLS, TOP_K = 256, 38
ETAS = (0.05, 0.1, 0.3)
REPETITIONS = 1000

Array = npt.NDArray[np.float64]


def tables_of(m: int, eta: float) -> dict[str, Bounds]:
    """The bounds of every count 0..m: the two right tables, and two wrong ones."""
    x = np.arange(m + 1)
    return {
        "mass-weighted": mass_weighted_bounds(x, m, top_k=TOP_K, eta=eta),
        "plain": plain_bounds(x, m, n_cells=CELLS, eta=eta),
        "wrong: mass-weighted, one side counted": mass_weighted_bounds(x, m, top_k=TOP_K, eta=2 * eta),
        "wrong: plug-in": Bounds(lower=x / m, upper=x / m),
    }


def failure_chance(bounds: Bounds, q: Array) -> Array:
    """P[a bound of Bin(m, q) fails], exact, for every q."""
    m = bounds.lower.size - 1
    fails = (bounds.lower > q[:, None]) | (bounds.upper < q[:, None])
    chance: Array = np.where(fails, binom.pmf(np.arange(m + 1), m, q[:, None]), 0.0).sum(axis=1)
    return chance


def least_favorable(bounds: Bounds) -> Array:
    """Shares of the cells, sum k, at which many bounds fail: as many cells as k allows at the worst common share.

    A bound fails most just below a lower bound or just above an upper one, so only those shares are tried.
    """
    q = np.concatenate([bounds.lower * (1 - 1e-9), bounds.upper * (1 + 1e-9)])
    q = np.unique(q[(q >= TOP_K / CELLS) & (q < 1)])
    cells = np.floor(TOP_K / q)
    best = int((cells * failure_chance(bounds, q)).argmax())
    shares = np.zeros(CELLS)
    shares[: int(cells[best])] = q[best]
    # What is left goes to one more cell; without room for it nothing is left, up to round-off.
    rest = TOP_K - shares.sum()
    if rest > 1e-9:
        shares[int(cells[best])] = rest
    return shares


def check(bounds: Bounds, rng: np.random.Generator) -> dict[str, float]:
    """Expected number of failures at the least favorable shares, and what the repetitions saw."""
    q = least_favorable(bounds)
    m = bounds.lower.size - 1
    counts = rng.binomial(m, q, size=(REPETITIONS, CELLS))
    failed = ((bounds.lower[counts] > q) | (bounds.upper[counts] < q)).sum(axis=1)
    return {
        "expected": float(failure_chance(bounds, q).sum()),
        "observed": float(failed.mean()),
        "standard_error": float(failed.std(ddof=1) / np.sqrt(REPETITIONS)),
        "any": float((failed > 0).mean()),
    }


def measure(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """One row an eta and m, with every table's numbers."""
    rng = np.random.default_rng(0)
    return [
        {"eta": eta, "m": m, "tables": {name: check(bounds, rng) for name, bounds in tables_of(m, eta).items()}}
        for eta in ETAS
        for m in sizes
    ]


def page(rows: list[dict[str, Any]]) -> list[str]:
    """The section of the page."""
    names = list(rows[0]["tables"])
    cells = [[f"{row['eta']:g}", f"{row['m']:,}", *(_text(row["tables"][name]) for name in names)] for row in rows]
    return [
        "## The bounds where they fail most",
        "",
        *prose(
            f"Wrong bounds among the 2 x {CELLS} of a vote map (k = {TOP_K}) whose shares are chosen against each",
            "table: as many cells as possible at the worst share. Exact expectation; mean +- standard error in",
            f"{REPETITIONS:,} repetitions (independent cells; the expectation does not depend on that); share of the",
            "repetitions with any wrong bound. A right table has an expectation of at most eta, and so any wrong",
            "bound with probability at most eta; what is observed may lie above that by sampling error. The two tables",
            "marked wrong show that the check can fail. No radius stands here, so no control.",
        ),
        "",
        *table(["eta", "m", *names], cells),
    ]


def _text(found: dict[str, float]) -> str:
    observed = f"{found['observed']:.3g} +- {found['standard_error']:.2g}"
    return f"{found['expected']:.3g}; {observed}; {found['any']:.3f}"
