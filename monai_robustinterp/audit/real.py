"""Real numbers for the audit: 40 digits, so that round-off never decides."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

from mpmath import MPContext

Real = Any  # an mpf of MP: mpmath states no types
MP = MPContext()
MP.dps = 40


def phi(x: Real) -> Real:
    """The standard normal distribution function."""
    return MP.ncdf(x)


def phi_inverse(p: Real) -> Real:
    """The standard normal quantile: minus infinity at 0, infinity at 1."""
    p = MP.mpf(p)
    if p > 0.5:
        return -phi_inverse(1 - p)
    if p <= 0:
        return -MP.inf
    # Newton's method for ln phi, which is concave: from anywhere it converges, and from a double in two or three steps.
    x = MP.mpf(NormalDist().inv_cdf(max(float(p), 1e-300)))
    for _ in range(100):
        share = MP.ncdf(x)
        step = share * MP.log(share / p) / MP.npdf(x)
        x -= step
        if abs(step) < MP.mpf(10) ** -36:
            break
    return x
