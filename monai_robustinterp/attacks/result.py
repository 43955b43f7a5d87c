"""What an attack spent and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from monai_robustinterp.certificates.units import round_up


@dataclass(frozen=True, kw_only=True)
class AttackBudget:
    """How hard the attack tried.

    Attributes:
        guide_draws: fixed draws of the noise through which the smoothed map is attacked.
        restarts: starts for each map and radius: the clean image first, then random points on the sphere.
        steps: steps a restart, on the smoothed map.
        plain_steps: steps a restart, on the plain map.
        fresh_samples: fresh copies m' that judge.
        gamma: probability of a wrong "broken", for each radius.
        seed: of the guide, the starts and the fresh noise.

    Raises:
        ValueError: if a number is out of range.
    """

    guide_draws: int
    restarts: int
    steps: int
    plain_steps: int
    fresh_samples: int
    gamma: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("guide_draws", "restarts", "steps", "plain_steps", "fresh_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; an attack needs at least 1.")
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma is {self.gamma}; it must lie in (0, 1), such as 0.001.")


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """Both attacks at one radius.

    Attributes:
        factor: radius / certified radius.
        radius: bound of both perturbations: sigma times their length in standard deviations of the noise, which for
            white noise is their l2 norm in units of the network's single-channel input.
        certified_overlap: ceil(beta k), claimed for the smoothed map at every norm below the certified radius.
        plain_overlap: cells that the plain map's top-k keeps of its own clean one; exact.
        plain_norm: length, in the same unit, of the plain map's perturbation.
        overlap: cells that the top-k of fresh votes keeps of the reported set; an observation, which may lie below
            ``certified_overlap`` by sampling error alone.
        norm: length of the smoothed map's perturbation.
        broken: whether the expected vote map keeps fewer than ``certified_overlap`` cells, with confidence 1 - gamma.
        label_kept: whether the network decides at both perturbations as it does on the clean image.
        budget: how hard the attack tried.
    """

    factor: float
    radius: float
    certified_overlap: int
    plain_overlap: int
    plain_norm: float
    overlap: int
    norm: float
    broken: bool
    label_kept: bool
    budget: AttackBudget

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        where = f"at {self.factor:g} times the certified radius"
        if self.broken:
            return (
                f"broken {where}: with confidence 1 - {round_up(self.budget.gamma)} the expected vote map keeps fewer "
                f"than {self.certified_overlap} of the reported cells."
            )
        return (
            f"not broken {where}: {self.overlap} of the reported cells are in the top-k of {self.budget.fresh_samples} "
            f"fresh copies, and their votes do not show that the expected map keeps fewer than "
            f"{self.certified_overlap}. A stronger attack may exist."
        )
