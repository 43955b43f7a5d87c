"""The rerun level (T9, docs/theory/bounds.md): what a fresh run of m' copies at a perturbed input will report.

Let at most r of the 2c bounds of the first run be wrong (probability >= 1 - eta) and ||delta|| <= L, delta chosen
independently of the fresh noise. The fresh counts Y are binomial cell by cell, in any dependence, with shares >= l'
inside the reported set and <= h' outside it (for each cell whose bound is right).

*A violation, with ties.* It drops s reported cells and takes in s others, and each cell taken in has at least as many
fresh votes as each cell dropped, whichever way equal counts are ordered. Fix any t and let M be the largest fresh count
among the dropped. If M <= t, at least s cells inside have Y <= t. If M > t, at least s cells outside have Y >= M > t.
So one of the two happens for every t at once, and ``<= t`` inside with ``> t`` outside is right for any tie-break.

*Its probability.* At least s - r of those cells have right bounds. Give the G worst for free: s - r - G of the others
must have flipped, and by Markov's inequality that is at most the sum of their tails over s - r - G. With the minimum
over G this is Rueger's inequality (1978), the best one from marginal tails alone. The tails grow with L, so the largest
L is found by bisection. L, t and G depend on the first run only, from which the fresh noise is independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, ndtr, ndtri

from monai_robustinterp.certificates.confidence import allowed_wrong_bounds, mass_weighted_bounds
from monai_robustinterp.certificates.map_radii import cell_eta
from monai_robustinterp.certificates.overlap import BetaLike, required_overlap, swap_count
from monai_robustinterp.certificates.units import round_down, round_up
from monai_robustinterp.types import SmoothingSpec, VoteMap

Array = npt.NDArray[np.float64]

# The tails and their sums are right to about 1e-12; the limit is lowered by more than that.
_ROUND_OFF = 1e-9
_HALVINGS = 36


@dataclass(frozen=True, kw_only=True)
class RerunRadius:
    """The claim about a second run.

    Attributes:
        l2: for any one perturbation of l2 norm <= it, chosen independently of the fresh noise, the two reported sets
            share ``overlap`` cells; 0 is no claim.
        eta: failure probability of the first run's bounds (those of the population level).
        eta_rerun: failure probability of the fresh run.
        overlap: ceil(beta * k).
        fresh_samples: m', copies of the fresh run.
        threshold: t, the fresh count that separates the two ways to fail; None without a claim.
        sentence: what the number is.
    """

    l2: float
    eta: float
    eta_rerun: float
    overlap: int
    fresh_samples: int
    threshold: int | None
    sentence: str


@dataclass(frozen=True)
class Side:
    """The cells of one side, the likeliest to fail first; cells of equal bounds are one group.

    Attributes:
        quantile: Phi^-1 of the largest chance that a copy errs on the cell (does not vote for it inside the set, votes
            for it outside), distinct, descending.
        starts: number of cells in the groups before.
        ends: number of cells up to and with the group.
    """

    quantile: Array
    starts: Array
    ends: Array

    @classmethod
    def of(cls, quantile: Array) -> Side:
        """Groups the cells' quantiles, in any order."""
        values, cells = np.unique(quantile, return_counts=True)
        ends = np.cumsum(cells[::-1]).astype(np.float64)
        return cls(quantile=values[::-1], starts=ends - cells[::-1], ends=ends)

    def failure(self, shift: float, *, errors: int, fresh_samples: int, needed: int) -> float:
        """Bound on the chance that at least ``needed`` cells err in more than ``errors`` of the fresh copies.

        Args:
            shift: L / sigma.
            errors: in [0, m' - 1].
            fresh_samples: m'.
            needed: s - r, at most the number of cells.

        Returns:
            The minimum over G of (sum of the tails of all but the G worst cells) / (needed - G).
        """
        tails = betainc(errors + 1.0, float(fresh_samples - errors), ndtr(self.quantile + shift))
        rest = np.cumsum((tails * (self.ends - self.starts))[::-1])[::-1]
        # Within a group the bound is monotone in G, so G is the start of a group, or all but one of the needed cells.
        groups = int(np.count_nonzero(self.starts < needed))
        within = (rest[:groups] / (needed - self.starts[:groups])).min()
        last = groups - 1
        after = rest[groups] if groups < rest.size else 0.0
        return float(min(within, (self.ends[last] - needed + 1) * tails[last] + after))


