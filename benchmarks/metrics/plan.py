"""What is compared, fixed before any result: models, interpreters, metrics and budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monai_robustinterp.metrics.registry import metric_names

Methods = tuple[tuple[str, Mapping[str, Any]], ...]

CHEAP: Methods = (
    ("gradient", {}),
    ("input_x_gradient", {}),
    ("grad_cam", {}),
    ("cam", {}),
    ("lrp", {}),
)
MORE: Methods = (
    ("integrated_gradients", {"n_steps": 8}),
    ("deep_lift", {}),
    ("guided_backprop", {}),
)
# The slides' table; with fewer steps than their authors', or no certificate fits the budget.
SLIDES: Methods = (
    ("extremal_perturbation", {"iterations": 60}),
    ("rise", {"n_masks": 200}),
    ("meaningful_perturbation", {"iterations": 60}),
    ("robust_perturbation", {"iterations": 60}),
)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A classifier of the table.

    Attributes:
        label: on the page.
        bundle: its name.
        target: the explained finding, a name or an index.
        page: of its results.
    """

    label: str
    bundle: str
    target: str | int
    page: str


OPACITY = Model(
    label="opacity by evidence",
    bundle="chest_xray_evidence",
    target=1,
    page="metrics.md",
)
FINDINGS = Model(
    label="eleven findings",
    bundle="chest_xray_findings",
    target="Pneumonia",
    page="metrics-findings.md",
)
FINDINGS_EVIDENCE = Model(
    label="eleven findings by evidence",
    bundle="chest_xray_findings_evidence",
    target="Pneumonia",
    page="metrics-findings-evidence.md",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done.

    Attributes:
        name: ``full``, ``eight films`` or ``quick``.
        models: of the table.
        methods: their interpreters, whose plain maps are judged.
        certified: those of them whose certified maps are judged too.
        films: with marks, at most; None takes all.
        seconds: CPU seconds of a certified map; None takes ``n_samples``.
        n_samples: noisy copies without a budget of time.
        metrics: names.
    """

    name: str
    models: tuple[Model, ...]
    methods: Methods
    certified: Methods
    films: int | None
    seconds: float | None
    n_samples: int
    metrics: tuple[str, ...]


FULL = Plan(
    name="full",
    models=(OPACITY, FINDINGS, FINDINGS_EVIDENCE),
    methods=CHEAP + MORE + SLIDES,
    certified=CHEAP + MORE + SLIDES,
    films=None,
    seconds=60.0,
    n_samples=512,
    metrics=tuple(metric_names()),
)
EIGHT = Plan(
    name="eight films",
    models=(OPACITY, FINDINGS, FINDINGS_EVIDENCE),
    methods=CHEAP + SLIDES,
    # In 15 seconds the others get a dozen copies, which certify nothing.
    certified=CHEAP,
    films=8,
    seconds=15.0,
    n_samples=512,
    metrics=tuple(metric_names()),
)
QUICK = Plan(
    name="quick",
    models=(OPACITY,),
    methods=(("cam", {}), ("grad_cam", {})),
    certified=(("cam", {}), ("grad_cam", {})),
    films=2,
    seconds=None,
    n_samples=8,
    metrics=("box_mass", "deletion", "enrichment_boxes", "lung_top_k"),
)
