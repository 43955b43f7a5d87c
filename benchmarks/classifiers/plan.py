"""Which trainings are compared, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

OPACITY, FINDINGS = "chest_xray_certified_saliency", "chest_xray_findings"
FINDINGS_EVIDENCE = "chest_xray_findings_evidence"


@dataclass(frozen=True)
class Run:
    """One training."""

    name: str
    bundle: str
    what: str
    options: dict[str, Any] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Without the folders of data and output."""
        config = f"bundles/{self.bundle}/configs/train.json"
        options = [text for key, value in self.options.items() for text in (f"--{key}", str(value))]
        return ["python", "-m", "monai.bundle", "run", "--config_file", config, *options]


RUNS = (
    Run("opacity", OPACITY, "the shipped binary model: fixed intensity path, noise"),
    Run("opacity_without_noise", OPACITY, "the same without noise", {"noise_probability": 0.0}),
    Run("opacity_percentiles", OPACITY, "the same with percentiles of each image", {"percentiles": True}),
    Run("findings", FINDINGS, "the shipped multi-label model"),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One study.

    Attributes:
        name: "full" or "quick".
        runs: the trainings, of which the first three are compared with each other.
        gains: factors of the brightness.
        images_per_group: certified images of each source and label.
        overrides: of the bundle whose inferer certifies.
    """

    name: str
    runs: tuple[Run, ...]
    gains: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2)
    images_per_group: int = 4
    overrides: Mapping[str, Any] = field(default_factory=dict)


_TINY = {"epochs": 1, "samples_per_epoch": 8, "batch_size": 4, "n_draws": 2, "sigmas": "[0.0, 0.1]"}
FULL = Plan(name="full", runs=RUNS)
QUICK = Plan(
    name="quick",
    runs=tuple(replace(run, options=run.options | _TINY) for run in RUNS[:3]),
    gains=(0.8, 1.0),
    images_per_group=1,
    overrides={"n_samples": 16},
)
