"""Certified overlap against radius: one set of bounds, all thresholds, and its picture."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import norm

from monai_robustinterp.certificates import ceiling, certify_votes, mass_weighted_bounds, renyi
from monai_robustinterp.certificates.curve import curve_to_json, overlap_curve
from monai_robustinterp.certificates.overlap import Boundary
from monai_robustinterp.types import SmoothingSpec, VoteMap
from monai_robustinterp.visualize.curve import curve_figure
from tests.support.vote_factory import spec_of, vote_map

KINDS = [(level, family) for level in ("plug-in", "population") for family in ("renyi", "neyman-pearson")]


def make_votes(n_cells: int = 100, top_k: int = 12, n_samples: int = 500, *, sharpness: float = 2.0, seed: int = 0):
    """Votes of noisy copies of random scores, as a run would count them."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n_cells) * sharpness
    counts = np.zeros(n_cells, dtype=np.int64)
    for _ in range(n_samples):
        counts[np.argpartition(-(scores + rng.normal(size=n_cells)), top_k - 1)[:top_k]] += 1
    return vote_map(counts, n_samples=n_samples, top_k=top_k)


def make_spec(votes: VoteMap, sigma: float = 0.1) -> SmoothingSpec:
    return spec_of(votes, sigma=sigma)


@pytest.mark.parametrize("seed", range(4))
def test_every_point_is_the_certificate_of_its_beta(seed: int) -> None:
    """All s are below 50 here, so certify_votes uses r = 0 as well."""
    votes = make_votes(seed=seed)
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    assert curve.overlaps.tolist() == list(range(1, 13))
    for place, overlap in enumerate(curve.overlaps):
        certificate = certify_votes(votes, make_spec(votes), beta=f"{overlap}/12", eta=0.01)
        assert (certificate.overlap, certificate.allowed_wrong_bounds) == (overlap, 0)
        for kind in KINDS:
            assert curve.radii[kind][place] == pytest.approx(certificate.radius(*kind).l2, rel=1e-5), (overlap, kind)
    assert curve.radii["population", "neyman-pearson"].max() > 0


def test_large_swaps_use_no_wrong_bound_while_one_threshold_may() -> None:
    votes = make_votes(600, 120, 400)
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    assert curve.overlaps.size == 50 and curve.overlaps[[0, -1]].tolist() == [1, 120]
    counts = -np.sort(-votes.counts.ravel())
    bounds = mass_weighted_bounds(counts, 400, top_k=120, eta=0.01, wrong=0)
    for place in (0, 10, 20, 30):
        o = int(curve.overlaps[place])
        s = 120 - o + 1
        expected = (
            0.5 * make_spec(votes).sigma * (norm.ppf(bounds.lower[120 - s]) - norm.ppf(bounds.upper[120 + s - 1]))
        )
        assert curve.radii["population", "neyman-pearson"][place] == pytest.approx(max(0, expected), rel=1e-9)
        edge = Boundary(inside=bounds.lower[120 - s : 120], outside=bounds.upper[120 : 120 + s], top_k=120)
        assert curve.radii["population", "renyi"][place] == pytest.approx(
            renyi.boundary_radius(edge, sigma=0.1)[0], rel=1e-5
        )
    loose = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.01)
    assert loose.allowed_wrong_bounds == 1 and curve.certified_overlap(loose.l_max) < loose.overlap


