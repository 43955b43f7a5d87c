"""What the study measures, fixed before any copy is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Copies that choose the side in Anani et al. 2025.
FIRST_COPIES = 10

CONTROL = "*control: a fixed map*"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes and settings of one study.

    Attributes:
        name: "full" or "quick".
        images: number of images of ``sample_data``, the first by file name; None takes the films of the study.
        table_sizes: copies m of the table of radii.
        rival_sizes: copies m of the comparison with the literature.
        joint_size: copies behind the pair counts of pairs of cells, one of ``rival_sizes``.
        curve_sizes: copies m of the two curves.
        bound_sizes: copies m of the check of the bounds.
        first_look: first look of early stopping; the last one is the whole stream.
        wanted_radii: radii at which early stopping ends.
        attacked: number of images that are attacked.
        attack_samples: copies m of the attacked certificate.
        attack_factors: radii of the attack over the certified one.
        attack_budget: settings of ``attack_certificate`` that differ from its defaults.
    """

    name: str
    images: int | None
    table_sizes: tuple[int, ...]
    rival_sizes: tuple[int, ...]
    joint_size: int
    curve_sizes: tuple[int, int]
    bound_sizes: tuple[int, ...] = (64, 1000)
    first_look: int = 64
    wanted_radii: tuple[float, ...] = (0.02, 0.05, 0.08)
    attacked: int = 3
    attack_samples: int = 384
    attack_factors: tuple[float, ...] = (0.5, 1.0, 4.0)
    attack_budget: Mapping[str, int] = field(default_factory=dict)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Numbers of copies at which counts are kept, ascending."""
        sizes = {FIRST_COPIES, *self.table_sizes, *self.rival_sizes, *self.curve_sizes}
        return tuple(sorted(sizes | ({self.attack_samples} if self.attacked else set())))

    @property
    def max_samples(self) -> int:
        """Copies of the whole stream."""
        return self.prefixes[-1]


FULL = Plan(
    name="full",
    images=None,
    table_sizes=(64, 128, 256, 384, 512, 1024, 2048, 4096),
    rival_sizes=(20, 64, 200, 1000),
    joint_size=1000,
    curve_sizes=(384, 4096),
)
QUICK = Plan(
    name="quick",
    images=2,
    table_sizes=(64, 128),
    rival_sizes=(20, 64),
    joint_size=64,
    curve_sizes=(64, 128),
    bound_sizes=(64,),
    attacked=1,
    attack_samples=128,
    attack_factors=(1.0, 4.0),
    attack_budget={"guide_draws": 8, "restarts": 1, "steps": 1, "plain_steps": 2, "fresh_samples": 32},
)
