"""Radii from the cells that decide: Renyi and Neyman-Pearson (docs/theory/map.md, T1 and T2)."""

from __future__ import annotations

from collections.abc import Sequence

from monai_robustinterp.audit.real import MP, Real, phi_inverse

COARSE_ORDERS = tuple(1 + MP.mpf(10) ** (MP.mpf(step) / 2) for step in range(-12, 13))
"""Renyi orders 1 + 10^-6 to 1 + 10^6, two a decade."""
FIRST_ORDER = COARSE_ORDERS[0]
"""The order that stands for all where they give the same radius: none, or an unbounded one."""


def neyman_pearson_radius(inside: Sequence[Real], outside: Sequence[Real], sigma: Real) -> Real:
    """Half of sigma (Phi^-1(the largest inside) - Phi^-1(the smallest outside)); 0 if they do not stand in that order.

    Args:
        inside: shares (or lower bounds on them) of the cells of the reported set that decide.
        outside: shares (or upper bounds) of the cells outside that decide.
        sigma: standard deviation of the noise.
    """
    high, low = max(inside), min(outside)
    return sigma / 2 * (phi_inverse(high) - phi_inverse(low)) if high > low else MP.mpf(0)


def renyi_radius(epsilon: Real, alpha: Real, sigma: Real) -> Real:
    """The radius sigma sqrt(2 epsilon / alpha)."""
    return sigma * MP.sqrt(2 * epsilon / alpha)


def renyi_epsilon(inside: Sequence[Real], outside: Sequence[Real], alpha: Real) -> Real:
    """The cheapest Renyi divergence of order alpha > 1 that swaps the cells: the sound form (L5).

    Args:
        inside: masses p = q / k of the cells of the reported set that decide.
        outside: masses of the cells outside that decide.
        alpha: the order.
    """
    if max(inside) <= min(outside):
        return MP.mpf(0)
    if min(outside) == 0:
        mass = sum(inside)
        return MP.inf if mass >= 1 else -MP.log(1 - mass)
    powers = {p: p ** (1 - alpha) for p in {*inside, *outside} if p > 0}

    def tied(tau: Real) -> list[Real]:
        return [p for p in inside if p > tau] + [p for p in outside if p < tau]

    def rising(tau: Real) -> Real:
        cells = tied(tau)
        return tau ** (alpha - 1) * sum(powers[p] for p in cells) - len(cells)

    steps = sorted(powers)
    below, above = 0, len(steps) - 1
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if rising(steps[middle]) <= 0 else (below, middle)
    cells = tied((steps[below] + steps[above]) / 2)
    common = (sum(powers[p] for p in cells) / len(cells)) ** (1 / (1 - alpha))
    return -MP.log(1 + sum(common - p for p in cells))


def best_squared_radius(inside: Sequence[Real], outside: Sequence[Real]) -> Real:
    """The largest epsilon / alpha over the coarse grid of orders."""
    return max(renyi_epsilon(inside, outside, alpha) / alpha for alpha in COARSE_ORDERS)