@settings(max_examples=40, deadline=None)
@given(
    n_cells=st.integers(4, 60),
    share=st.floats(0.05, 0.95),
    n_samples=st.integers(1, 300),
    sharpness=st.sampled_from([0.0, 0.5, 2.0, 20.0]),
    seed=st.integers(0, 10_000),
)
def test_a_larger_overlap_never_has_a_larger_radius(
    n_cells: int, share: float, n_samples: int, sharpness: float, seed: int
) -> None:
    top_k = min(max(1, round(share * n_cells)), n_cells - 1)
    votes = make_votes(n_cells, top_k, n_samples, sharpness=sharpness, seed=seed)
    curve = overlap_curve(votes, make_spec(votes), eta=0.05, points=20)
    assert (np.diff(curve.overlaps) > 0).all() and curve.overlaps[-1] == top_k
    # One set fewer could be swapped at all, and the claim would be trivial.
    assert curve.overlaps[0] == max(1, 2 * top_k - n_cells + 1)
    for kind in KINDS:
        radii = curve.radii[kind]
        assert not np.isnan(radii).any() and (radii >= 0).all()
        assert (radii[1:] <= radii[:-1]).all()
    for family in ("renyi", "neyman-pearson"):
        population, plug_in = curve.radii["population", family], curve.radii["plug-in", family]
        assert (population <= plug_in * (1 + 1e-9)).all()
        assert (population <= curve.ceiling).all()
    for level in ("plug-in", "population"):
        assert (curve.radii[level, "renyi"] <= curve.radii[level, "neyman-pearson"] * (1 + 1e-9)).all()


def test_the_inverse_gives_the_overlap_of_the_best_certificate() -> None:
    votes = make_votes()
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    for family in ("renyi", "neyman-pearson"):
        radii = curve.radii["population", family]
        for radius in np.linspace(0, 1.1 * radii[0], 23):
            held = [o for o, r in zip(curve.overlaps, radii) if r > radius]
            assert curve.certified_overlap(radius, family=family) == max(held, default=0)
        # A radius covers the norms below it and not its own.
        place = int(np.flatnonzero(np.diff(radii) < 0)[0])
        assert curve.certified_overlap(radii[place], family=family) < curve.overlaps[place]
        assert curve.certified_overlap(np.nextafter(radii[place], 0), family=family) >= curve.overlaps[place]
    assert curve.certified_overlap(1e9) == 0
    assert curve.certified_overlap(0, level="plug-in") >= curve.certified_overlap(0)


def test_without_a_certificate_two_large_sets_still_overlap() -> None:
    votes = make_votes(20, 15, 30)
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    assert curve.overlaps[0] == 11 and curve.certified_overlap(1e9) == 10


@pytest.mark.parametrize("radius", [-0.1, float("nan")])
def test_no_overlap_at_a_negative_radius(radius: float) -> None:
    votes = make_votes()
    with pytest.raises(ValueError, match="must be >= 0"):
        overlap_curve(votes, make_spec(votes), eta=0.01).certified_overlap(radius)


def test_the_control_is_the_certificate_of_a_fixed_map() -> None:
    votes = make_votes()
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    for beta in ("1", "0.5"):
        control = ceiling(votes, make_spec(votes), beta=beta, eta=0.01)
        assert curve.ceiling == pytest.approx(control, rel=1e-12)
    fixed = vote_map([500] * 12 + [0] * 88, n_samples=500, top_k=12)
    alone = overlap_curve(fixed, make_spec(fixed), eta=0.01)
    assert alone.radii["population", "neyman-pearson"].tolist() == [curve.ceiling] * 12
    assert np.isinf(alone.radii["plug-in", "neyman-pearson"]).all()


def test_cells_that_were_hardly_ever_voted_for_do_not_disturb() -> None:
    """A lower bound of 0 inside the reported set beside upper bounds above 0 outside."""
    votes = vote_map([200] * 3 + [1] * 200 + [0] * 997, n_samples=200, top_k=4)
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    radii = curve.radii["population", "renyi"]
    assert radii[-1] == 0 and 0 < radii[0] < curve.ceiling
    bounds = mass_weighted_bounds([200, 200, 200, 1] + [1] * 4, 200, top_k=4, eta=0.01)
    # Exactly: as if that cell had almost no mass.
    inside = np.maximum(bounds.lower[:4], 1e-12)
    expected = renyi.boundary_radius(Boundary(inside=inside, outside=bounds.upper[4:], top_k=4), sigma=0.1)[0]
    assert radii[0] == pytest.approx(expected, rel=1e-5)


