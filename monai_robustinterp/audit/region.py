"""What the hits of a region give: bounds on its share of the votes (docs/theory/label_region.md, T15)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from monai_robustinterp.audit import sentences
from monai_robustinterp.audit.binomial import clopper_pearson_lower
from monai_robustinterp.audit.case import Case
from monai_robustinterp.audit.expect import Judged, Leaf, Same, follows, four_digits, guarantee, near
from monai_robustinterp.audit.real import MP, Real, phi, phi_inverse

ALARM_RADIUS = 0.5
"""In standard deviations of the noise: the alarm is told of the lungs up to there."""

LUNGS = "lungs ("
"""Beginning of the name of the region of the lung fields."""

_SLACK = MP.mpf(3) * MP.mpf(10) ** -6  # of the logarithm of the wealth, which is rounded against the claim
_LEAST = MP.mpf(2) ** -60  # where the search for a bound ends
_ROUNDED = MP.mpf(10) ** -8  # of a mean of bounds, each rounded against the claim
_HALVINGS = 70


def log_wealth(mean: Real, hits: Sequence[int], eta: Real) -> Real:
    """Logarithm of K(mean): what the mixed bets have won against the guess that the expected share is at most ``mean``.

    Args:
        mean: the guess, in (0, 1].
        hits: entry j is the number of copies that cast j of their k votes in the region.
        eta: failure probability, which fixes the bets.
    """
    top_k, copies = len(hits) - 1, sum(hits)
    odds = MP.log(1 / eta)
    bet = 2 * MP.sqrt(2 * odds / copies)
    bets = [bet]
    while bets[-1] < copies / odds:
        bets.append(2 * bets[-1])
    wealth = MP.mpf(0)
    for bet in bets:
        stake = min(bet, 1 / mean)
        product = MP.mpf(1)
        for count, number in enumerate(hits):
            if number:
                product *= (1 + stake * (MP.mpf(count) / top_k - mean)) ** number
        wealth += product
    return MP.log(wealth / len(bets)) if wealth > 0 else -MP.inf


def regions(case: Case) -> list[dict[str, Any]]:
    """Expectation of ``regions``: all regions together at eta, each side at half of a region's part."""
    return [_region(case, position) for position in range(len(case.votes.regions))]


def _region(case: Case, position: int) -> dict[str, Any]:
    region, votes = case.votes.regions[position], case.votes
    l2 = case.number("claim", "l_max", "l2")
    hits = sum(count * number for count, number in enumerate(region.hits))
    lower, upper = (MP.mpf(case.number("regions", position, f"share_{side}")) for side in ("lower", "upper"))
    at_least, at_most = (case.number("regions", position, name) for name in ("at_least", "at_most"))
    inside, outside = _Side(case, region.hits, lower), _Side(case, region.hits[::-1], 1 - upper)
    expected = {
        "name": Same(region.name),
        "n_cells": Same(sum(region.cells)),
        "seen": Same(region.seen),
        "observed": near(MP.mpf(hits) / (votes.n_samples * votes.top_k)),
        "share_lower": Judged(inside.problem("less", "a larger"), lower),
        "share_upper": Judged(outside.problem("more", "a smaller"), upper),
        "eta": Same(case.eta),
        "l2": Same(l2),
        "at_least": four_digits(inside.least(l2 / case.sigma), at_least),
        "at_most": four_digits(1 - outside.least(l2 / case.sigma), at_most, upwards=True),
        "radius_above_half": _radius(case, position, "radius_above_half", inside),
        "radius_below_half": _radius(case, position, "radius_below_half", outside),
    }
    sentence = sentences.of_a_region(
        at_least,
        at_most,
        above_half=case.number("regions", position, "radius_above_half", "l2"),
        below_half=case.number("regions", position, "radius_below_half", "l2"),
        eta=case.eta,
        l2=l2,
    )
    if region.name.startswith(LUNGS):
        alarm = case.number("regions", position, "radius_below_half", "in_noise") >= ALARM_RADIUS
        radius = ALARM_RADIUS * votes.spec["sigma"]
        expected |= {"alarm": Same(alarm), "alarm_radius": {"l2": Same(radius), "in_noise": Same(ALARM_RADIUS)}}
        sentence = sentences.with_alarm(sentence, alarm=alarm, l2=radius, in_noise=ALARM_RADIUS)
    return expected | {"sentence": Same(sentence)}


