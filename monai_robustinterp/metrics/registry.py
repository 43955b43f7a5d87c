"""Name -> metric of a map."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.metrics.base import Metric
from monai_robustinterp.metrics.class_distortion_score import CdsKl, CdsLogOdds
from monai_robustinterp.metrics.deletion import Deletion, DeletionArgMax
from monai_robustinterp.metrics.enrichment import EnrichmentBoxes, EnrichmentPolygons, LungTopK
from monai_robustinterp.metrics.grid_pointing import CertifiedGridPointing, GridPointing
from monai_robustinterp.metrics.insertion import Insertion, InsertionArgMax
from monai_robustinterp.metrics.intersection_over_union import IntersectionOverUnion
from monai_robustinterp.metrics.mass import BoxMass, LungMass, PolygonMass
from monai_robustinterp.metrics.max_sensitivity import MaxSensitivity
from monai_robustinterp.metrics.non_target_distortion import NonTargetDistortion
from monai_robustinterp.metrics.pointing_game import HitRate, PointingGame
from monai_robustinterp.metrics.prediction_saliency_correlation import PredictionSaliencyCorrelation
from monai_robustinterp.metrics.repeatability import FilmOverlap, Repeatability
from monai_robustinterp.metrics.sanity import SanityCascading, SanityIndependent
from monai_robustinterp.metrics.sanity_verdict import RandomPairSsim, SanityPassed

METRICS: dict[str, type[Metric]] = {
    cls.name: cls
    for cls in (
        *(Deletion, DeletionArgMax, Insertion, InsertionArgMax),
        *(CdsLogOdds, CdsKl, NonTargetDistortion),
        *(SanityCascading, SanityIndependent, RandomPairSsim, SanityPassed),
        *(PointingGame, HitRate, BoxMass, PolygonMass, IntersectionOverUnion, EnrichmentBoxes, EnrichmentPolygons),
        *(LungMass, LungTopK, GridPointing, CertifiedGridPointing),
        *(MaxSensitivity, Repeatability, FilmOverlap, PredictionSaliencyCorrelation),
    )
}
"""All metrics by name: faithfulness, distortion, sanity, place, lungs, stability."""


def metric_names() -> list[str]:
    """The names of all metrics, in alphabetical order."""
    return sorted(METRICS)


def make_metric(name: str, **settings: Any) -> Metric:
    """Makes a metric with its settings.

    Args:
        name: key in ``METRICS``.
        **settings: fields of that class; the others keep their defaults.

    Raises:
        InputRefused: if the name or a setting is unknown.
        ValueError: if a value is refused.
    """
    if name not in METRICS:
        raise InputRefused(f"metric is {name!r}; it must be one of {metric_names()}.")
    known = [each.name for each in fields(METRICS[name])]
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        its = f"its settings are {known}" if known else "it takes none"
        raise InputRefused(f"metric {name!r} has no setting {unknown[0]!r}; {its}.")
    return METRICS[name](**settings)
