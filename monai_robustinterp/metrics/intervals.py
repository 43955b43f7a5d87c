"""Confidence intervals that respect that patients have several images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

_TRIES_PER_RESAMPLE = 10


@dataclass(frozen=True)
class Interval:
    """An estimate with a confidence interval.

    Attributes:
        value: the estimate from all images.
        low: lower end.
        high: upper end.
        level: nominal probability, in (0, 1), that the interval holds the true value.
    """

    value: float
    low: float
    high: float
    level: float


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson, J. Am. Stat. Assoc. 22:209, 1927), without continuity correction.

    It takes trials as independent, which images of one patient are not: it is too narrow where many patients repeat.

    Args:
        successes: number of successes, 0 to n.
        n: number of trials, at least 1.
        level: nominal coverage, in (0, 1).

    Raises:
        ValueError: an argument is out of its range.
    """
    check_level(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(
            f"{successes} successes in {n} trials: there must be a trial and no more successes than trials."
        )
    z = float(ndtri((1 + level) / 2))
    share, shrink = successes / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / shrink
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / shrink
    # Without successes, or failures, an end is the bound itself, which rounding would pass.
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == n else center + half
    return Interval(share, low, high, level)


def bootstrap_interval(
    statistic: Callable[..., float],
    patients: npt.ArrayLike,
    *arrays: npt.ArrayLike,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic by resampling patients.

    Patients are drawn with replacement, as many as there are, each with all its images as often as drawn: images of one
    patient resemble one another, and an interval from resampled images would be too narrow. A resample on which the
    statistic is not defined (it raises ValueError, as one without a positive image) is drawn anew; the interval is
    conditional on that. Ends are percentiles of the resampled statistic (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13).

    Args:
        statistic: called with the rows of each array that a resample has, in place of `arrays`.
        patients: patient of each image, shape (n,).
        *arrays: arguments of the statistic, n rows each. The draw does not depend on the order of the rows.
        n_resamples: number of resamples.
        level: nominal coverage, in (0, 1).
        seed: seed of the draws.

    Raises:
        ValueError: an argument is out of its range, lengths differ, the statistic is not defined on all images, or it
            is defined on less than one in ten resamples.
    """
    check_level(level)
    data = [np.asarray(array) for array in arrays]
    names, owner, n_images = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    if n_resamples < 1 or not owner.size or any(len(array) != len(owner) for array in data):
        raise ValueError(
            f"{n_resamples} resamples of {len(owner)} patient names with {[len(array) for array in data]} rows: it "
            "takes one resample and one name at least, and one row of each array for each name."
        )
    value = statistic(*data)
    rows_by_patient, first = np.argsort(owner, kind="stable"), np.cumsum(n_images) - n_images
    rng = np.random.default_rng(seed)
    estimates: list[float] = []
    for _ in range(_TRIES_PER_RESAMPLE * n_resamples):
        drawn = rng.integers(len(names), size=len(names))
        rows = rows_by_patient[_ranges(first[drawn], n_images[drawn])]
        try:
            estimates.append(statistic(*(array[rows] for array in data)))
        except ValueError:
            continue
        if len(estimates) == n_resamples:
            low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
            return Interval(float(value), float(low), float(high), level)
    raise ValueError(
        f"the statistic is defined on {len(estimates)} of {_TRIES_PER_RESAMPLE * n_resamples} resamples of "
        f"{len(names)} patients: it must be on one in ten. Add patients, of the rarer class above all."
    )


def check_level(level: float) -> None:
    """Raises ValueError unless the level is in (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"the level is {level}: it must be between 0 and 1, as 0.95 is.")


def _ranges(starts: npt.NDArray[np.intp], lengths: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The numbers start to start + length - 1, for one range after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1])
