"""Which methods are compared, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_robustinterp.interpreters import INTERPRETERS

BUNDLE = "chest_xray_findings"
FULL_MINUTES = 5.0


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
    settings: Mapping[str, Any] = field(default_factory=dict)

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


def methods() -> list[Method]:
    """Every registered interpreter at its defaults, then the cheaper ones."""
    return [*(Method(name, name) for name in sorted(INTERPRETERS)), *CHEAPER]
