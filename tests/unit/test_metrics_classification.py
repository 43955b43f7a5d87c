"""Statistics against brute force, closed forms, published numbers, scipy, and simulations whose truth is known."""

from __future__ import annotations

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom, mannwhitneyu, norm

from monai_robustinterp.metrics.classification import area_under_curve, auc_interval, cohen_kappa, youden_threshold
from monai_robustinterp.metrics.intervals import Interval, bootstrap_interval, wilson_interval
from tests.support.cases import collected


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Few distinct scores, so that ties are common, and both classes."""
    n = draw(st.integers(2, 25))
    scores = draw(hnp.arrays(np.float64, n, elements=st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.3, 7.0])))
    positive = draw(hnp.arrays(np.bool_, n).filter(lambda mask: mask.any() and not mask.all()))
    return scores, positive


def binormal(rng: np.random.Generator, n: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores, half of them positive, whose true area under the curve is Phi(distance / sqrt 2)."""
    positive = np.arange(n) % 2 == 0
    return rng.normal(size=n) + distance * positive, positive


@given(scored())
def test_the_area_is_the_share_of_ordered_pairs(case) -> None:
    scores, positive = case
    pairs = [(p > q) + 0.5 * (p == q) for p in scores[positive] for q in scores[~positive]]
    assert area_under_curve(scores, positive) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_the_area_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(500) < 0.3
    scores = np.round(rng.normal(size=500) + positive, 1)
    u = mannwhitneyu(scores[positive], scores[~positive]).statistic
    expected = u / (positive.sum() * (~positive).sum())
    assert area_under_curve(scores, positive) == pytest.approx(expected, abs=1e-12)
    assert 0.6 < expected < 0.9


@given(scored())
def test_youden_takes_the_best_threshold_and_the_smallest_of_equal_ones(case) -> None:
    scores, positive = case
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())

    def index(threshold: float) -> int:
        called = scores >= threshold
        return int(called[positive].sum()) * n_negative - int(called[~positive].sum()) * n_positive

    best = max(index(score) for score in scores)
    assert youden_threshold(scores, positive) == min(score for score in scores if index(score) == best)


def test_youden_of_two_separate_classes_is_the_lowest_positive_score() -> None:
    assert youden_threshold([0.1, 0.4, 0.6, 0.9], [False, False, True, True]) == 0.6


def test_youden_of_two_equal_thresholds_is_the_one_that_misses_less() -> None:
    # At 1 all are called positive, at 3 half of each class: both have index 0.
    assert youden_threshold([1, 2, 3, 4], [True, False, True, False]) == 1.0


@pytest.mark.parametrize("statistic", [area_under_curve, youden_threshold])
def test_scores_without_an_order_are_refused(statistic) -> None:
    with pytest.raises(ValueError, match="3 positive and 0 negative images"):
        statistic([0.1, 0.2, 0.3], [1, 1, 1])
    with pytest.raises(ValueError, match="0 positive and 2 negative images"):
        statistic([0.1, 0.2], [0, 0])
    with pytest.raises(ValueError, match=r"scores have shape \(3,\), labels \(2,\)"):
        statistic([0.1, 0.2, 0.3], [0, 1])
    with pytest.raises(ValueError, match="not a number"):
        statistic([0.1, float("nan")], [0, 1])


@pytest.mark.parametrize(
    ("table", "expected"),
    # Both yes, only the first, only the second, both no. The grant example of many textbooks, and its two companions.
    [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593), ((0, 5, 5, 0), -1.0)],
)
def test_kappa_of_published_tables(table, expected) -> None:
    first = np.repeat([True, True, False, False], table)
    second = np.repeat([True, False, True, False], table)
    assert cohen_kappa(first, second) == pytest.approx(expected, abs=5e-5)


@given(st.tuples(*[st.integers(0, 12)] * 4).filter(lambda t: sum(t) > 0))
def test_kappa_is_the_formula_of_the_two_by_two_table(table) -> None:
    both, first_only, second_only, neither = table
    n = sum(table)
    observed = (both + neither) / n
    expected = ((both + first_only) * (both + second_only) + (second_only + neither) * (first_only + neither)) / n**2
    first = np.repeat([True, True, False, False], table)
    second = np.repeat([True, False, True, False], table)
    kappa = 1.0 if both == n or neither == n else (observed - expected) / (1 - expected)
    assert cohen_kappa(first, second) == pytest.approx(kappa, abs=1e-12)


