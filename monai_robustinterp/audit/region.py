"""The betting bound on a region's share of the votes (docs/theory/bounds.md, T7)."""

from __future__ import annotations

from collections.abc import Sequence

from monai_robustinterp.audit.real import MP, Real


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
