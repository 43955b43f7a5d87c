"""Early stopping (T11): looks at sample sizes fixed beforehand, with eta split over them beforehand.

*Validity at any stopping time.* Let F_j be the event that the claim made from the first m_j copies at level eta_j is
false (for the map: that more than r bounds of the mass-weighted table are wrong). m_j and eta_j are fixed before the
noise, so P(F_j) <= eta_j. Whatever rule picks the look J at which sampling stops, a false claim at J lies in the union
of the F_j, so its probability is at most sum eta_j <= eta. Nothing else is used: not independence of the looks, and not
how the rule works. The copies after the last look are never read.

*The split.* With n looks, known beforehand, each gets eta / n. A bound pays for its level through ln(1 / eta_j), so
this costs every look the same ln n, and no other split has a smaller largest cost. Weights such as 1 / ((j + 1)(j + 2))
are for sequences without an end: over 7 looks they would cost the last one, which matters for the hard images, ln 49
instead of ln 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """A sample size at which the votes may be certified and sampling may stop.

    Attributes:
        n_samples: m_j: exactly the first so many copies are read.
        eta: eta_j, the failure probability to certify with at this look. The claim that is reported holds with
            probability >= 1 - eta of the whole schedule, and says that one.
    """

    n_samples: int
    eta: float


def look_schedule(eta: float, first_look: int, *, max_samples: int) -> tuple[Look, ...]:
    """The looks m_0, 2 m_0, 4 m_0, ... below ``max_samples``, and ``max_samples`` itself, with eta in equal parts.

    At each look in turn, certify the first m_j copies with eta_j (the mass-weighted table, the label, a region) and
    stop, or not, by any rule: with probability >= 1 - eta no look's claim is false, hence not the reported one. Claims
    at one look that need eta split between them (label and map, several regions) split eta_j.

    Args:
        eta: failure probability of the reported claim in (0, 1).
        first_look: m_0 >= 1.
        max_samples: copies at which sampling ends in any case, >= m_0.

    Raises:
        ValueError: if a number is out of range.
    """
    if not 0 < eta < 1:
        raise ValueError(f"eta is {eta}; it must lie in (0, 1), such as 0.001.")
    if not 1 <= first_look <= max_samples:
        raise ValueError(
            f"first_look is {first_look} and max_samples {max_samples}; the first must lie in [1, max_samples]."
        )
    sizes = []
    size = first_look
    while size < max_samples:
        sizes.append(size)
        size *= 2
    sizes.append(max_samples)
    return tuple(Look(n_samples=m, eta=eta_part(eta, len(sizes))) for m in sizes)


def covering_radius(norm: float, *, sigma: float) -> float:
    """The radius at which sampling may stop when a change of the image is to be covered: the least one above its norm.

    The change and its norm are known before the noise, so the looks cost what they cost for any other radius.

    Args:
        norm: of the change at the network's input, in standard deviations of the noise, >= 0, rounded up.
        sigma: standard deviation of the noise.

    Returns:
        The l2 radius, rounded up: every radius from it on is above norm * sigma.

    Raises:
        ValueError: if the norm is none, or the radius not finite.
    """
    radius = math.nextafter(norm * sigma * (1 + 1e-12), math.inf)
    if not (norm >= 0 and sigma > 0 and radius < math.inf):
        raise ValueError(f"the norm is {norm} and sigma {sigma}; they must be finite, >= 0 and > 0.")
    return radius


def eta_part(eta: float, parts: int) -> float:
    """One of equal parts of eta, rounded down so that together they never exceed it."""
    return eta if parts <= 1 else math.nextafter(eta / parts, 0)
