"""Which methods are compared, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_robustinterp.interpreters import INTERPRETERS

BUNDLE = "chest_xray_findings"


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        label: its name on the page.
        name: key of the interpreter.
        settings: those that are not the defaults.
    """

    label: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def slug(self) -> str:
        """The label as a part of file names."""
        return self.label.replace(",", "").replace(" ", "-")


CHEAPER = (
    # The paper's numbers of inner passes leave too few copies to certify anything: the same methods with fewer.
    Method("rise, 50 masks", "rise", {"n_masks": 50}),
    Method("integrated_gradients, 8 steps", "integrated_gradients", {"n_steps": 8}),
    Method("meaningful_perturbation, 20 iterations", "meaningful_perturbation", {"iterations": 20}),
    Method("extremal_perturbation, 20 iterations", "extremal_perturbation", {"iterations": 20}),
    Method("robust_perturbation, 10 iterations", "robust_perturbation", {"iterations": 10}),
)


# Optimized masks whose effect on the other findings is measured.
MASKS = (
    Method("meaningful_perturbation", "meaningful_perturbation"),
    Method("robust_perturbation", "robust_perturbation"),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One study.

    Attributes:
        name: "full" or "quick".
        films: number of films; None takes all.
        methods: of the tables of radii and cost.
        masks: of the table of the other findings.
        minutes: CPU minutes an image and method.
        sides: of the images whose cost is measured, in pixels.
    """

    name: str
    films: int | None
    methods: tuple[Method, ...]
    masks: tuple[Method, ...]
    minutes: float
    sides: tuple[int, ...]


FULL = Plan(
    name="full",
    films=None,
    # Every registered interpreter at its defaults, then the cheaper ones.
    methods=(*(Method(name, name) for name in sorted(INTERPRETERS)), *CHEAPER),
    masks=MASKS,
    minutes=5.0,
    sides=(128, 512),
)
QUICK = Plan(
    name="quick",
    films=2,
    methods=(Method("gradient", "gradient"), Method("grad_cam", "grad_cam")),
    masks=tuple(Method(method.label, method.name, {"iterations": 2}) for method in MASKS),
    minutes=0.01,
    sides=(128,),
)
