"""Class Distortion Score: the explained class should change, the others should not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from monai_robustinterp.interpreters.robust_perturbation import divergences
from monai_robustinterp.metrics.base import Array, Case, Direction, Metric
from monai_robustinterp.metrics.non_target_distortion import CELLS_FOR_MASK, require_other_classes
from monai_robustinterp.metrics.top_cells import film_without, top_cells

_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class CdsLogOdds(Metric):
    """Fall of the explained class's log-odds, minus the mean fall of the others'."""

    name: ClassVar[str] = "cds_log_odds"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Class Distortion Score as on the authors' slides: the difference of the log-odds of film and masked film of "
        "the explained class, minus its mean over the others (Kim, Kim, Kim and Ro, IEEE TIP 31:301, 2022)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        CELLS_FOR_MASK,
        "Differences have a sign, film minus masked film, as in an unused function of the authors' code; the slides "
        "do not say. A rise of one other class makes up for the fall of another one.",
        "Log-odds come from the logits, without the 1e-7 that the code adds.",
    )

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in units of log-odds, of any sign."""
        logits = case.logits(torch.cat([case.image[None], film_without(case, top_cells(case))]))
        require_other_classes(case, logits.shape[1])
        film, masked = _log_odds(case, logits)
        falls = film - masked
        return float(falls[case.target] - np.delete(falls, case.target).mean())


@dataclass(frozen=True, kw_only=True)
class CdsKl(Metric):
    """Logarithm of how many times more the explained class diverges than the others."""

    name: ClassVar[str] = "cds_kl"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "Class Distortion Score as in the authors' code: ln(1 + (KL_T + 1e-7) / (KL_NT + 1e-7)) with the Bernoulli "
        "KL of film and masked film of the explained class and its mean over the others (Kim, Kim, Kim and Ro, IEEE "
        "TIP 31:301, 2022)."
    )
    deviations: ClassVar[tuple[str, ...]] = (CELLS_FOR_MASK,)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; above 0, ln 2 where all classes diverge alike."""
        films = torch.cat([case.image[None], film_without(case, top_cells(case))])
        film, masked = torch.as_tensor(case.probabilities(films))
        require_other_classes(case, len(film))
        kl = divergences(film, masked, "kl").numpy()
        return float(np.log1p((kl[case.target] + _EPSILON) / (np.delete(kl, case.target).mean() + _EPSILON)))


def _log_odds(case: Case, logits: torch.Tensor) -> Array:
    """ln(p / (1 - p)) of each class, [N, C]; finite however near p is to 0 or 1."""
    if case.multi_label:
        return logits.numpy()
    classes = range(logits.shape[1])
    rest = [logits[:, [other for other in classes if other != one]].logsumexp(dim=1) for one in classes]
    odds: Array = (logits - torch.stack(rest, dim=1)).numpy()
    return odds
