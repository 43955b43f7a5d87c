"""Discordant pairs (docs/theory/, T4 and T8): how far no s reported and s other cells can be swapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from monai_robustinterp.audit.binomial import mass_weighted_lower, tail_at_least
from monai_robustinterp.audit.real import MP, Real, phi, phi_inverse

_DISCORDANCE = MP.mpf(1) / 10  # the part of eta for the share of copies that tell a pair apart
_REVERSAL = MP.mpf(1) / 10  # the part of the rest for the case that the other cell is ahead


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of a reported and another cell.

    Attributes:
        wins: copies that vote for the reported cell and not for the other, a row for each reported cell.
        losses: copies that vote the other way.
        lower: quantile of the lower bound of each reported cell.
        upper: quantile of the upper bound of each other cell.
        n_samples: m.
        eta: part of eta for the pairs.
        wrong: r.
        needed: s - r.
    """

    wins: Sequence[Sequence[int]]
    losses: Sequence[Sequence[int]]
    lower: Sequence[Real]
    upper: Sequence[Real]
    n_samples: int
    eta: Real
    wrong: int
    needed: int

    def holds(self, shift: Real) -> bool:
        """Whether every L / sigma below ``shift`` > 0 is certified: the pairs of smaller radius leave no core."""
        columns = range(len(self.upper))
        by_cells = [[low - high < 2 * shift for high in self.upper] for low in self.lower]
        # A cell outside the core of these is outside that of fewer, and its pairs need not be looked at.
        rows, inside_core = core(by_cells, self.needed)
        fewest = cache(lambda apart: self._fewest_wins(apart, shift))
        failing = [
            [
                a in rows
                and b in inside_core
                and by_cells[a][b]
                and self.wins[a][b] < fewest(self.wins[a][b] + self.losses[a][b])
                for b in columns
            ]
            for a in range(len(self.lower))
        ]
        return not core(failing, self.needed)[0]

    def _fewest_wins(self, apart: int, shift: Real) -> int:
        """The fewest wins at which a pair that ``apart`` copies tell apart has this radius, or one more than there are.

        Both tails fall with the wins; t_lo reaches t where the tail at t does not exceed its level.
        """
        pairs = len(self.lower) * len(self.upper)
        part = self.eta * (self.wrong + 1) / pairs
        share = mass_weighted_lower(apart, self.n_samples, _DISCORDANCE * part)
        if share == 0:
            return apart + 1
        needed, half = majority_for(share, shift), MP.mpf(1) / 2
        level = (1 - _DISCORDANCE) * part * apart / self.n_samples
        low, high = apart // 2, apart + 1
        while high - low > 1:
            middle = (low + high) // 2
            shown = tail_at_least(middle, apart, half) <= _REVERSAL * level
            if shown and tail_at_least(middle, apart, needed) <= (1 - _REVERSAL) * level:
                high = middle
            else:
                low = middle
        return high


def majority_for(share: Real, shift: Real) -> Real:
    """The t at which (Phi^-1(v t) - Phi^-1(v (1 - t))) / 2 = shift > 0, for v = share; the left side rises with t.

    With z = Phi^-1(v (1 - t)) it says Phi(z + 2 shift) + Phi(z) = v, and v / 2 lies between the two terms.
    """
    high = phi_inverse(share / 2)
    low = high - 2 * shift
    while high - low > MP.mpf(10) ** -28:
        middle = (low + high) / 2
        if phi(middle + 2 * shift) + phi(middle) < share:
            low = middle
        else:
            high = middle
    return phi(high + 2 * shift) / share


def core(failing: Sequence[Sequence[bool]], needed: int) -> tuple[set[int], set[int]]:
    """Rows and columns that are left when those with fewer than ``needed`` entries are taken away, again and again."""
    rows, columns = set(range(len(failing))), set(range(len(failing[0])))
    while True:
        kept = {a for a in rows if sum(failing[a][b] for b in columns) >= needed}
        others = {b for b in columns if sum(failing[a][b] for a in kept) >= needed}
        if (kept, others) == (rows, columns):
            return rows, columns
        rows, columns = kept, others
