"""Discordant pairs (T4, T8): cells compared two at a time, on the copies that vote for just one of the two.

Each pair of a reported and another cell has a radius below which the first keeps more votes than the second. To swap s
cells, s reported and s other ones must fail in all their s x s pairs; peeling tells where there are none such.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv, ndtri

from monai_robustinterp.certificates.confidence import allowed_wrong_bounds, mass_weighted_bounds
from monai_robustinterp.types import MAX_CELLS, VoteMap

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Parts of eta, in (0, 1) and (0, 1/2]: any are sound, and they are fixed here, before any noise.
_DISCORDANCE_PART = 0.1
_REVERSAL_PART = 0.1

_CHUNK = 4096  # copies at a time: their sums are exact in float32, where matrix products are fast

_ROUND_OFF = 1e-9  # more than a binomial tail or its inverse loses
_DOWN = 1 - 1e-12


def pair_counts(votes: VoteMap) -> Counts:
    """How many copies vote for cell a and for cell b, int64 [c, c], from the votes of each copy.

    Raises:
        ValueError: if the votes of each copy were not kept.
    """
    masks = votes.copy_masks()
    total = np.zeros((masks.shape[1], masks.shape[1]), dtype=np.int64)
    for start in range(0, len(masks), _CHUNK):
        chunk = masks[start : start + _CHUNK].astype(np.float32)
        total += (chunk.T @ chunk).astype(np.int64)
    return total


def pairs_radius(votes: VoteMap, *, swaps: int, sigma: float, eta_pairs: float, eta_marginal: float) -> float:
    """The population radius from bounds on pairs of cells and on single cells together (T8).

    With probability >= 1 - eta_pairs - eta_marginal over the noise, the reported top-k set and the top-k of the
    expected vote map of any input within this l2 distance share at least k - s + 1 cells. On the same event hold the
    claims that follow from the cells alone at eta_marginal; the Neyman-Pearson radius among them is never above this
    one, but for the last digits.

    Args:
        votes: the counts, with pair counts, of at most 1,024 cells.
        swaps: s in [1, min(k, c - k)], the number of cells that must be swapped to break the claim.
        sigma: standard deviation of the noise that made the votes.
        eta_pairs: failure probability that the bounds on pairs may spend, in (0, 1).
        eta_marginal: failure probability that the bounds on cells may spend, in (0, 1).

    Returns:
        The radius in the units of sigma, rounded down; 0 is no claim.

    Raises:
        ValueError: if the votes have no pair counts or too many cells, or a number is out of range.
    """
    joint = _checked_joint(votes)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; it must be finite and > 0.")
    counts, inside, m = votes.counts.ravel(), votes.top_k_mask.ravel(), votes.n_samples
    both = joint[inside][:, ~inside]
    wins, losses = counts[inside][:, None] - both, counts[~inside] - both
    wrong = allowed_wrong_bounds(swaps)
    pairs = sampled_edge_radii(wins, losses, n_samples=m, n_discordant=wins.size, eta=eta_pairs, wrong=wrong)
    cells = mass_weighted_bounds(counts, m, top_k=votes.top_k, eta=eta_marginal, wrong=wrong)
    marginal = edge_radii(cells.lower[inside][:, None], cells.upper[~inside])
    return sigma * peeled_radius(np.maximum(pairs, marginal), swaps=swaps - wrong) * _DOWN


def edge_radii(ahead: npt.ArrayLike, behind: npt.ArrayLike) -> Array:
    """(Phi^-1(ahead) - Phi^-1(behind)) / 2, or 0 if that is negative: below it a test stays likelier than another.

    Args:
        ahead: probability in [0, 1] that only the reported cell of a pair gets a vote; or the vote shares of the
            reported cells, or lower bounds.
        behind: the same for the other cell, or upper bounds; broadcast against ``ahead``.

    Returns:
        Radii in units of sigma, in the broadcast shape; infinite where one probability is exactly 1 or 0.
    """
    high, low = np.broadcast_arrays(np.asarray(ahead, np.float64), np.asarray(behind, np.float64))
    positive = high > low
    radii = np.zeros(high.shape)
    radii[positive] = (ndtri(high[positive]) - ndtri(low[positive])) / 2
    return radii


def peeled_radius(radii: npt.ArrayLike, *, swaps: int) -> float:
    """The radius below which no s reported and s other cells fail in all their pairs.

    A pair fails at L if its radius is <= L. In a complete K_{s,s} of failing pairs each cell fails against s others, so
    cells that fail against fewer are peeled off, again and again; if fewer than s are left on a side, there is none.
    Exact for s = 1; otherwise it may stop short, and is never too far.

    Args:
        radii: radius of each pair, >= 0, shape [reported cells, other cells], in any unit.
        swaps: s, at least 1 and at most the smaller side.

    Returns:
        The radius in the unit of ``radii``.

    Raises:
        ValueError: if a radius is negative or not a number, or s does not fit.
    """
    edges = np.asarray(radii, dtype=np.float64)
    if not (edges.ndim == 2 and 1 <= swaps <= min(edges.shape) and (edges >= 0).all()):
        raise ValueError(
            f"swaps is {swaps} and the radii of the pairs have shape {edges.shape}; the radii must be >= 0, in a "
            "matrix [reported, others] of which each side is at least swaps, and swaps at least 1."
        )
    steps = np.unique(edges)
    # More pairs fail at a larger radius, so a core stays once it is there; at the last step all pairs fail.
    return float(steps[bisect_left(steps, True, key=lambda step: _has_core(edges <= step, swaps))])


def _has_core(failing: npt.NDArray[np.bool_], swaps: int) -> bool:
    """Whether peeling leaves cells, each of which fails against at least ``swaps`` of those left on the other side."""
    while min(failing.shape) >= swaps:
        rows, columns = failing.sum(axis=1) >= swaps, failing.sum(axis=0) >= swaps
        if rows.all() and columns.all():
            return True
        failing = failing[rows][:, columns]
    return False


def sampled_edge_radii(
    wins: npt.ArrayLike, losses: npt.ArrayLike, *, n_samples: int, n_discordant: int, eta: float, wrong: int = 0
) -> Array:
    """Radii of pairs from m copies, of which over all pairs of the map at most eta (r + 1) are too large on average.

    With v = u + w and t = u / v, the radius (Phi^-1(v t) - Phi^-1(v (1 - t))) / 2 rises with v, and with t > 1/2. The
    number of discordant copies bounds v and, given that number, the wins bound t (T8).

    Args:
        wins: copies that vote for the first cell of a pair and not for the second, any shape.
        losses: copies that vote the other way, the shape of ``wins``.
        n_samples: m.
        n_discordant: k (c - k), the number of pairs of cells that each copy tells apart.
        eta: failure probability of all pairs together, in (0, 1).
        wrong: r, the number of wrong pairs that the caller's claim survives.

    Returns:
        Radii in units of sigma; 0 where nothing is claimed.

    Raises:
        ValueError: if a number is out of range.
    """
    if not 0 < eta < 1:
        raise ValueError(f"eta of the pairs is {eta}; it must lie in (0, 1), such as 0.0005.")
    x, y = np.asarray(wins, dtype=np.int64), np.asarray(losses, dtype=np.int64)
    ahead = x > y
    x, n = x[ahead], (x + y)[ahead]
    # The table gives half of its eta to upper bounds, and none are used.
    table = mass_weighted_bounds(n, n_samples, top_k=n_discordant, eta=2 * _DISCORDANCE_PART * eta, wrong=wrong)
    # Over all pairs the n sum to m k (c - k) exactly.
    level = (1 - _DISCORDANCE_PART) * eta * (wrong + 1) * n / (n_samples * n_discordant)
    majority = majority_bounds(x, n, level=level)
    radii = np.zeros(ahead.shape)
    radii[ahead] = edge_radii(table.lower * majority, table.lower * (1 - majority))
    return radii


def majority_bounds(wins: Counts, n: Counts, *, level: npt.ArrayLike) -> Array:
    """Lower bounds on t where the wins of Bin(n, t) show that t > 1/2, else 0.

    Whatever t >= 1/2 is, with probability at most ``level`` the bound from the wins is above t, or the losses n - wins,
    read as wins, show anything.

    Args:
        wins: successes, in [1, n].
        n: number of trials, the shape of ``wins``.
        level: in (0, 1), the shape of ``wins``; it may depend on n.

    Returns:
        Bounds in [0, 1), the shape of ``wins``.
    """
    safe = np.asarray(level, dtype=np.float64) * (1 - _ROUND_OFF)
    tail = (1 - _REVERSAL_PART) * safe
    bound = betaincinv(wins, n - wins + 1, tail) * (1 - _ROUND_OFF)
    # The wrong side wins only where its tail at t = 1/2 is so small: a small part of the level pays for both sides.
    shown = betainc(wins, n - wins + 1, 0.5) <= _REVERSAL_PART * safe
    # An inverse that does not hold when put in is not used.
    holds = betainc(wins, n - wins + 1, bound) <= tail
    return np.where(shown & holds & (bound > 0.5), bound, 0.0)


def _checked_joint(votes: VoteMap) -> Counts:
    if votes.pair_counts is None:
        raise ValueError("the votes hold no pair counts, which pairs of cells need: take the votes anew with pairs.")
    if votes.counts.size > MAX_CELLS:
        raise ValueError(
            f"the map has {votes.counts.size} cells; pairs are certified for at most {MAX_CELLS}, since memory and the "
            "number of bounds that share eta grow with the square of the cells. Choose a larger cell_size, or no pairs."
        )
    return votes.pair_counts
