"""Statistics over independent patients, one value each; :mod:`~monai_robustinterp.metrics.intervals` has the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_robustinterp.metrics.intervals import Interval, bootstrap_interval


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean with a 95 % bootstrap interval; each value is of a patient of its own."""
    return bootstrap_interval(lambda sample: float(np.mean(sample)), np.arange(len(values)), values)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean difference, first minus second, of two values of each patient, with a 95 % bootstrap interval."""
    return mean_interval((np.asarray(first) - np.asarray(second)).tolist())