def test_kappa_needs_judgments_of_the_same_images() -> None:
    for first, second in (([True], [True, False]), ([], [])):
        with pytest.raises(ValueError, match="judgments have shapes"):
            cohen_kappa(first, second)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17:857, 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_numbers(successes, n, low, high) -> None:
    interval = wilson_interval(successes, n)
    assert (interval.value, interval.level) == (successes / n, 0.95)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(("successes", "n", "level"), [(3, 7, 0.9), (0, 5, 0.99), (5, 5, 0.95), (990, 1000, 0.999)])
def test_the_ends_of_wilson_are_roots_of_the_score_equation(successes, n, level) -> None:
    with mpmath.workdps(40):
        z2 = 2 * mpmath.erfinv(mpmath.mpf(level)) ** 2
        share = mpmath.mpf(successes) / n
        # (share - p)^2 = z^2 p (1 - p) / n
        roots = sorted(mpmath.polyroots([1 + z2 / n, -2 * share - z2 / n, share**2], maxsteps=200), key=mpmath.re)
    interval = wilson_interval(successes, n, level)
    assert [interval.low, interval.high] == pytest.approx([float(mpmath.re(root)) for root in roots], abs=1e-12)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_wilson_stays_within_zero_and_one() -> None:
    with collected() as case:
        for n in range(1, 40):
            with case(n):
                assert wilson_interval(0, n).low == 0.0
                assert wilson_interval(n, n).high == 1.0


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_impossible_counts(successes, n) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes in {n} trials"):
        wilson_interval(successes, n)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_between_zero_and_one(level) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        wilson_interval(1, 2, level)
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        bootstrap_interval(np.mean, ["a", "b"], [0.0, 1.0], level=level)


LEVEL, SIMULATIONS, DISTANCE = 0.9, 300, 1.0
TRUE_AREA = norm.cdf(DISTANCE / np.sqrt(2))


def coverage(repeats: int, *, by_image: bool = False) -> int:
    """How many of the simulations have an interval that holds the true area, each image standing there repeatedly."""
    held = 0
    for seed in range(SIMULATIONS):
        scores, positive = binormal(np.random.default_rng(seed), 100, DISTANCE)
        patients = np.repeat(np.arange(100), repeats)
        if by_image:
            patients = np.arange(len(patients))
        interval = bootstrap_interval(
            area_under_curve,
            patients,
            np.repeat(scores, repeats),
            np.repeat(positive, repeats),
            n_resamples=100,
            level=LEVEL,
            seed=seed,
        )
        held += interval.low <= TRUE_AREA <= interval.high
    return held


@pytest.mark.parametrize("repeats", [1, 5])
def test_the_bootstrap_covers_as_often_as_it_says(repeats) -> None:
    # 0.02 off the level for percentiles of 100 resamples, and three standard errors of the simulation.
    low, high = binom.ppf(1e-3, SIMULATIONS, LEVEL - 0.02), binom.isf(1e-3, SIMULATIONS, LEVEL + 0.02)
    assert low <= coverage(repeats) <= high


def test_a_bootstrap_of_images_would_cover_too_rarely() -> None:
    # The data of the test above: intervals from images as if independent are about sqrt 5 too narrow.
    assert coverage(5, by_image=True) < 0.65 * SIMULATIONS


def test_the_bootstrap_draws_whole_patients_as_many_as_there_are() -> None:
    patients = ["b", "a", "c", "a", "c", "c"]
    owned = {"a": 2, "b": 1, "c": 3}
    seen = []

    def look(names: np.ndarray, rows: np.ndarray) -> float:
        seen.append(([str(name) for name in names], rows.tolist()))
        return 0.0

    bootstrap_interval(look, patients, patients, np.arange(6), n_resamples=200)
    assert seen[0] == (patients, [0, 1, 2, 3, 4, 5])
    for names, rows in seen[1:]:
        assert names == [patients[row] for row in rows]
        times = {name: rows.count(patients.index(name)) for name in owned}
        assert sum(times.values()) == 3
        assert all(rows.count(row) == times[patients[row]] for row in range(6))
    assert len({tuple(sorted(rows)) for _, rows in seen[1:]}) == 10  # multisets of three of three patients


def test_the_bootstrap_of_a_mean_is_that_of_its_definition() -> None:
    values = np.arange(40.0) ** 2
    rng = np.random.default_rng(7)
    means = [values[rng.integers(40, size=40)].mean() for _ in range(500)]
    interval = bootstrap_interval(np.mean, np.arange(40), values, n_resamples=500, level=0.8, seed=7)
    expected = (values.mean(), np.quantile(means, 0.1), np.quantile(means, 0.9))
    assert (interval.value, interval.low, interval.high) == pytest.approx(expected)
    assert interval.level == 0.8


