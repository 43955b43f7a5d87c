"""Binomial tails as sums of positive terms, and the two tables of bounds of docs/theory/bounds.md, T5 and T6.

With P = P[Bin(m, q) >= x] and S the sum of its terms over the first one, d ln P / d ln q = x / S, and S grows with q.
So ln P is concave in ln q, and Newton's method approaches a level from one side; no bracket is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from monai_robustinterp.audit.real import MP, Real

_BITS = 160
_ONE = 1 << _BITS
_DIGITS = 120  # binary digits of a sum, after which its falling terms no longer count


def tail_at_least(x: int, m: int, q: Real) -> Real:
    """P[Bin(m, q) >= x], to about 35 digits of itself."""
    if x <= 0 or q >= 1:
        return MP.mpf(x <= m)
    if x > m or q <= 0:
        return MP.mpf(0)
    if x < m * q:  # most of the mass: the rest has fewer terms
        return 1 - tail_at_least(m - x + 1, m, 1 - q)
    return MP.exp(_log_first(x, m, MP.log(q), MP.log(1 - q))) * _terms_over_first(x, m, q)


def _log_first(x: int, m: int, log_q: Real, log_rest: Real) -> Real:
    """Logarithm of P[Bin(m, q) = x], from those of q and 1 - q."""
    return _log_combinations(m, x) + x * log_q + (m - x) * log_rest


@lru_cache(maxsize=1024)
def _log_combinations(m: int, x: int) -> Real:
    return MP.loggamma(m + 1) - MP.loggamma(x + 1) - MP.loggamma(m - x + 1)


def _terms_over_first(x: int, m: int, q: Real) -> Real:
    """S: P[Bin(m, q) >= x] over P[Bin(m, q) = x], in whole numbers with 160 bits after the point."""
    odds = int(MP.floor(q / (1 - q) * _ONE))
    term = total = _ONE
    for successes in range(x, m):
        term = (term * odds * (m - successes) >> _BITS) // (successes + 1)
        total += term
        if term << _DIGITS < total and (m - successes) * odds < (successes + 1) * _ONE:
            break
    return MP.mpf(total) / _ONE


def mass_weighted_lower(x: int, m: int, level: Real) -> Real:
    """sup{q: P[Bin(m, q') >= x] <= level q' for all q' <= q}."""
    return _rising_root(x, m, level, weight=1) if x >= 2 else MP.mpf(0)


def mass_weighted_upper(x: int, m: int, level: Real) -> Real:
    """sup{q: P[Bin(m, q) <= x] > level q}."""
    if x >= m:
        return MP.mpf(1)
    failures = m - x

    def excess(log_q: Real) -> tuple[Real, Real]:
        # With p = 1 - q it is P[Bin(m, p) >= m - x]; both parts of the slope fall with q, so this is concave too.
        q = MP.exp(log_q)
        total = _terms_over_first(failures, m, 1 - q)
        log_tail = _log_first(failures, m, MP.log(1 - q), log_q) + MP.log(total)
        return log_tail - log_q - MP.log(level), -q / (1 - q) * failures / total - 1

    return MP.exp(_newton(excess, MP.log(MP.mpf(x + 1) / (m + 1))))


def clopper_pearson_lower(x: int, m: int, level: Real) -> Real:
    """sup{q: P[Bin(m, q) >= x] <= level}."""
    return _rising_root(x, m, level, weight=0) if x > 0 else MP.mpf(0)


def _rising_root(x: int, m: int, level: Real, *, weight: int) -> Real:
    """The first q at which P[Bin(m, q) >= x] reaches level * q**weight."""

    def excess(log_q: Real) -> tuple[Real, Real]:
        q = MP.exp(log_q)
        total = _terms_over_first(x, m, q)
        log_tail = _log_first(x, m, log_q, MP.log(1 - q)) + MP.log(total)
        return log_tail - weight * log_q - MP.log(level), x / total - weight

    # P <= C(m, x) q^x, so the root is not left of this start.
    return MP.exp(_newton(excess, (MP.log(level) - _log_combinations(m, x)) / (x - weight)))


def _newton(excess: Callable[[Real], tuple[Real, Real]], start: Real) -> Real:
    """The root in (-infinity, 0) of a concave function that is given with its slope."""
    point = start
    for _ in range(1000):
        value, slope = excess(point)
        following = min(point - value / slope, point / 2)
        if abs(following - point) < MP.mpf(10) ** -30:
            return following
        point = following
    raise ArithmeticError("Newton's method did not converge; the concavity shown above excludes it.")
