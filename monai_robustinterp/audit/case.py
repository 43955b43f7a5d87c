"""The case: what was claimed about which counts, and the bounds that follow from them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from monai_robustinterp.audit.binomial import mass_weighted_lower, mass_weighted_upper
from monai_robustinterp.audit.expect import as_number
from monai_robustinterp.audit.pairs import Pairs
from monai_robustinterp.audit.real import MP, Real, phi_inverse
from monai_robustinterp.audit.sentences import FORMAT
from monai_robustinterp.audit.strict import AuditError
from monai_robustinterp.audit.votes import StoredVotes

_DECIMAL = re.compile(r"\d{0,20}\.?\d{0,40}(e[-+]?\d{1,3})?|\d{1,20}/\d{1,20}", re.IGNORECASE)
_LARGEST = 1e12  # of what a record may hold: more is no radius


@dataclass(frozen=True, kw_only=True)
class Case:
    """A claim and the counts that it was made from.

    Attributes:
        record: content of certificate.json, of which only the numbers of a chain are read: what follows from a number
            is computed from the one that stands there, and that one is compared itself.
        votes: the counts.
        beta: certified share of the reported cells.
        eta: failure probability.
    """

    record: Mapping[str, Any]
    votes: StoredVotes
    beta: Fraction
    eta: float

    @classmethod
    def of(cls, record: Any, votes: StoredVotes) -> Case:
        """Reads the claim.

        Raises:
            AuditError: if the record is of another format, or its claim is none.
        """
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise AuditError(f"the certificate is not of the format {FORMAT!r}, which is the one that is audited.")
        claim = record.get("claim")
        beta, eta = (claim.get("beta"), claim.get("eta")) if isinstance(claim, Mapping) else (None, None)
        if not isinstance(eta, float) or not (0 < eta < 1 and 1 - eta < 1):
            raise AuditError("the claim has no eta in (0, 1): the certificate is damaged.")
        share = exact_share(beta)
        if not 0 < share <= 1:
            raise AuditError("the claim has no beta in (0, 1]: the certificate is damaged.")
        return cls(record=record, votes=votes, beta=share, eta=eta)

    def number(self, *path: str | int) -> float:
        """A number of the record, 0 where there is none: it is then reported where it stands."""
        value: Any = self.record
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return 0.0
        found = as_number(value)
        return float(found) if found is not None and 0 < found < _LARGEST else 0.0

    @property
    def sigma(self) -> Real:
        """Standard deviation of the noise."""
        return MP.mpf(self.votes.spec["sigma"])

    @property
    def overlap(self) -> int:
        """ceil(beta k): reported cells that must stay."""
        return math.ceil(self.beta * self.votes.top_k)

    @property
    def swaps(self) -> int:
        """s: cells that must be swapped to break the claim."""
        return self.votes.top_k - self.overlap + 1

    @property
    def wrong(self) -> int:
        """r: bounds that may be wrong, fixed beforehand from s."""
        return self.swaps // 50

    @property
    def used(self) -> int:
        """Cells on each side of which a violation has right bounds for certain: s - r."""
        return self.swaps - self.wrong

    @property
    def n_pixels(self) -> int:
        """Dimension of the noise."""
        return self.votes.input_shape[0] * self.votes.input_shape[1]

    @property
    def is_trivial(self) -> bool:
        """Whether there are fewer than s cells to swap with."""
        return self.votes.top_k + self.swaps > len(self.votes.counts)

    @property
    def eta_cells(self) -> Real:
        """The part of eta that the bounds on cells spend: of one look, half of it where pairs have the other half."""
        return MP.mpf(self.eta) / (self.votes.looks * (1 if self.votes.pair_counts is None else 2))

    @cached_property
    def ordered(self) -> list[int]:
        """The counts in descending order: the reported set, then the others."""
        return sorted(self.votes.counts, reverse=True)

    def pairs(self) -> Pairs:
        """The pairs of a reported and another cell, for votes with pair counts; equal counts in reading order."""
        counts, joint = self.votes.counts, self.votes.pair_counts or []
        cells = sorted(range(len(counts)), key=lambda cell: -counts[cell])
        inside, outside = cells[: self.votes.top_k], cells[self.votes.top_k :]
        return Pairs(
            wins=[[counts[a] - joint[a][b] for b in outside] for a in inside],
            losses=[[counts[b] - joint[a][b] for b in outside] for a in inside],
            lower=[phi_inverse(self.lower[counts[a]]) for a in inside],
            upper=[phi_inverse(self.upper[counts[b]]) for b in outside],
            n_samples=self.votes.n_samples,
            eta=self.eta_cells,
            wrong=self.wrong,
            needed=self.used,
        )

    def blind(self) -> Case:
        """The same claim about as many copies of a map that ignores the image: all vote for the same cells."""
        m, k, c = self.votes.n_samples, self.votes.top_k, len(self.votes.counts)
        counts = [m] * k + [0] * (c - k)
        pairs = (
            None if self.votes.pair_counts is None else [[m * (a < k and b < k) for b in range(c)] for a in range(c)]
        )
        return replace(self, votes=replace(self.votes, counts=counts, pair_counts=pairs))

    @cached_property
    def lower(self) -> dict[int, Real]:
        """Lower bound on the share of each count of the reported set."""
        k, m = self.votes.top_k, self.votes.n_samples
        return {x: mass_weighted_lower(x, m, self._level) for x in Counter(self.ordered[:k])}

    @cached_property
    def upper(self) -> dict[int, Real]:
        """Upper bound on the share of each count outside it."""
        k, m = self.votes.top_k, self.votes.n_samples
        return {x: mass_weighted_upper(x, m, self._level) for x in Counter(self.ordered[k:])}

    @cached_property
    def inside_quantiles(self) -> list[tuple[Real, int]]:
        """Quantile of the lower bound of the reported cells, with their number."""
        cells = Counter(self.ordered[: self.votes.top_k])
        return [(phi_inverse(self.lower[x]), number) for x, number in cells.items()]

    @cached_property
    def outside_quantiles(self) -> list[tuple[Real, int]]:
        """Quantile of the upper bound of the other cells, with their number."""
        cells = Counter(self.ordered[self.votes.top_k :])
        return [(phi_inverse(self.upper[x]), number) for x, number in cells.items()]

    @property
    def _level(self) -> Real:
        return self.eta_cells * (self.wrong + 1) / (2 * self.votes.top_k)


def exact_share(beta: Any) -> Fraction:
    """The share that a text says, exactly; 0 if it says none."""
    if not isinstance(beta, str) or not _DECIMAL.fullmatch(beta):
        return Fraction(0)
    try:
        return Fraction(beta)
    except (ValueError, ZeroDivisionError):
        return Fraction(0)