def test_the_bootstrap_does_not_depend_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(3)
    scores, positive = binormal(rng, 60, 1.0)
    patients = np.array([f"patient {number}" for number in rng.integers(25, size=60)])
    shuffled = rng.permutation(60)
    one = bootstrap_interval(area_under_curve, patients, scores, positive, n_resamples=50)
    other = bootstrap_interval(
        area_under_curve, patients[shuffled], scores[shuffled], positive[shuffled], n_resamples=50
    )
    assert one == other


def test_the_bootstrap_is_repeatable_and_its_seed_matters() -> None:
    scores, positive = binormal(np.random.default_rng(4), 50, 1.0)
    first, again, other = (
        bootstrap_interval(area_under_curve, np.arange(50), scores, positive, n_resamples=50, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first.value == other.value == area_under_curve(scores, positive)


def test_resamples_without_one_class_are_drawn_anew() -> None:
    # One positive patient of four: (3/4)^4 of the resamples lack it and (1/4)^4 lack the negative ones.
    interval = bootstrap_interval(area_under_curve, [1, 2, 3, 4], [0.1, 0.5, 0.2, 0.4], [0, 1, 0, 0], n_resamples=300)
    assert interval == Interval(1.0, 1.0, 1.0, 0.95)


def test_a_statistic_that_is_hardly_ever_defined_is_refused() -> None:
    calls = []

    def only_once(values: np.ndarray) -> float:
        calls.append(values)
        if len(calls) > 1:
            raise ValueError("not defined")
        return 0.0

    with pytest.raises(ValueError, match="defined on 0 of 200 resamples of 3 patients"):
        bootstrap_interval(only_once, [1, 2, 3], [1.0, 2.0, 3.0], n_resamples=20)
    assert len(calls) == 201


def test_the_bootstrap_passes_on_that_all_images_are_of_one_class() -> None:
    with pytest.raises(ValueError, match="0 positive and 3 negative"):
        bootstrap_interval(area_under_curve, [1, 2, 3], [0.1, 0.2, 0.3], [0, 0, 0])


@pytest.mark.parametrize(
    ("patients", "values", "n_resamples"), [(["a", "b"], [1.0], 5), ([], [], 5), (["a", "b"], [1.0, 2.0], 0)]
)
def test_the_bootstrap_refuses_rows_that_do_not_match(patients, values, n_resamples) -> None:
    with pytest.raises(ValueError, match=f"{n_resamples} resamples of {len(patients)} patient names"):
        bootstrap_interval(np.sum, patients, values, n_resamples=n_resamples)


def test_the_interval_of_the_mean_area_is_that_of_the_plain_bootstrap() -> None:
    """Two ways to one distribution: matrix products of weights, and resampled rows."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(40), 3)
    positive = rng.random(120) < 0.4
    scores = rng.normal(size=(120, 4)) + positive[:, None]

    def mean_area(drawn: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]) -> float:
        return float(np.mean([area_under_curve(draw, labels) for draw in drawn.T]))

    fast = auc_interval(scores, positive, patients, n_resamples=8000)
    plain = bootstrap_interval(mean_area, patients, scores, positive, n_resamples=3000, seed=1)
    assert fast.value == pytest.approx(plain.value, abs=1e-12)
    assert fast.low == pytest.approx(plain.low, abs=0.008) and fast.high == pytest.approx(plain.high, abs=0.008)
    again = auc_interval(scores[::-1], positive[::-1], patients[::-1], n_resamples=8000)
    assert (again.low, again.high) == pytest.approx((fast.low, fast.high), abs=1e-12)


def test_the_ends_of_the_area_hardly_move_with_the_seed() -> None:
    rng = np.random.default_rng(5)
    positive = np.arange(120) < 8
    scores = rng.normal(size=(120, 1)) + positive[:, None]
    lows = [auc_interval(scores, positive, np.arange(120), seed=seed).low for seed in range(4)]
    assert max(lows) - min(lows) < 0.006


def test_resamples_without_a_class_are_left_out_and_ties_count_half() -> None:
    scores, positive = np.array([[1.0], [1.0], [0.0]]), np.array([True, False, False])
    interval = auc_interval(scores, positive, ["a", "b", "c"], n_resamples=2000)
    assert interval.value == 0.75 and 0.5 <= interval.low <= interval.high <= 1.0
    with pytest.raises(ValueError, match="0 negative"):
        auc_interval(scores, np.array([True, True, True]), ["a", "b", "c"])
