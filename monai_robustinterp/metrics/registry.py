"""Name -> metric of a map."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.metrics.base import Metric
from monai_robustinterp.metrics.perturbation_game import Deletion

METRICS: dict[str, type[Metric]] = {cls.name: cls for cls in (Deletion,)}
"""All metrics by name."""


def metric_names() -> list[str]:
    """The names of all metrics, in alphabetical order."""
    return sorted(METRICS)


def make_metric(name: str, **settings: Any) -> Metric:
    """Makes a metric with its settings.

    Args:
        name: key in ``METRICS``.
        **settings: fields of that class; the others keep their defaults.

    Raises:
        InputRefused: if the name or a setting is unknown, or a value is refused.
    """
    if name not in METRICS:
        raise InputRefused(f"metric is {name!r}; it must be one of {metric_names()}.")
    known = [each.name for each in fields(METRICS[name])]
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        its = f"its settings are {known}" if known else "it takes none"
        raise InputRefused(f"metric {name!r} has no setting {unknown[0]!r}; {its}.")
    return METRICS[name](**settings)