def test_one_map_of_50176_cells_takes_less_than_a_second() -> None:
    """Counts of a whole pixel map; processor time, since the machine may be busy."""
    rng = np.random.default_rng(0)
    q = ndtr(4 * rng.normal(size=50_176) - 5.3)
    counts = rng.binomial(1000, q)
    top_k = 5_018
    while (surplus := int(counts.sum()) - 1000 * top_k) != 0:
        movable = np.flatnonzero((counts > 0) & (counts < 1000))
        counts[rng.choice(movable, size=min(abs(surplus), movable.size), replace=False)] -= np.sign(surplus)
    votes = vote_map(counts, n_samples=1000, top_k=top_k)
    start = time.process_time()
    curve = overlap_curve(votes, make_spec(votes), eta=0.001, points=50)
    assert time.process_time() - start < 1
    assert curve.overlaps.size == 50 and 0 < curve.radii["population", "renyi"][0] < curve.ceiling


def test_json_is_strict_and_complete() -> None:
    votes = make_votes(sharpness=20.0)
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    data = json.loads(json.dumps(curve_to_json(curve), allow_nan=False))
    assert data["overlaps"] == list(range(1, 13)) and data["shares"][-1] == 1
    assert "0.01" in data["claim"] and data["allowed_wrong_bounds"] == 0
    read = {(entry["level"], entry["family"]): [float(v) for v in entry["l2"]] for entry in data["radii"]}
    assert read == {kind: values.tolist() for kind, values in curve.radii.items()}
    assert "Infinity" in data["radii"][1]["l2"]


@pytest.mark.parametrize(
    ("change", "match"),
    [({"n_samples": 499}, "different runs"), ({"top_k": 11}, "different runs")],
)
def test_votes_of_another_run_are_refused(change: dict[str, int], match: str) -> None:
    votes = make_votes()
    with pytest.raises(ValueError, match=match):
        overlap_curve(votes, dataclasses.replace(make_spec(votes), **change), eta=0.01)


def test_a_curve_needs_cells_to_swap_and_two_points() -> None:
    votes = vote_map([5, 5], n_samples=5, top_k=2)
    with pytest.raises(ValueError, match="outside the top-k"):
        overlap_curve(votes, make_spec(votes), eta=0.01)
    votes = make_votes()
    with pytest.raises(ValueError, match="at least 2 points"):
        overlap_curve(votes, make_spec(votes), eta=0.01, points=1)


def test_the_figure_shows_the_claims_as_steps_and_names_them() -> None:
    votes = make_votes()
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    figure = curve_figure(curve)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert "l2 radius" in axes.get_xlabel() and "network's input" in axes.get_xlabel()
    assert "top-12 that stays" in axes.get_ylabel()
    assert "population, probability >= 1 - 0.01 per image" in axes.get_title()
    lines = {line.get_label(): line for line in axes.lines}
    assert len(lines) == 5
    control = next(line for label, line in lines.items() if "fixed map" in label)
    assert control.get_linestyle() == "--" and set(control.get_xdata()) == {curve.ceiling}
    for family, name in (("renyi", "Rényi"), ("neyman-pearson", "Neyman-Pearson")):
        line = lines[f"{name}, population (certified)"]
        assert line.get_drawstyle() == "steps-pre"
        x, y = line.get_xdata(), line.get_ydata()
        for radius in np.linspace(0, 1.1 * x[-1], 40):
            # The value of a steps-pre line is that of the next corner; it never shows more than is certified.
            shown = y[min(np.searchsorted(x, radius, side="right"), y.size - 1)]
            assert round(shown * 12) == curve.certified_overlap(radius, family=family)
        assert f"{name}, plug-in (estimate, no claim)" in lines


def test_a_figure_of_no_claim_says_so() -> None:
    votes = make_votes(n_samples=2, sharpness=0.0)
    curve = overlap_curve(votes, make_spec(votes), eta=0.01)
    figure = curve_figure(curve)
    figure.draw_without_rendering()
    assert curve.ceiling == 0
    assert sum("abstains" in line.get_label() for line in figure.axes[0].lines) == 2
