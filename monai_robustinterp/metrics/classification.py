"""How well scores and decisions of a classifier agree with labels: area under the curve, Youden's point, kappa."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monai_robustinterp.metrics.intervals import Interval, check_level

Scores = npt.NDArray[np.float64]
_CHUNK = 1000


def area_under_curve(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often a positive image has a higher score than a negative one.

    Ties count 1/2: this is the Mann-Whitney statistic over the number of pairs (Hanley and McNeil, Radiology 143:29,
    1982).

    Args:
        scores: one score an image, shape (n,).
        positive: which images are positive, booleans of shape (n,).

    Raises:
        ValueError: the shapes differ, a score is not a number, or there is no positive or no negative image.
    """
    positives, negatives = _two_classes(scores, positive)
    negatives = np.sort(negatives)
    below = np.searchsorted(negatives, positives, side="left").sum()
    not_above = np.searchsorted(negatives, positives, side="right").sum()
    return float(below + not_above) / (2 * len(positives) * len(negatives))


def youden_threshold(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """The score that, as a threshold, maximizes sensitivity + specificity - 1 (Youden, Cancer 3:32, 1950).

    An image is called positive where score >= threshold. Of several best scores it is the smallest: the one of highest
    sensitivity.

    Args:
        scores: one score an image, shape (n,).
        positive: which images are positive, booleans of shape (n,).

    Raises:
        ValueError: the shapes differ, a score is not a number, or there is no positive or no negative image.
    """
    positives, negatives = _two_classes(scores, positive)
    thresholds = np.unique(np.concatenate([positives, negatives]))
    hits = len(positives) - np.searchsorted(np.sort(positives), thresholds, side="left")
    false_alarms = len(negatives) - np.searchsorted(np.sort(negatives), thresholds, side="left")
    # The index times both class sizes is an integer, so that ties are exact.
    return float(thresholds[np.argmax(hits * len(negatives) - false_alarms * len(positives))])


def cohen_kappa(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Agreement of two yes/no judgments beyond chance (Cohen, Educ. Psychol. Meas. 20:37, 1960).

    Args:
        first: booleans of shape (n,).
        second: booleans of shape (n,).

    Returns:
        1 for full agreement, 0 for that of chance, below 0 for less. Where both give the one same answer throughout,
        chance agrees fully too and the quotient is 0/0; they are identical, so this is 1.

    Raises:
        ValueError: the shapes differ or are empty.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"judgments have shapes {a.shape} and {b.shape}: give both for the same images, one at least.")
    n, yes_a, yes_b = a.size, int(a.sum()), int(b.sum())
    agreed = int((a == b).sum()) * n
    by_chance = yes_a * yes_b + (n - yes_a) * (n - yes_b)
    return 1.0 if by_chance == n * n else (agreed - by_chance) / (n * n - by_chance)


def auc_interval(
    scores: npt.NDArray[np.float64],
    positive: npt.NDArray[np.bool_],
    patients: npt.ArrayLike,
    *,
    n_resamples: int = 20_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Area under the curve, mean over several scores of each image, with a percentile interval over patients.

    It is :func:`bootstrap_interval` of the mean area, as matrix products: a resample weights each pair of a positive
    and a negative image by how often their patients were drawn. Resamples without one of the classes are left out.

    Args:
        scores: shape (n, draws).
        positive: shape (n,).
        patients: patient of each image, shape (n,).
        n_resamples: number of resamples; with 20,000 an end moves by about 0.001 from seed to seed.
        level: nominal coverage, in (0, 1).
        seed: seed of the draws.

    Raises:
        ValueError: a class is missing, or an argument is out of its range.
    """
    check_level(level)
    wins = np.mean([_wins(*_two_classes(draw, positive)) for draw in scores.T], axis=0)
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    estimates: list[npt.NDArray[np.float64]] = []
    for start in range(0, n_resamples, _CHUNK):
        rows = min(_CHUNK, n_resamples - start)
        weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rows)[:, owner]
        inside, outside = weights[:, positive].astype(np.float64), weights[:, ~positive].astype(np.float64)
        pairs = inside.sum(axis=1) * outside.sum(axis=1)
        estimates.append(((inside @ wins) * outside).sum(axis=1)[pairs > 0] / pairs[pairs > 0])
    low, high = np.quantile(np.concatenate(estimates), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(wins.mean()), float(low), float(high), level)


def _wins(positives: Scores, negatives: Scores) -> Scores:
    """1 where the positive image has the higher score, 1/2 where both are equal; shape (positives, negatives)."""
    wins: Scores = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    return wins


def _two_classes(scores: npt.ArrayLike, positive: npt.ArrayLike) -> tuple[Scores, Scores]:
    """Scores of the positive and of the negative images."""
    values, mask = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.shape != mask.shape or values.ndim != 1:
        raise ValueError(
            f"scores have shape {values.shape}, labels {mask.shape}: give one score and one label an image."
        )
    if np.isnan(values).any():
        raise ValueError("a score is not a number: the curve needs scores that can be put in order.")
    if mask.all() or not mask.any():
        raise ValueError(
            f"{int(mask.sum())} positive and {int((~mask).sum())} negative images: one of each is needed at least."
        )
    return values[mask], values[~mask]
