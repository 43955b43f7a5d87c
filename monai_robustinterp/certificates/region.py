"""Region mass (T15 of docs/theory): the share of the votes that fall into a region fixed before the noise.

Each copy gives X = |T & R| / k in [0, 1], so its mean h is one bounded mean, and at x + delta it is at least
Phi(Phi^-1(h) - ||delta|| / sigma) (Cohen et al. 2019; Levine et al. 2019, for functions into [0, 1]). It speaks of the
*votes*, not of the reported top-k set nor of attribution.

The lower bound on h is a betting one (Waudby-Smith & Ramdas 2024, section 4), with bets that are fixed before the noise
and mixed, so that the wealth is a product over copies and needs their histogram only, in any order. Against the guess
h <= mu a gambler with bet b <= 1 / mu gains the factor 1 + b (X - mu) >= 0 a copy, of mean <= 1; the wealth K(mu), the
average over the bets of the product, then has mean <= 1, and by Markov's inequality it reaches 1 / eta with probability
<= eta. With b = min(bet, 1 / mu) every factor falls with mu, so K does, and the guesses with K >= 1 / eta are those
below one number: the bound. It was chosen over the empirical Bernstein bound (Maurer & Pontil 2009) beforehand: it is
much tighter up to some 10,000 copies and equal beyond (tests/unit/test_region.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtr, ndtri

from monai_robustinterp.certificates.sequence import eta_part
from monai_robustinterp.certificates.units import round_down, round_up
from monai_robustinterp.types import SmoothingSpec, VoteMap

Array = npt.NDArray[np.float64]

# On the logarithm of the wealth, whose sums are right to about 1e-9 at m = 10^6; it outweighs the round-off of Phi too.
_ROUND_OFF = 1e-6


@dataclass(frozen=True, kw_only=True)
class RegionCertificate:
    """How many of the votes stay in a region.

    Attributes:
        observed: mean share of the votes in the region, in [0, 1].
        share_lower: with probability >= 1 - eta over the noise, the expected share is at least this.
        sigma: standard deviation of the noise.
        eta: failure probability.
    """

    observed: float
    share_lower: float
    sigma: float
    eta: float

    def share_within(self, l2: float) -> float:
        """The expected share of the votes in the region is at least this at every input within l2 distance ``l2``.

        Holds for all l2 at once, with probability >= 1 - eta over the noise.

        Raises:
            ValueError: if l2 is no length.
        """
        if not l2 >= 0:
            raise ValueError(f"l2 is {l2}; it must be a distance >= 0.")
        return float(ndtr(ndtri(self.share_lower) - l2 / self.sigma))


def region_statements(votes: VoteMap, spec: SmoothingSpec, *, eta: float, l2: float) -> list[dict[str, Any]]:
    """What is certified of each region of a vote map, for the record; all of it holds with probability >= 1 - eta.

    Eta is split evenly over the spec's looks, and again over the regions.

    Args:
        votes: the counts, with the hits of the regions.
        spec: how they were made.
        eta: the failure probability that is stated, in (0, 1).
        l2: distance within which the share is stated: the certified radius of the map, 0 if it has none.

    Returns:
        An entry a region: ``name``, ``n_cells``, ``seen``, ``observed`` and ``share_lower`` (shares of the votes in the
        image itself), ``eta``, ``l2``, ``share_within_l_max`` (expected share within ``l2``, rounded down to 4 digits
        as the sentence says it), ``sentence``.

    Raises:
        ValueError: if votes and spec do not belong together, or eta is out of range.
    """
    votes.check_spec(spec)
    part = eta_part(eta, max(1, len(spec.looks)) * len(votes.regions))
    statements = []
    for region, hits in zip(votes.regions, votes.region_hits if votes.region_hits is not None else ()):
        certificate = certify_region(hits, spec.sigma, eta=part)
        share = round_down(certificate.share_within(l2), 4)
        statements.append(
            {
                "name": region.name,
                "n_cells": int(region.cells.sum()),
                "seen": region.seen,
                "observed": certificate.observed,
                "share_lower": certificate.share_lower,
                "eta": eta,
                "l2": l2,
                "share_within_l_max": float(share),
                "sentence": _sentence(share, eta, l2),
            }
        )
    return statements


def _sentence(share: str, eta: float, l2: float) -> str:
    if float(share) == 0:
        return (
            "abstain: the copies support no share of the votes in the region within l2 distance "
            f"{round_down(l2, 6)}, so nothing is claimed about it."
        )
    claim = (
        f"with probability >= 1 - {round_up(eta)} over the noise, at least {share} of the votes are expected in the "
        "region"
    )
    scope = "(of the votes: not of the reported cells, nor of attribution)."
    if l2 == 0:
        return (
            "abstain: the map has no radius, so nothing is claimed about any changed input. In the clean image, "
            f"{claim} {scope}"
        )
    return f"certified (population level): {claim} at every input of l2 distance below {round_down(l2, 6)} {scope}"


def certify_region(histogram: npt.ArrayLike, sigma: float, *, eta: float) -> RegionCertificate:
    """Certifies the mean share of votes in a region fixed before the noise, from one pass (T15).

    Args:
        histogram: int [k + 1]: entry j is the number of copies that cast j of their k votes in the region.
        sigma: standard deviation of the noise.
        eta: failure probability in (0, 1). Several regions need it split beforehand.

    Raises:
        ValueError: if the histogram is none, or sigma or eta is out of range.
    """
    copies = np.asarray(histogram)
    if copies.ndim != 1 or copies.size < 2 or copies.dtype.kind not in "iu" or copies.min() < 0 or copies.sum() < 1:
        raise ValueError(
            f"the histogram has shape {copies.shape} and type {copies.dtype}; it must hold whole numbers of copies "
            f"with 0, 1, ..., k hits, at least one copy in all."
        )
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma is {sigma}; it must be finite and > 0.")
    if not (0 < eta < 1):
        raise ValueError(f"eta is {eta}; it must lie in (0, 1), such as 0.001.")
    m = int(copies.sum())
    seen = np.flatnonzero(copies)
    share, weight = seen / (copies.size - 1), copies[seen].astype(np.float64)
    return RegionCertificate(
        observed=float(share @ weight) / m,
        share_lower=_mean_lower(share, weight, m, eta),
        sigma=sigma,
        eta=eta,
    )


def bets(n_samples: int, eta: float) -> Array:
    """The bets that are mixed, fixed by m and eta: 2 sqrt(2 ln(1 / eta) / m), doubled until m / ln(1 / eta).

    For small ones the best bet is sqrt(2 ln(1 / eta) / m) over the standard deviation of X, which is at most 1/2; a bet
    beyond 1 / mu is cut there, and no mean below about ln(1 / eta) / m is told from 0. A bet wrong by sqrt(2) loses
    about a sixth of the exponent at most, and the mixture the logarithm of the number of bets.
    """
    log_odds = -math.log(eta)
    smallest = 2 * math.sqrt(2 * log_odds / n_samples)
    doublings = max(0, math.ceil(math.log2(n_samples / log_odds / smallest)))
    return np.asarray(smallest * 2.0 ** np.arange(doublings + 1))


def _mean_lower(share: Array, weight: Array, m: int, eta: float) -> float:
    """The largest mu (rounded down) at which the wealth reaches 1 / eta."""
    fixed = bets(m, eta)
    wanted = -math.log(eta) + math.log(fixed.size) + _ROUND_OFF
    low, high = 0.0, 1.0
    for _ in range(60):
        mu = 0.5 * (low + high)
        stake = np.minimum(fixed * mu, 1.0)[:, None]
        with np.errstate(divide="ignore"):  # the whole wealth on a copy without hits is lost: log 0
            log_wealth = np.log1p(stake * (share / mu - 1)) @ weight
        if logsumexp(log_wealth) >= wanted:
            low = mu
        else:
            high = mu
    return low