@lru_cache(maxsize=256)
def tails(hits: tuple[int, ...], eta: Real) -> tuple[Real, ...]:
    """Lower bounds on the chances that a copy casts 1, 2, ..., k votes or more in the region; all hold but for eta.

    Args:
        hits: as for :func:`log_wealth`.
        eta: failure probability of all of them.
    """
    top_k, copies = len(hits) - 1, sum(hits)
    return tuple(clopper_pearson_lower(sum(hits[j:]), copies, eta / top_k) for j in range(1, top_k + 1))


@lru_cache(maxsize=256)
def _quantiles(hits: tuple[int, ...], eta: Real) -> tuple[Real, ...]:
    return tuple(map(phi_inverse, tails(hits, eta)))


def _share_by_tails(hits: tuple[int, ...], eta: Real, r: Real) -> Real:
    """What the share is at least, r standard deviations of the noise away, by the chances of the tails."""
    quantiles = _quantiles(hits, eta)
    return MP.fsum(phi(quantile - r) for quantile in quantiles) / len(quantiles)


@lru_cache(maxsize=256)
def _radius_by_tails(hits: tuple[int, ...], eta: Real) -> Real:
    """Where that falls to one half."""
    low, high = MP.mpf(0), max(MP.mpf(0), *_quantiles(hits, eta))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _share_by_tails(hits, eta, middle) > MP.mpf("0.5") else (low, middle)
    return high if low > 0 else MP.mpf(0)


class _Side:
    """The bounds on the share of the votes on one side of a region's edge.

    Args:
        case: the record.
        hits: entry j is the number of copies that cast j of their k votes on that side.
        share: the recorded lower bound on that share in the image itself.
    """

    def __init__(self, case: Case, hits: Sequence[int], share: Real) -> None:
        self.hits, self.share = tuple(hits), share
        self.eta = MP.mpf(case.eta) / (4 * case.votes.looks * len(case.votes.regions))
        self.by_mean = phi_inverse(min(max(share, MP.mpf(0)), MP.mpf(1)))

    def least(self, r: Real) -> Real:
        """What the share is at least, r standard deviations of the noise away: the larger of both bounds."""
        return max(phi(self.by_mean - r), _share_by_tails(self.hits, self.eta, r))

    def radius_of_half(self) -> Real:
        """How far it stays above one half, in standard deviations of the noise."""
        return max(MP.mpf(0), self.by_mean, _radius_by_tails(self.hits, self.eta))

    def problem(self, less: str, larger: str) -> str:
        """What is wrong with the recorded share: neither bound gives it, or one gives more."""
        by_tails = _share_by_tails(self.hits, self.eta, MP.mpf(0))
        excess = log_wealth(max(self.share, _LEAST), self.hits, self.eta) - MP.log(1 / self.eta)
        if self.share > 1 or (self.share > by_tails and self.share > 0 and excess < 0):
            return f"at this share the bets have not won what the claim needs: the counts give {less}"
        missed = excess > _SLACK or self.share < by_tails * (1 - _ROUNDED)
        return f"the counts give {larger} share" if missed else ""


def _radius(case: Case, position: int, name: str, side: _Side) -> dict[str, Leaf]:
    l2 = MP.mpf(case.number("regions", position, name, "l2"))
    return {"l2": guarantee(case.sigma * side.radius_of_half()), "in_noise": follows(l2 / case.sigma)}
