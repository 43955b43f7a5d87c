"""How many of the reported cells different films share: what a map that looks at the film must stay below."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from monai_robustinterp.types import VoteMap


@dataclass
class ReportedSets:
    """Reported top-k sets of a run, counted cell by cell: memory does not grow with the films.

    Attributes:
        cells: films that report each cell, by the grid, k and target of their maps, and the number of films.
    """

    cells: dict[tuple[tuple[int, ...], int, int], tuple[npt.NDArray[np.int64], int]] = field(default_factory=dict)

    def add(self, votes: VoteMap, *, target: int) -> None:
        """Counts the reported set of one film for one target: of those of another one it is no other film."""
        key = (votes.counts.shape, votes.top_k, target)
        cells, films = self.cells.get(key, (np.zeros(votes.counts.shape, dtype=np.int64), 0))
        self.cells[key] = (cells + votes.top_k_mask, films + 1)

    def shared(self) -> dict[str, float] | None:
        """The mean over all pairs of films of one grid, k and target; None unless there are two such films.

        Returns:
            ``cells``: reported cells that two films share on average; ``by_chance``: what two random sets share, k^2 /
            c; ``top_k``: k; ``films``.
        """
        pairs = [(cells, n, k) for (_, k, _), (cells, n) in self.cells.items() if n > 1]
        if not pairs:
            return None
        cells, films, top_k = max(pairs, key=lambda entry: entry[1])
        shared = float((cells * (cells - 1)).sum()) / (films * (films - 1))
        return {"cells": shared, "by_chance": top_k**2 / cells.size, "top_k": top_k, "films": films}
