"""Anani et al. 2025, pixel-level certified explanations (ICML, arXiv:2506.15499), after Fischer et al. 2021.

Source: each noisy copy marks its top-K cells; for each cell an exact binomial test asks whether more than the share
tau of the copies mark it (in) or do not mark it (out), corrected over all tests. A cell that passes keeps its majority,
in or out, for every perturbation of l2 norm up to R = sigma Phi^-1(tau); the others abstain. Their setting: 100 copies,
10 of them to choose the side, tau = 0.75, alpha = 0.001.

Level: population (D9 of docs/theory/objects.md), for all cells at once with probability >= 1 - alpha, but about the
*majority* of each cell and not about a top-k overlap. More than k cells may have a majority, so a certified-in cell
need not stay in the top-k of the expected map: an abstaining cell may overtake it. What does follow is that each
certified-in cell stays above each certified-out one; ``overlap`` counts that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, ndtri

from monai_robustinterp.types import top_k_set

LEVEL = "population"

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class AnaniCertificate:
    """Cells whose majority is certified, all at one radius.

    Attributes:
        radius: sigma Phi^-1(tau), l2.
        certified_in: cells that a majority of the copies marks, at every input within the radius; the counts' shape.
        certified_out: cells that no majority marks there; the others abstain.
        reported_in: how many cells of the reported top-k are certified in: they keep their majority.
        overlap: how many cells of the reported top-k are certified to stay in the top-k of the expected map.
    """

    radius: float
    certified_in: Mask
    certified_out: Mask
    reported_in: int
    overlap: int


def anani_certificate(
    counts: npt.ArrayLike,
    n_samples: int,
    *,
    top_k: int,
    sigma: float,
    tau: float = 0.75,
    alpha: float = 0.001,
    correction: Literal["bonferroni", "holm"] = "bonferroni",
    chosen_in: npt.ArrayLike | None = None,
) -> AnaniCertificate:
    """Certifies each cell as in or out, or abstains.

    Args:
        counts: votes of the cells, any shape, sum ``n_samples * top_k``.
        n_samples: copies behind them; with ``chosen_in`` those that did not choose the side.
        top_k: k.
        sigma: standard deviation of the smoothing noise.
        tau: share that the majority must exceed, in [0.5, 1).
        alpha: failure probability over all cells.
        correction: for the number of tests; Holm's certifies at least as many cells.
        chosen_in: the side to test for each cell, chosen by the majority of *other* copies (the paper's first 10);
            without it both sides are tested, which is twice the tests. The shape of the counts.

    Raises:
        ValueError: if a value is out of range.
    """
    votes = np.asarray(counts, dtype=np.int64)
    if votes.sum() != n_samples * top_k or votes.min() < 0 or votes.max() > n_samples or top_k < 1:
        raise ValueError(
            f"the counts span {votes.min()} to {votes.max()} and sum to {votes.sum()}; votes of {n_samples} copies for "
            f"{top_k} cells each lie in [0, {n_samples}] and sum to {n_samples * top_k}. Pass counts, not shares."
        )
    if not (0.5 <= tau < 1 and 0 < alpha < 1):
        raise ValueError(f"tau is {tau} and alpha {alpha}; they must lie in [0.5, 1) and (0, 1).")
    sides = np.stack([votes, n_samples - votes])
    tested = np.ones(sides.shape, dtype=bool)
    if chosen_in is not None:
        chosen = np.asarray(chosen_in, dtype=bool).reshape(votes.shape)
        tested = np.stack([chosen, ~chosen])
    passed = np.zeros(sides.shape, dtype=bool)
    passed[tested] = _rejected(_p_values(sides[tested], n_samples, tau), alpha, correction)
    reported_in, overlap = _overlap(votes, passed[0], passed[1], top_k)
    return AnaniCertificate(
        radius=float(sigma * ndtri(tau)),
        certified_in=passed[0],
        certified_out=passed[1],
        reported_in=reported_in,
        overlap=overlap,
    )


def _p_values(successes: npt.NDArray[np.int64], n_samples: int, tau: float) -> Array:
    """P[Bin(n, tau) >= x], the exact one-sided binomial test of share <= tau."""
    x = successes.astype(np.float64)
    p_values: Array = np.where(x > 0, betainc(np.maximum(x, 1), n_samples - x + 1, tau), 1.0)
    return p_values


def _rejected(p_values: Array, alpha: float, correction: str) -> Mask:
    if correction == "bonferroni":
        return np.asarray(p_values <= alpha / p_values.size)
    if correction != "holm":
        raise ValueError(f"correction is {correction!r}; it must be 'bonferroni' or 'holm'.")
    order = np.argsort(p_values, kind="stable")
    holds = p_values[order] <= alpha / np.arange(p_values.size, 0, -1)
    rejected = np.zeros(p_values.size, dtype=bool)
    rejected[order] = np.logical_and.accumulate(holds)
    return rejected


def _overlap(votes: npt.NDArray[np.int64], inside: Mask, outside: Mask, top_k: int) -> tuple[int, int]:
    """Reported cells that are certified in, and the top-k overlap that follows.

    Either all certified-in cells are in the new top-k, or one is missing and then only cells that are not certified
    out, which could overtake it, are in.
    """
    reported = top_k_set(votes, top_k).ravel()
    reported_in = int((inside.ravel() & reported).sum())
    intruders = int((~outside.ravel() & ~reported).sum())
    return reported_in, max(0, min(reported_in, top_k - intruders))