def rerun_radius(
    votes: VoteMap,
    spec: SmoothingSpec,
    *,
    beta: BetaLike,
    eta: float,
    eta_rerun: float,
    fresh_samples: int | None = None,
) -> RerunRadius:
    """The rerun level (T9), from the mass-weighted table over all 2c bounds: those of the population level.

    With probability >= 1 - eta - eta_rerun over both runs, the reported top-k set and the top-k that a fresh run of m'
    copies reports at x + delta share at least ceil(beta k) cells, for any one delta of norm <= ``l2`` that is chosen
    independently of the fresh noise (it may depend on the first run); same network, target class, k and sigma.

    Args:
        votes: the first run.
        spec: how it was made; sigma, n_samples and top_k are read.
        beta: share of the reported cells that must stay, a decimal string or a number in (0, 1].
        eta: failure probability of the bounds, in (0, 1).
        eta_rerun: eta', failure probability of the fresh run, in (0, 1), fixed beforehand.
        fresh_samples: m'; by default as many copies as the first run.

    Raises:
        ValueError: if votes and spec do not belong together, or a number is out of range.
    """
    votes.check_spec(spec)
    fresh = votes.n_samples if fresh_samples is None else fresh_samples
    k = votes.top_k
    s = swap_count(k, beta, votes.counts.size)
    wrong = allowed_wrong_bounds(s)
    ordered = -np.sort(-votes.counts.ravel())
    bounds = mass_weighted_bounds(ordered, votes.n_samples, top_k=k, eta=cell_eta(votes, spec, eta), wrong=wrong)
    shift, threshold = largest_shift(
        bounds.lower[:k], bounds.upper[k:], needed=s - wrong, fresh_samples=fresh, eta_rerun=eta_rerun
    )
    if eta + eta_rerun >= 1:  # nothing is left to claim
        shift, threshold = 0.0, None
    l2, overlap = spec.sigma * shift, required_overlap(k, beta)
    return RerunRadius(
        l2=l2,
        eta=eta,
        eta_rerun=eta_rerun,
        overlap=overlap,
        fresh_samples=fresh,
        threshold=threshold,
        sentence=_sentence(l2, overlap, k, fresh, eta, eta_rerun),
    )


def largest_shift(
    lower: npt.ArrayLike, upper: npt.ArrayLike, *, needed: int, fresh_samples: int, eta_rerun: float
) -> tuple[float, int | None]:
    """The largest L / sigma at which a fresh run fails with probability <= eta_rerun, and the t that shows it.

    Args:
        lower: lo of all k cells inside the reported set, in [0, 1), any order.
        upper: hi of all c - k cells outside it, in (0, 1], any order.
        needed: s - r, between 1 and the number of cells on each side.
        fresh_samples: m'.
        eta_rerun: in (0, 1).

    Returns:
        (L / sigma, t), rounded down; (0, None) where nothing can be claimed.

    Raises:
        ValueError: if a bound, needed, m' or eta_rerun is out of range.
    """
    inside, outside = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    if not (((inside >= 0) & (inside < 1)).all() and ((outside > 0) & (outside <= 1)).all()):
        raise ValueError(
            "a lower bound is outside [0, 1) or an upper one outside (0, 1]; they must be bounds from finitely many "
            "copies, which never reach 1 from below nor 0 from above."
        )
    most = min(inside.size, outside.size)
    if not 1 <= needed <= most:
        raise ValueError(f"needed is {needed}; s - r must lie in [1, {most}], the smaller number of cells.")
    if fresh_samples < 1:
        raise ValueError(f"fresh_samples is {fresh_samples}; it must be >= 1.")
    if not 0 < eta_rerun < 1:
        raise ValueError(f"eta_rerun is {eta_rerun}; it must lie in (0, 1), such as 0.001.")
    # 1 - Phi(u) is Phi(-u): inside, an error is a copy that does not vote for the cell.
    sides = Side.of(-ndtri(inside)), Side.of(ndtri(outside))
    limit = eta_rerun * (1 - _ROUND_OFF)

    def threshold(shift: float, guess: int) -> int | None:
        return _threshold(sides, shift, needed=needed, fresh_samples=fresh_samples, limit=limit, guess=guess)

    best = threshold(0.0, fresh_samples // 2)
    low, high = 0.0, 1.0
    while best is not None and (t := threshold(high, best)) is not None:
        low, high, best = high, 2 * high, t
    for _ in range(_HALVINGS if best is not None else 0):
        middle = 0.5 * (low + high)
        t = threshold(middle, best or 0)
        if t is None:
            high = middle
        else:
            low, best = middle, t
    return (low, best) if low > 0 else (0.0, None)


def _threshold(
    sides: tuple[Side, Side], shift: float, *, needed: int, fresh_samples: int, limit: float, guess: int
) -> int | None:
    """A count t at which the chances of both ways to fail sum to <= ``limit``, or None if there is none."""
    # In the counts first..last, the first way costs at least ``least`` and the second at least ``other``: the first
    # grows with t and the second falls. So a whole range is dropped once these exceed the limit.
    pending = [(0, fresh_samples - 1, 0.0, 0.0)]
    t = guess
    while pending:
        first, last, least, other = pending.pop()
        if first > last or least + other > limit:
            continue
        t = t if first <= t <= last else (first + last) // 2
        # Count <= t inside is more than m' - 1 - t copies that do not vote for the cell.
        inside = sides[0].failure(shift, errors=fresh_samples - 1 - t, fresh_samples=fresh_samples, needed=needed)
        outside = sides[1].failure(shift, errors=t, fresh_samples=fresh_samples, needed=needed)
        if inside + outside <= limit:
            return t
        pending += [(t + 1, last, inside, other), (first, t - 1, least, outside)]
        t = -1
    return None


def _sentence(l2: float, overlap: int, top_k: int, fresh: int, eta: float, eta_rerun: float) -> str:
    if l2 == 0:
        return "abstain: the votes support no radius for a second run, so nothing is claimed about one."
    return (
        f"certified (rerun level): with probability >= 1 - {round_up(eta)} - {round_up(eta_rerun)} over both runs, the "
        f"reported top-{top_k} cells and those that a fresh run of {fresh} copies for the same target class reports at "
        f"any one input of l2 distance below {round_down(l2, 6)}, chosen independently of its noise, share at least "
        f"{overlap} cells."
    )
