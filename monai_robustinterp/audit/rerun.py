"""The rerun level (docs/theory/bounds.md, T9): what a fresh run at a perturbed input reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai_robustinterp.audit.binomial import tail_at_least
from monai_robustinterp.audit.real import Real, phi

Cells = Sequence[tuple[Real, int]]


@dataclass(frozen=True, kw_only=True)
class FreshRun:
    """What is known of a fresh run at a perturbed input.

    Attributes:
        missed: for the reported cells, the largest chance that a copy does not vote for the cell, with the number of
            such cells.
        gained: for the other cells, the largest chance that a copy votes for the cell, with the number of such cells.
        needed: s - r, the wrong cells on a side that a violation has for certain.
        n_samples: m', its copies.
    """

    missed: Cells
    gained: Cells
    needed: int
    n_samples: int

    @classmethod
    def at(cls, shift: Real, *, inside: Cells, outside: Cells, needed: int, n_samples: int) -> FreshRun:
        """The run at L / sigma = shift, from the quantiles of the bounds: lower ones inside, upper ones outside."""
        missed = [(phi(shift - quantile), number) for quantile, number in inside]
        gained = [(phi(quantile + shift), number) for quantile, number in outside]
        return cls(missed=missed, gained=gained, needed=needed, n_samples=n_samples)

    def failure(self, threshold: int) -> Real:
        """Bound on the chance of a violation, with this fresh count between the two ways to fail."""
        return self._too_few(threshold) + self._too_many(threshold)

    def possible(self, level: Real, *, near: int) -> bool:
        """Whether some threshold has a failure <= level; the search starts at ``near``, a count in [0, m').

        One of the two parts rises with the threshold and the other falls, so a search in one direction ends where the
        part that rises alone exceeds the level.
        """
        for threshold in range(near, self.n_samples):
            rising = self._too_few(threshold)
            if rising > level:
                break
            if rising + self._too_many(threshold) <= level:
                return True
        for threshold in range(near - 1, -1, -1):
            rising = self._too_many(threshold)
            if rising > level:
                break
            if rising + self._too_few(threshold) <= level:
                return True
        return False

    def balanced(self) -> int:
        """A threshold at which the two parts are about equal."""
        low, high = 0, self.n_samples - 1
        while low < high:
            middle = (low + high) // 2
            if self._too_few(middle) < self._too_many(middle):
                low = middle + 1
            else:
                high = middle
        return low

    def _too_few(self, threshold: int) -> Real:
        # At most t votes are at least m' - t copies without one.
        return self._side(self.missed, self.n_samples - threshold)

    def _too_many(self, threshold: int) -> Real:
        return self._side(self.gained, threshold + 1)

    def _side(self, cells: Cells, errors: int) -> Real:
        tails = [(tail_at_least(errors, self.n_samples, chance), number) for chance, number in cells]
        return rueger(sorted(tail for tail, number in tails for _ in range(number)), self.needed)


def rueger(tails: Sequence[Real], needed: int) -> Real:
    """Bound on the chance that at least ``needed`` of some events happen, from their ascending chances alone.

    The minimum over G of the sum of all but the G largest over needed - G (Markov's inequality after giving G for
    free; Rueger 1978).
    """
    most = len(tails) - needed + 1
    rest = best = sum(tails[:most])
    for left in range(2, needed + 1):
        rest += tails[most + left - 2]
        best = min(best, rest / left)
    return best
