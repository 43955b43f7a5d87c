"""The label certificate: its number by hand, its sentences, and label and map together."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.stats import norm

from monai_robustinterp.certificates import Status, certify_votes
from monai_robustinterp.certificates.label import certify_label, label_and_map
from monai_robustinterp.types import SmoothingSpec, VoteMap
from tests.support.vote_factory import vote_map


def make_votes(found_copies: int, m: int, *, decision: bool = True) -> VoteMap:
    counts = np.zeros((4, 4), np.int64)
    counts[0, :2] = m
    return vote_map(counts, n_samples=m, top_k=2, decision=decision, found_copies=found_copies)


@pytest.mark.parametrize("m", [8, 100, 10_000, 1_000_000])
def test_if_all_copies_agree_the_bound_is_the_mth_root_of_eta(m: int) -> None:
    label = certify_label(make_votes(m, m), 0.25, eta_label=0.001)
    with mpmath.workdps(40):
        root = mpmath.mpf(0.001) ** (mpmath.mpf(1) / m)
        assert mpmath.mpf(label.share_lower) <= root
        # As near to 1 as the bound is: relative to its distance from 1.
        assert float((root - label.share_lower) / (1 - root)) < 1e-8
        exact = max(0, 0.25 * mpmath.sqrt(2) * mpmath.erfinv(2 * root - 1))
        assert label.l2 <= exact <= label.l2 * (1 + 1e-6)
    assert label.decision and label.agreeing_copies == m


def test_the_radius_is_sigma_times_the_quantile_of_the_bound() -> None:
    label = certify_label(make_votes(953, 1000), 0.1, eta_label=0.01)
    with mpmath.workdps(30):
        wrong = mpmath.betainc(953, 48, 0, mpmath.mpf(label.share_lower), regularized=True)
    assert float(wrong) == pytest.approx(0.01, rel=1e-7) and wrong <= 0.01
    assert label.l2 == pytest.approx(0.1 * norm.ppf(label.share_lower), rel=1e-9)
    assert label.sentence.startswith("certified") and " finds the explained finding" in label.sentence


def test_a_clean_decision_of_not_found_counts_the_copies_that_do_not_find_it() -> None:
    votes = make_votes(47, 1000, decision=False)
    label = certify_label(votes, 0.1, eta_label=0.01)
    assert not label.decision and label.agreeing_copies == 953 and "does not find" in label.sentence
    assert label.l2 == certify_label(make_votes(953, 1000), 0.1, eta_label=0.01).l2


@pytest.mark.parametrize("agreeing", [0, 1, 400, 500, 530])
def test_without_a_majority_beyond_doubt_it_abstains_and_never_certifies_the_opposite(agreeing: int) -> None:
    label = certify_label(make_votes(agreeing, 1000), 0.1, eta_label=0.01)
    assert label.l2 == 0 and label.sentence.startswith("abstain") and label.share_lower <= 0.5


@pytest.mark.parametrize(
    ("copies", "sigma", "eta"),
    [(5, 0.0, 0.1), (5, float("nan"), 0.1), (5, 1.0, 0.0), (5, 1.0, 1.0), (5, 1.0, float("nan")), (11, 1.0, 0.1)],
)
def test_wrong_arguments_are_refused(copies: int, sigma: float, eta: float) -> None:
    with pytest.raises(ValueError, match="must"):
        certify_label(make_votes(copies, 10), sigma, eta_label=eta)


def map_certificate(votes: VoteMap, sigma: float, eta: float):
    spec = SmoothingSpec(
        sigma=sigma, n_samples=votes.n_samples, top_k=votes.top_k, cell_size=2, interpreter="gradient", target=1
    )
    return certify_votes(votes, spec, beta="1", eta=eta)


def test_label_and_map_hold_up_to_the_smaller_radius_with_the_sum_of_their_etas() -> None:
    for agreeing, binding in ((1000, "map"), (600, "label")):
        votes = make_votes(agreeing, 1000)
        label, l_max = certify_label(votes, 0.1, eta_label=0.0004), map_certificate(votes, 0.1, 0.0006).l_max
        both = label_and_map(label, l_max, eta_map=0.0006)
        radii = {"label": label.l2, "map": l_max}
        assert both.l2 == radii[binding] == min(radii.values()) > 0
        assert both.eta == pytest.approx(0.001, rel=1e-12) and both.sentence.startswith("certified")


def test_no_claim_of_both_without_both() -> None:
    label = certify_label(make_votes(500, 1000), 0.1, eta_label=0.01)
    none = label_and_map(label, 0.05, eta_map=0.01)
    assert none.l2 == 0 and none.sentence.startswith("abstain")
    sure = certify_label(make_votes(1000, 1000), 0.1, eta_label=0.6)
    both = label_and_map(sure, 0.05, eta_map=0.6)
    assert sure.l2 > 0 and (both.l2, both.eta) == (0, 1)


def test_a_network_that_decides_like_a_coin_is_not_certified_in_python_either() -> None:
    certificate = map_certificate(make_votes(500, 1000), 0.1, 0.01)
    assert certificate.l_max > 0 and certificate.status is Status.MAP_ONLY
    assert certificate.sentence.startswith("not certified")
