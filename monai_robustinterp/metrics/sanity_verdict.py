"""The verdict of a sanity check: less alike than the maps of two films are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from monai_robustinterp.interpreters.checks import check_choice, check_whole
from monai_robustinterp.metrics.base import Case, Direction, Metric
from monai_robustinterp.metrics.sanity import Order, SanityCascading, SanityIndependent, random_pair_ssim


@dataclass(frozen=True, kw_only=True)
class RandomPairSsim(Metric):
    """Mean SSIM of random pairs of maps of different films: the threshold of the verdict.

    Attributes:
        n_pairs: number of pairs.
    """

    name: ClassVar[str] = "random_pair_ssim"
    direction: ClassVar[Direction] = "none"
    protocol: ClassVar[str] = (
        "Mean SSIM of 50 random pairs of maps of different films by the same method, below which a sanity check is "
        "passed (Arun et al., Radiology: Artificial Intelligence 3:e200267, 2021)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "Fifty pairs are drawn once, or all where there are fewer; the source's code draws 50 for each film.",
    )

    n_pairs: int = 50

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if there is no pair.
        """
        check_whole(1, n_pairs=self.n_pairs)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; in [-1, 1]."""
        return random_pair_ssim(case, n_pairs=self.n_pairs)


@dataclass(frozen=True, kw_only=True)
class SanityPassed(RandomPairSsim):
    """Whether the SSIM of a sanity check falls below that of random pairs.

    Attributes:
        order: of the check, ``cascading`` or ``independent``.
    """

    name: ClassVar[str] = "sanity_passed"
    direction: ClassVar[Direction] = "higher"
    protocol: ClassVar[str] = (
        "1 if the SSIM of the map and that of the randomized network is below the mean SSIM of 50 random pairs of maps "
        "of different films, else 0 (Arun et al., Radiology: Artificial Intelligence 3:e200267, 2021)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        *RandomPairSsim.deviations,
        *SanityCascading.deviations,
        "The verdict is of one film; the source's code compares means over films, stage by stage.",
    )

    order: Order = "cascading"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if the order is another one, or there is no pair.
        """
        super().__post_init__()
        check_choice("order", self.order, ("cascading", "independent"))

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; 0 or 1."""
        threshold = random_pair_ssim(case, n_pairs=self.n_pairs)
        check = SanityCascading() if self.order == "cascading" else SanityIndependent()
        return float(check.score(case) < threshold)
