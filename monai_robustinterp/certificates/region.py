"""Region mass (T15 of docs/theory): the share of the votes that fall into a region fixed before the noise.

Each copy casts H = |T & R| of its k votes there. Two lower bounds on the expected share E H / k at x + delta hold
together, r = ||delta|| / sigma, and the larger counts:

- H / k is one number in [0, 1] of mean h, so the share is >= Phi(Phi^-1(h) - r) (Cohen et al. 2019; Levine et al. 2019,
  for functions into [0, 1]). That is attained where copies cast all votes in R or none.
- H = sum_j 1[H >= j], and each term is a decision of chance p_j, so the share is >= (1/k) sum_j Phi(Phi^-1(p_j) - r).
  Where copies agree on how many votes lie in R, as they mostly do, it falls much later.

It speaks of the *votes*, not of the reported top-k set nor of attribution.

The lower bound on h is a betting one (Waudby-Smith & Ramdas 2024, section 4), with bets that are fixed before the noise
and mixed, so that the wealth is a product over copies and needs their histogram only, in any order. Against the guess
h <= mu a gambler with bet b <= 1 / mu gains the factor 1 + b (X - mu) >= 0 a copy, of mean <= 1; the wealth K(mu), the
average over the bets of the product, then has mean <= 1, and by Markov's inequality it reaches 1 / eta with probability
<= eta. With b = min(bet, 1 / mu) every factor falls with mu, so K does, and the guesses with K >= 1 / eta are those
below one number: the bound. It was chosen over the empirical Bernstein bound (Maurer & Pontil 2009) beforehand: it is
much tighter up to some 10,000 copies and equal beyond (tests/unit/test_region.py). The lower bounds on the p_j are
those of Clopper and Pearson (1934). The upper bound on the share is that of the votes outside the region, from the same
mechanism. Each side has half of eta, of which the bets have half and the k tails the rest in equal parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtr, ndtri

from monai_robustinterp.certificates.confidence import clopper_pearson_bounds
from monai_robustinterp.certificates.sequence import eta_part
from monai_robustinterp.certificates.units import round_down, round_up, round_up_to
from monai_robustinterp.types import Region, SmoothingSpec, VoteMap

Array = npt.NDArray[np.float64]

LUNGS = "lungs ("
"""What the name of the region of the lung fields begins with: the one region that can give an alarm."""

ALARM_RADIUS = 0.5
"""In standard deviations of the noise, fixed for all images: so far at least the votes must keep outside the lungs."""

# On the logarithm of the wealth, whose sums are right to about 1e-9 at m = 10^6; it outweighs the round-off of Phi too.
_ROUND_OFF = 1e-6
_DOWN, _UP = 1 - 1e-12, 1 + 1e-12  # more than the round-off of a quantile, a mean or a division
_SCOPE = "(of the votes: not of the reported cells, nor of attribution)."


@dataclass(frozen=True, kw_only=True)
class RegionCertificate:
    """How many of the votes stay in a region.

    Attributes:
        observed: mean share of the votes in the region, in [0, 1].
        share_lower: the expected share is at least this, and
        share_upper: at most this, and
        tails_inside: entry j - 1 is at most the chance that a copy casts j of its k votes or more in the region, and
        tails_outside: the same of the votes outside: all with probability >= 1 - eta over the noise.
        sigma: standard deviation of the noise.
        eta: failure probability of all of them together.
    """

    observed: float
    share_lower: float
    share_upper: float
    tails_inside: Array
    tails_outside: Array
    sigma: float
    eta: float

    def at_least(self, l2: float) -> float:
        """The expected share of the votes in the region is at least this at every input within l2 distance ``l2``.

        This and all below hold for all l2 at once, with probability >= 1 - eta over the noise.

        Raises:
            ValueError: if l2 is no length.
        """
        r = self._in_noise(l2)
        by_mean = float(ndtr(ndtri(self.share_lower) - r))
        return max(by_mean, float(ndtr(ndtri(self.tails_inside) - r).mean()) * _DOWN)

    def at_most(self, l2: float) -> float:
        """The expected share is at most this at every input within l2 distance ``l2``.

        Raises:
            ValueError: if l2 is no length.
        """
        r = self._in_noise(l2)
        by_mean = float(ndtr(ndtri(self.share_upper) + r))
        return min(by_mean, float(ndtr(r - ndtri(self.tails_outside)).mean()) * _UP)

    @property
    def radius_above_half(self) -> float:
        """At every input of l2 distance below it more than half of the votes are expected inside; 0 is no claim."""
        return self.sigma * _radius_of_half(ndtri(self.share_lower), self.tails_inside)

    @property
    def radius_below_half(self) -> float:
        """At every input of l2 distance below it less than half of the votes are expected inside; 0 is no claim."""
        return self.sigma * _radius_of_half(-ndtri(self.share_upper), self.tails_outside)

    @property
    def alarm(self) -> bool:
        """Whether that holds up to the radius of the alarm: most of the votes are then expected outside."""
        return _radius(self.radius_below_half, self.sigma)["in_noise"] >= ALARM_RADIUS

    def _in_noise(self, l2: float) -> float:
        if not l2 >= 0:
            raise ValueError(f"l2 is {l2}; it must be a distance >= 0.")
        return l2 / self.sigma


def _radius_of_half(by_mean: float, tails: Array) -> float:
    """The largest r, rounded down, at which one of the two bounds still exceeds one half; 0 if none does at 0.

    Args:
        by_mean: that of the bound by the mean.
        tails: chances of the other one.
    """
    quantiles = ndtri(tails)
    low, high = 0.0, max(0.0, float(quantiles.max()))
    # The bound falls with r, and is at most one half where r reaches the largest quantile.
    for _ in range(60):
        middle = 0.5 * (low + high)
        if float(ndtr(quantiles - middle).mean()) * _DOWN > 0.5:
            low = middle
        else:
            high = middle
    return max(0.0, float(by_mean), low) * _DOWN


def is_lungs(region: Region) -> bool:
    """Whether a region is that of the lung fields, of which an alarm is told."""
    return region.name.startswith(LUNGS)


def region_statements(votes: VoteMap, spec: SmoothingSpec, *, eta: float, l2: float) -> list[dict[str, Any]]:
    """What is certified of each region of a vote map, for the record; all of it holds with probability >= 1 - eta.

    Eta is split evenly over the spec's looks, again over the regions, over the two sides, and over mean and tails.

    Args:
        votes: the counts, with the hits of the regions.
        spec: how they were made.
        eta: the failure probability that is stated, in (0, 1).
        l2: distance within which the shares are stated: the certified radius of the map, 0 if it has none.

    Returns:
        An entry a region: ``name``, ``n_cells``, ``seen``, ``observed``, ``share_lower`` and ``share_upper`` (shares of
        the votes in the image itself), ``eta``, ``l2``, ``at_least`` and ``at_most`` (expected share within ``l2``,
        rounded to 4 digits against the claim), ``radius_above_half`` and ``radius_below_half`` (``l2`` and
        ``in_noise``), ``sentence``; of the lungs also ``alarm`` and ``alarm_radius``.

    Raises:
        ValueError: if votes and spec do not belong together, or eta is out of range.
    """
    votes.check_spec(spec)
    part = eta_part(eta, max(1, len(spec.looks)) * len(votes.regions))
    hits_of = votes.region_hits if votes.region_hits is not None else ()
    return [
        _statement(region, certify_region(hits, spec.sigma, eta=part), eta=eta, l2=l2)
        for region, hits in zip(votes.regions, hits_of)
    ]


def _statement(region: Region, certificate: RegionCertificate, *, eta: float, l2: float) -> dict[str, Any]:
    statement = {
        "name": region.name,
        "n_cells": int(region.cells.sum()),
        "seen": region.seen,
        "observed": certificate.observed,
        "share_lower": certificate.share_lower,
        "share_upper": certificate.share_upper,
        "eta": eta,
        "l2": l2,
        "at_least": float(round_down(certificate.at_least(l2), 4)),
        "at_most": float(round_up_to(certificate.at_most(l2), 4)),
        "radius_above_half": _radius(certificate.radius_above_half, certificate.sigma),
        "radius_below_half": _radius(certificate.radius_below_half, certificate.sigma),
    }
    sentence = _sentence(statement)
    if is_lungs(region):
        radius = {"l2": ALARM_RADIUS * certificate.sigma, "in_noise": ALARM_RADIUS}
        statement |= {"alarm": certificate.alarm, "alarm_radius": radius}
        sentence = _alarm_sentence(certificate.alarm, radius["l2"], sentence)
    return statement | {"sentence": sentence}


def _radius(l2: float, sigma: float) -> dict[str, float]:
    return {"l2": l2, "in_noise": l2 / sigma * _DOWN}


def _sentence(statement: dict[str, Any]) -> str:
    l2, bounds = statement["l2"], _bounds(statement["at_least"], statement["at_most"])
    half = _half(statement, "of them" if bounds else "of the votes are expected in the region")
    probability = f"with probability >= 1 - {round_up(statement['eta'])} over the noise"
    expected = f"{bounds} of the votes are expected in the region"
    if not bounds and not half:
        return (
            f"abstain: below l2 distance {round_down(l2, 6)} the copies bound the share of the votes in the region on "
            "no side, so nothing is claimed about it."
        )
    if l2 == 0 and not half:
        return (
            "abstain: the map has no radius, and on which side of one half the share lies is not certified, so nothing "
            f"is claimed about any changed input. In the clean image, {probability}, {expected} {_SCOPE}"
        )
    where = "in the clean image" if l2 == 0 else f"at every input of l2 distance below {round_down(l2, 6)}"
    claims = [f"{expected} {where}"] * bool(bounds) + [half] * bool(half)
    return f"certified (population level): {probability}, {', and '.join(claims)} {_SCOPE}"


def _bounds(at_least: float, at_most: float) -> str:
    lower = [f"at least {at_least:.4f}"] * (at_least > 0)
    return " and ".join(lower + [f"at most {at_most:.4f}"] * (at_most < 1))


def _half(statement: dict[str, Any], of_what: str) -> str:
    for name, side in (("radius_above_half", "more"), ("radius_below_half", "less")):
        l2 = statement[name]["l2"]
        if l2 > 0:
            return f"{side} than half {of_what} at every input of l2 distance below {round_down(l2, 6)}"
    return ""


def _alarm_sentence(alarm: bool, l2: float, sentence: str) -> str:
    within = f"within {ALARM_RADIUS} standard deviations of the noise (l2 distance {round_down(l2, 6)})"
    if alarm:
        return f"ALARM: most of the votes are expected outside the lungs, whatever change {within}. {sentence}"
    return f"{sentence} No alarm: it is not certified that most of the votes lie outside the lungs {within}."


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
    inside, outside = (_side(hits, eta_part(eta, 2)) for hits in (copies, copies[::-1]))
    m, top_k = int(copies.sum()), copies.size - 1
    return RegionCertificate(
        observed=float(np.arange(copies.size) @ copies) / (m * top_k),
        share_lower=inside[0],
        share_upper=min(1.0, math.nextafter(1 - outside[0], 2)),
        tails_inside=inside[1],
        tails_outside=outside[1],
        sigma=sigma,
        eta=eta,
    )


def _side(copies: npt.NDArray[np.integer[Any]], eta: float) -> tuple[float, Array]:
    """Lower bounds on the expected share and on the chances of 1, 2, ..., k hits or more, at eta in all."""
    m, top_k = int(copies.sum()), copies.size - 1
    part = eta_part(eta, 2)
    seen = np.flatnonzero(copies)
    mean = _mean_lower(seen / top_k, copies[seen].astype(np.float64), m, part)
    reached = np.cumsum(copies[::-1])[::-1][1:]
    tails = clopper_pearson_bounds(reached, m, level=eta_part(part, top_k)).lower
    return max(mean, float(tails.mean()) * _DOWN), tails


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
